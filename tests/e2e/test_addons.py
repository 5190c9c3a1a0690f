"""Jobs over several nodes by Volcano, JobSet and the training operator: as gpuctl runs them, and out of a Launch queue.

The three are the real ones, as addons; the Launch server is the double in tests/doubles/wandb_api, its agent and client
are the real ones. What the ranks compute is an all-reduce over TCP, in Python. The tests build on one another, in the
order of the file.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootstrap.testvm import firewall, state
from bootstrap.testvm.names import LabPaths
from tests.doubles import wandb_api
from tests.e2e import building, hostile_jobs, jobs
from tests.e2e.conftest import made_lab
from tests.e2e.launching import ENTITY, KEY, NAMESPACE, POLICY, Launch
from tests.e2e.playbooks import playbook
from tests.e2e.tool import Lab, wait_for

pytestmark = pytest.mark.e2e
LANE_COST_S = 800  # two cores, everything built, other lanes beside it
LEVEL = "pod-security.kubernetes.io/enforce"
ADDONS = ("volcano", "jobset", "kubeflow-training-operator")
LAUNCHERS = ("volcano", "pytorchjob", "jobset")  # the plain Job is in test_main_job.py
GROUPS = ("volcano.sh", "jobset.x-k8s.io", "kubeflow.org")
PODGROUPS = "podgroups.scheduling.volcano.sh"
GANG = "--gang-scheduler-name=volcano"
# Of a queue: the kind of its jobs, and what their status has at a good end.
KINDS = {
    "gangs": ("jobs.batch.volcano.sh", '"phase": "Completed"'),
    "torch": ("pytorchjobs.kubeflow.org", '"type": "Succeeded"'),
}
# The all-reduce as one program: what a job of the Launch client consists of.
_PROGRAM = """
import pathlib, runpy, sys
folder = pathlib.Path("/tmp/collective")
folder.mkdir(exist_ok=True)
for name, text in {files!r}.items():
    (folder / name).write_text(text)
sys.path.insert(0, str(folder))
sys.argv = ["collective.py", "--bytes", "1048576"]
runpy.run_path(str(folder / "collective.py"), run_name="__main__")
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A control plane and two workers with eight simulated GPUs each."""
    building.have("batch", LANE_COST_S)
    with made_lab(tmp_path_factory.mktemp("lab"), "a", "--hosts", "3", "--gpus", "8") as made:
        yield made


@pytest.fixture(scope="module")
def launch(lab: Lab) -> Iterator[Launch]:
    """A W&B server on the lab's own network; the inventory asks for its agent."""
    record = state.load(LabPaths.of(lab.name))
    assert record is not None
    with wandb_api.running(address=(str(record.subnet.gateway), 0), teams=[ENTITY], api_key=KEY) as server:
        firewall.open_ports(lab.name, [server.port])
        made = Launch(lab, server)
        lab.inventory.write_text(
            lab.inventory.read_text()
            + f"""
launch_agent_entity={ENTITY}
launch_agent_queues={json.dumps(list(KINDS))}
launch_agent_base_url={server.url}
launch_agent_api_key_file={made.key_file.name}
launch_agent_allowed_secrets=["pull"]
launch_agent_max_jobs=4

[launch_agent]
cp1
"""
        )
        for queue, preset in (("gangs", "volcano"), ("torch", "pytorchjob")):
            made.queue("apply", queue, "--preset", preset, "--gpus", "2,1,8", "--workers", "1,1,3")
        yield made


@pytest.mark.usefixtures("launch")
def test_a_launcher_that_is_not_there_is_named_with_its_addon(lab: Lab) -> None:
    lab.json("bootstrap", *lab.named)
    refused = jobs.run_job(lab, "--launcher", "volcano", command=("true",), expect=4)["errors"]
    assert [error["code"] for error in refused] == ["job-launcher-missing"]
    assert "gpuctl addon add volcano" in refused[0]["fix"]


def test_addons_come_into_a_living_cluster(lab: Lab) -> None:
    """Volcano by itself, for the training operator to follow: it would start no gang with its old arguments."""
    lab.json("addon", "add", *ADDONS[1:], *lab.named)
    assert GANG not in operators_arguments(lab)
    lab.json("addon", "add", ADDONS[0], *lab.named)
    assert GANG in operators_arguments(lab)
    listed = lab.json("addon", "list", *lab.named)["data"]["addons"]
    assert {addon["name"]: addon["state"] for addon in listed if addon["name"] in ADDONS} == dict.fromkeys(
        ADDONS, "ready"
    )
    assert lab.plan() == {}
    again = lab.json("addon", "add", *ADDONS, *lab.named)["data"]
    assert [outcome["changed"] for outcome in again["outcomes"]] == [0, 0, 0]


def test_each_brings_a_job_of_two_pods_to_its_end(lab: Lab) -> None:
    figures = playbook(lab, "verify.yml")
    assert all(host["failed"] == host["unreachable"] == 0 for host in figures.values())
    assert lab.kubectl("get", ",".join(jobs.KINDS), "-A", "-o", "name").split() == []


def test_a_queue_that_is_not_there_is_refused(lab: Lab) -> None:
    refused = jobs.run_job(lab, "--launcher", "volcano", "--queue", "nowhere", command=("true",), expect=4)["errors"]
    assert [error["code"] for error in refused] == ["job-queue-unknown"]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_all_gpus_of_two_nodes_add_up(lab: Lab, launcher: str) -> None:
    reports = jobs.all_reduce(lab, "--launcher", launcher, "--nodes", "2", "--gpus", "8")
    assert [(found["rank"], found["pods"], found["gpus"], found["sum_right"]) for found in reports] == [
        (0, 2, 8, True),
        (1, 2, 8, True),
    ]
    wait_for("nothing to be left", lambda: jobs.left(lab) == [], 60)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_killed_worker_ends_the_job_and_is_named(lab: Lab, launcher: str) -> None:
    with jobs.staying(lab, "--launcher", launcher) as (following, nodes):
        lab.ssh(nodes[1], "pkill", "-9", "-f", jobs.STAYING)
        said = following.communicate(timeout=120)[1]
    assert following.returncode == 6
    assert "rank 1" in said
    wait_for("nothing to be left", lambda: jobs.left(lab) == [], 60)


def test_a_gang_that_does_not_fit_is_explained_and_does_not_stay_in_the_way(lab: Lab) -> None:
    """It has all the GPUs of the cluster while another job has some of them; what fits runs once it is gone."""
    with jobs.staying(lab, "--launcher", "volcano", "--gpus", "3"):
        gang = ("--launcher", "volcano", "--nodes", "2", "--gpus", "8", "--name", "large")
        waited = jobs.run_job(lab, *gang, "--start-timeout", "20", command=("true",), expect=6)
        said = json.dumps(waited["errors"])
        assert "2 pods with 8 GPUs each, all or none of them" in said
        reports = jobs.all_reduce(lab, "--launcher", "volcano", "--nodes", "2", "--gpus", "5", "--name", "fits")
        assert [report["sum_right"] for report in reports] == [True, True]


def submitted(lab: Lab, launch: Launch, queue: str, workers: int) -> set[str]:
    """Send a job of a master and so many workers to a queue; the jobs that were there before."""
    files = {Path(path).name: Path(path).read_text() for path in jobs.FILES}
    before = set(ends(lab, queue))
    said = launch.submit(_PROGRAM.format(files=files), "--set-var", f"workers={workers}", queue=queue)
    assert said.endswith("exit 0\n"), said
    return before


def reported(lab: Lab, queue: str, before: set[str]) -> tuple[int, int, int, bool]:
    """What the master of the new job says, once the job has ended well: rank, pods, GPUs, whether the sum is right."""
    name = wait_for(f"a job of {queue} to end well", lambda: ended_well(lab, queue, before), 120)
    (line,) = lab.kubectl("logs", "-n", NAMESPACE, f"{name}-master-0").splitlines()
    report = json.loads(line)
    return report["rank"], report["pods"], report["gpus"], report["sum_right"]


def ended_well(lab: Lab, queue: str, before: set[str]) -> str:
    """The job that was not there before, once it has come to its end."""
    return next((name for name, end in ends(lab, queue).items() if name not in before and end), "")


def ends(lab: Lab, queue: str) -> dict[str, bool]:
    """Jobs of a queue: name → whether it has ended well."""
    kind, _ = KINDS[queue]
    found = json.loads(lab.kubectl("get", kind, "-n", NAMESPACE, "-o", "json"))["items"]
    return {item["metadata"]["name"]: KINDS[queue][1] in json.dumps(item.get("status")) for item in found}


def test_queues_run_as_many_workers_as_are_asked_for(lab: Lab, launch: Launch) -> None:
    """Volcano's and the training operator's beside each other: the agent looks for new items every ten seconds."""
    for workers in (1, 2, 1):
        before = {queue: submitted(lab, launch, queue, workers) for queue in KINDS}
        for queue in KINDS:
            assert reported(lab, queue, before[queue]) == (0, workers + 1, 2, True), queue


def test_hostile_jobs_with_the_agents_token_are_refused(
    lab: Lab, launch: Launch, figure: Callable[[str], None]
) -> None:
    said = hostile_jobs.refusals(lab, launch.host, hostile_jobs.hostile(hostile_jobs.KINDS, NAMESPACE))
    through = [what for what, words in said.items() if POLICY not in words]
    fine = hostile_jobs.refusals(lab, launch.host, hostile_jobs.harmless(hostile_jobs.KINDS, NAMESPACE))
    refused = [what for what, words in fine.items() if words]
    figure(f"the same beside Volcano and the operator: {len(said) - len(through)} of {len(said)} refused")
    assert (through, refused) == ([], [])


@pytest.mark.parametrize("namespace", ["volcano-system", "jobset-system", "kubeflow"])
def test_an_addons_pods_keep_to_the_level_of_their_namespace(lab: Lab, namespace: str) -> None:
    """The API names pods that are there and would not be admitted."""
    level = json.loads(lab.kubectl("get", "namespace", namespace, "-o", "jsonpath={.metadata.labels}"))[LEVEL]
    label = ("label", "--dry-run=server", "--overwrite", "namespace", namespace, f"{LEVEL}={level}", "probe=1")
    assert level == "baseline"
    assert "Warning" not in lab.kubectl(*label)


def test_an_addon_is_not_taken_away_under_a_job(lab: Lab) -> None:
    with jobs.staying(lab, "--launcher", "volcano") as (following, _):
        refused = lab.json("addon", "remove", "volcano", "--yes", *lab.named, expect=4)
        assert [error["code"] for error in refused["errors"]] == ["addon-in-use"]
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=120)


def test_the_operator_goes_on_without_volcano(lab: Lab) -> None:
    """It starts pods itself then; it would start none with its old arguments."""
    for kind, _ in KINDS.values():
        lab.kubectl("delete", kind, "--all", "-n", NAMESPACE, "--wait=true")
    wait_for("no gang to be left", lambda: not lab.kubectl("get", PODGROUPS, "-A", "-o", "name").split(), 60)
    lab.json("addon", "remove", "volcano", "--yes", *lab.named)
    assert GANG not in operators_arguments(lab)
    reports = jobs.all_reduce(lab, "--launcher", "pytorchjob", "--nodes", "2", "--gpus", "8")
    assert [report["sum_right"] for report in reports] == [True, True]


def operators_arguments(lab: Lab) -> list[str]:
    """What the training operator runs with, once a change of it is through."""
    deployment = json.loads(lab.kubectl("get", "deployment", "training-operator", "-n", "kubeflow", "-o", "json"))
    status = deployment["status"]
    assert [status.get(count) for count in ("replicas", "updatedReplicas", "readyReplicas")] == [1, 1, 1]
    return [str(given) for given in deployment["spec"]["template"]["spec"]["containers"][0]["args"]]


def test_removed_addons_leave_nothing(lab: Lab) -> None:
    lab.json("addon", "remove", *ADDONS[1:], "--yes", *lab.named)
    kinds = "crds,mutatingwebhookconfigurations,validatingwebhookconfigurations,clusterroles,clusterrolebindings"
    found = lab.kubectl("get", kinds, "-o", "name").split()
    assert [name for name in found if name.endswith(GROUPS) or "volcano" in name or "jobset" in name] == []
    wait_for("their namespaces to go", lambda: not namespaces(lab) & {"volcano-system", "jobset-system"}, 60)
    assert lab.plan() == {}


def namespaces(lab: Lab) -> set[str]:
    return {name.partition("/")[2] for name in lab.kubectl("get", "namespaces", "-o", "name").split()}
