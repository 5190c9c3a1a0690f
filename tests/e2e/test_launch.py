"""Jobs from a W&B Launch queue run on the cluster: with the agent on a host first, in the cluster after that.

The server is the double in tests/doubles/wandb_api; the agent, and the client that submits, are the real ones. Volumes
are Bound here, and mounted in test_nfs.py: a container has no NFS of its own. The tests build on one another, in the
order of the file.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator

import pytest

from bootstrap.testvm import firewall, state
from bootstrap.testvm.names import LabPaths
from tests.doubles import wandb_api
from tests.e2e import hostile_jobs
from tests.e2e.conftest import made_lab
from tests.e2e.launching import ENTITY, IMAGE, KEY, NAMESPACE, POLICY, PROJECT, QUEUE, UNIT, Launch
from tests.e2e.tool import Lab, wait_for

pytestmark = pytest.mark.e2e
LANE_COST_S = 800  # two cores, everything built, other lanes beside it

AGENT = "gpu1"
TOKEN = "/var/lib/gpuctl-launch/token"
PRESET = ("--preset", "job", "--gpus", "1,1,8")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A control plane and a worker with eight simulated GPUs."""
    with made_lab(tmp_path_factory.mktemp("lab"), "l", "--hosts", "2", "--gpus", "8") as made:
        yield made


@pytest.fixture(scope="module")
def launch(lab: Lab) -> Iterator[Launch]:
    """A W&B server on the lab's own network, with one user, one team and no queue."""
    record = state.load(LabPaths.of(lab.name))
    assert record is not None
    with wandb_api.running(address=(str(record.subnet.gateway), 0), teams=[ENTITY], api_key=KEY) as server:
        firewall.open_ports(lab.name, [server.port])
        made = Launch(lab, server, AGENT)
        lab.inventory.write_text(
            lab.inventory.read_text()
            + f"""
launch_agent_entity={ENTITY}
launch_agent_queues=["{QUEUE}"]
launch_agent_base_url={server.url}
launch_agent_api_key_file={made.key_file.name}
launch_agent_allowed_secrets=["pull"]
launch_agent_max_jobs=4
# A container has no NFS client: volumes are made, not mounted.
nfs_client_enabled=false
nfs_volumes_server={record.subnet.gateway}

# No control plane: its account renews its own token.
[launch_agent]
{AGENT}
"""
        )
        yield made


@pytest.mark.usefixtures("launch")
def test_what_cannot_work_is_refused_before_anything_is_changed(lab: Lab) -> None:
    good = lab.inventory.read_text()
    short = lab.folder / "short.key"
    short.write_text("short\n")
    short.chmod(0o600)
    wrong = lab.folder / "wrong.key"
    wrong.write_text("f" * 40 + "\n")
    wrong.chmod(0o600)
    cases = {
        "launch-key-invalid": ("wandb.key", "short.key"),
        "launch-key-refused": ("wandb.key", "wrong.key"),
        "launch-entity-unknown": (f"entity={ENTITY}", "entity=nobody"),
        "launch-queue-unknown": ("", ""),  # none has been made yet
    }
    for code, (old, new) in cases.items():
        lab.inventory.write_text(good.replace(old, new) if old else good)
        errors = lab.json("bootstrap", *lab.named, expect=3 if code == "launch-key-invalid" else 4)["errors"]
        assert [error["code"] for error in errors] == [code]
        assert all(error["fix"] for error in errors)
    lab.inventory.write_text(good)
    assert lab.ssh("cp1", "ls", "/var/lib/gpuctl/receipts", expect=None).split() == []


def test_a_queue_is_made_by_preset_and_stays_as_it_is(launch: Launch) -> None:
    assert "created" in launch.queue("apply", QUEUE, *PRESET).out
    assert "unchanged" in launch.queue("apply", QUEUE, *PRESET).out
    cached = launch.queue("apply", "cached", *PRESET, "--nfs-claim", "nfs-kubedata")
    assert "created" in cached.out
    assert "claimName: nfs-kubedata" in launch.queue("show", "cached").out
    launch.queue("delete", "cached", "--yes")
    assert launch.queue("list").out.startswith(f"1 queue of {ENTITY}\n")


def test_what_the_agent_would_refuse_later_is_refused_with_its_line(lab: Lab, launch: Launch) -> None:
    config = lab.folder / "queue.yaml"
    config.write_text(
        "spec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n        - name: main\n"
        "          image: ${image_uri}\n      volumes:\n        - name: data\n          hostPath: {path: /data}\n"
    )
    ran = launch.queue("apply", "bad", str(config), expect=3)
    assert "queue.yaml:10" in ran.err
    assert "hostPath" in ran.err
    assert "bad" not in launch.queue("list").out


def test_bootstrap_ends_with_an_agent_that_polls(lab: Lab, launch: Launch) -> None:
    ran = lab.json("bootstrap", *lab.named)
    assert {"launch_agent_host"} <= set(lab.applied(ran)[AGENT])
    assert lab.ssh(AGENT, "systemctl", "is-active", UNIT).strip() == "active"
    wait_for("a poll of the queue", lambda: "popFromRunQueue" in launch.operations(), 60)
    bound = lab.kubectl("get", "pv,pvc", "-n", NAMESPACE, "-o", "jsonpath={.items[*].status.phase}")
    assert bound.split() == ["Bound", "Bound"]
    status = launch.status()
    assert "error" not in status.err


def test_the_second_run_is_nothing_to_do(lab: Lab) -> None:
    assert lab.plan() == {}
    ran = lab.json("bootstrap", *lab.named)["data"]
    assert all(outcome["changed"] == 0 for outcome in ran["outcomes"])


def test_the_real_client_makes_and_reads_the_same_queue(launch: Launch) -> None:
    sent = launch.queue("apply", "by-client", *PRESET, "--dry-run", "--output", "json").document["data"]["config"]
    program = (
        "import json, sys, wandb; config = json.load(sys.stdin); "
        "variables = {n: {'schema': s} for n, s in config['template_variables'].items()}; "
        f"wandb.Api().upsert_run_queue('by-client', config['kubernetes'], 'kubernetes', entity='{ENTITY}', "
        "template_variables=variables, prioritization_mode='DISABLED'); "
        f"print(wandb.Api().run_queue('{ENTITY}', '{QUEUE}').default_resource_config)"
    )
    said = launch.client("python", "-c", program, stdin=json.dumps(sent))
    assert said.endswith("exit 0\n"), said
    assert "${image_uri}" in said
    assert "unchanged" in launch.queue("apply", "by-client", *PRESET).out
    launch.queue("delete", "by-client", "--yes")


def test_a_job_of_the_real_client_sees_the_gpus_that_it_asked_for(lab: Lab, launch: Launch) -> None:
    before = set(launch.jobs())
    program = (
        "import os,time; print(sorted(n for n in os.listdir('/dev') if n[6:].isdigit()), flush=True); time.sleep(4)"
    )
    said = launch.submit(program, "--set-var", "gpus=2")
    assert said.endswith("exit 0\n"), said
    job = launch.new_job(before)
    wait_for("the pod to run", lambda: launch.phase(job) in {"Running", "Succeeded"}, 60, pause_s=0.1)
    wait_for("the pod to end", lambda: launch.phase(job) == "Succeeded", 60)
    pod = launch.pod(job)
    assert pod is not None
    seen = lab.kubectl("logs", "-n", NAMESPACE, pod["metadata"]["name"])
    assert len(re.findall(r"'nvidia\d+'", seen)) == 2, seen
    spec = job["spec"]
    container = spec["template"]["spec"]["containers"][0]
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (0, 60)
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    key = [item for item in container["env"] if item["name"] == "WANDB_API_KEY"]
    assert [set(item) for item in key] == [{"name", "valueFrom"}], "the key is in its Secret only"


def test_more_than_the_bounds_is_refused(launch: Launch) -> None:
    before = set(launch.jobs())
    said = launch.submit("print()", "--set-var", "gpus=9")
    assert said.endswith("exit 1\n"), said
    assert "9" in said
    errors = launch.trial("-q", QUEUE, "--gpus", "9", expect=3)["errors"]
    assert [error["code"] for error in errors] == ["launch-variable-bounds"]
    assert set(launch.jobs()) <= before  # those that have ended go by themselves


def test_launch_test_follows_a_job_to_its_gpus(launch: Launch) -> None:
    data = launch.trial("-q", QUEUE, "--gpus", "2")["data"]
    assert [stage["state"] for stage in data["stages"]] == ["ok"] * len(data["stages"])


def test_launch_test_names_where_it_stops(launch: Launch) -> None:
    def stops(*arguments: str, expect: int) -> list[str]:
        errors = launch.trial("-q", *arguments, expect=expect)["errors"]
        assert all(error["fix"] for error in errors)
        return [error["code"] for error in errors]

    assert stops("nowhere", expect=4) == ["launch-queue-unknown"]
    launch.server.fail("Viewer", 503, times=3)
    assert stops(QUEUE, expect=4) == ["launch-server-unreachable"]
    launch.server.clear_faults()
    launch.queue("apply", QUEUE, *PRESET[:3], "1,1,64", *PRESET[4:])
    assert stops(QUEUE, "--gpus", "16", expect=6) == ["launch-gpus-too-many"]
    launch.queue("apply", QUEUE, *PRESET)


def test_namespaces_of_jobs_keep_them_from_the_nodes(lab: Lab) -> None:
    labels = json.loads(lab.kubectl("get", "namespace", NAMESPACE, "-o", "jsonpath={.metadata.labels}"))
    levels = {key.partition("/")[2]: value for key, value in labels.items() if key.startswith("pod-security")}
    assert levels == {"enforce": "baseline", "warn": "restricted"}
    wait_for("no Secret there", lambda: lab.kubectl("get", "secrets", "-n", NAMESPACE, "-o", "name").split() == [], 60)
    own = lab.kubectl("get", "secrets", "-n", "wandb", "-o", "jsonpath={.items[*].type}")
    assert "service-account-token" not in own


def test_hostile_jobs_with_the_agents_token_are_refused(
    lab: Lab, launch: Launch, figure: Callable[[str], None]
) -> None:
    kinds = [
        hostile_jobs.kind_of("batch.volcano.sh", "v1alpha1", "Job"),
        hostile_jobs.kind_of("kubeflow.org", "v1", "PyTorchJob"),
    ]
    with lab.applied_objects(kinds):
        said = hostile_jobs.refusals(lab, launch.host, hostile_jobs.hostile(hostile_jobs.KINDS, NAMESPACE))
        through = [what for what, words in said.items() if POLICY not in words]
        fine = hostile_jobs.refusals(lab, launch.host, hostile_jobs.harmless(hostile_jobs.KINDS, NAMESPACE))
    refused = [what for what, words in fine.items() if words]
    figure(
        f"hostile Jobs, vcjobs, PyTorchJobs with the agent's token: {len(said) - len(through)} of {len(said)} refused"
    )
    figure(
        f"harmless Jobs, vcjobs and PyTorchJobs with the agent's token: {len(fine) - len(refused)} of {len(fine)} taken"
    )
    assert (through, refused) == ([], [])
    secret = hostile_jobs.refusals(lab, launch.host, [("token", hostile_jobs.token_secret(NAMESPACE))])
    assert POLICY in secret["token"]


def token(lab: Lab, host: str) -> str:
    """How the token of the agent on that host stands: until, lapsed or missing."""
    return lab.ssh(host, "python3", "/etc/gpuctl/launch-agent/renew.py", TOKEN).split()[0]


def stop_past_expiry(lab: Lab, host: str) -> None:
    """Stop the agent, and have its token lapse."""
    lab.ssh(host, "systemctl", "stop", UNIT)
    header, _, signature = lab.ssh(host, "cat", TOKEN).split(".")
    claims = base64.urlsafe_b64encode(json.dumps({"iat": 1, "exp": 2}).encode()).decode().rstrip("=")
    lab.ssh(host, "sh", "-c", f"cat > {TOKEN}", stdin=f"{header}.{claims}.{signature}")
    assert token(lab, host) == "lapsed"


def test_a_token_that_has_lapsed_is_named_and_mended(lab: Lab, launch: Launch) -> None:
    """The agent was down for longer than its token lived. The cluster has what an older release left, too."""
    assert token(lab, AGENT) == "until"
    endless = json.dumps(hostile_jobs.endless_secret("wandb"))
    lab.ssh("cp1", "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "apply", "-f", "-", stdin=endless)
    stop_past_expiry(lab, AGENT)
    lab.ssh(AGENT, "systemctl", "start", "--no-block", UNIT)
    wait_for("the token to be removed", lambda: token(lab, AGENT) == "missing", 60)
    said = launch.status(expect=6).err
    assert "[launch-token-lapsed]" in said
    assert "[launch-token-endless]" in said
    assert "gpuctl bootstrap" in said
    assert set(lab.plan()) == {f"{AGENT} launch_agent_host"}
    lab.json("bootstrap", *lab.named)
    assert token(lab, AGENT) == "until"
    launch.status()
    assert lab.plan() == {}


def test_the_account_renews_its_own_token(lab: Lab) -> None:
    old = lab.ssh(AGENT, "cat", TOKEN)
    program = "/etc/gpuctl/launch-agent/renew.py"
    ahead = f"sed 's/now, known = time.time()/now, known = time.time() + 20 * 86400/' {program} > /tmp/ahead.py"
    unit = lab.ssh(AGENT, "systemctl", "cat", "gpuctl-launch-token.service")
    command = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert command is not None
    words = command[1].replace(program, "/tmp/ahead.py")
    lab.ssh(AGENT, "sh", "-c", f"{ahead} && chmod 644 /tmp/ahead.py && runuser -u gpuctl-launch -- {words}")
    assert lab.ssh(AGENT, "cat", TOKEN) != old
    assert lab.ssh(AGENT, "stat", "-c", "%a %U", TOKEN).split() == ["600", "gpuctl-launch"]


def test_a_job_that_the_agent_refuses_is_not_lost(launch: Launch) -> None:
    """Pushed past gpuctl, whose `queue apply` refuses it."""
    pod = {"spec": {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}}
    spec = {"metadata": {"namespace": NAMESPACE}, "spec": {"template": pod}}
    job = {"docker": {"docker_image": IMAGE}, "project": PROJECT, "entity": ENTITY, "resource": "kubernetes"}
    item = launch.server.push(QUEUE, {**job, "resource_args": {"kubernetes": spec}})
    wait_for("the item to fail", lambda: "FAILED" in json.dumps(launch.item(item)), 60)
    assert "hostPath" in json.dumps(launch.item(item))


def test_an_image_that_cannot_be_pulled_is_named(launch: Launch) -> None:
    ran = launch.trial("-q", QUEUE, "--image", "docker.io/library/no-such-image:1", "--timeout", "90", expect=6)
    said = json.dumps(ran["errors"])
    assert "no-such-image" in said
    assert all(error["fix"] for error in ran["errors"])


def test_the_agent_survives_an_outage_and_a_kill(lab: Lab, launch: Launch) -> None:
    launch.server.outage(60)
    time.sleep(62)
    pid = lab.ssh(AGENT, "systemctl", "show", "-p", "MainPID", "--value", UNIT).strip()
    if pid != "0":
        lab.ssh(AGENT, "kill", "-9", pid)
    data = launch.trial("-q", QUEUE, "--gpus", "1", "--timeout", "180")["data"]
    assert all(stage["state"] == "ok" for stage in data["stages"])


def test_the_key_is_nowhere_but_in_its_places(lab: Lab) -> None:
    for path in lab.runs:
        assert all(KEY.encode() not in file.read_bytes() for file in path.rglob("*") if file.is_file()), path
    places = "/etc /var/lib/gpuctl /var/lib/gpuctl-launch /var/log /run /opt/gpuctl"
    holders = lab.ssh(AGENT, "sh", "-c", f"grep -rls {KEY} {places} || true").split()
    for path in holders:
        assert lab.ssh(AGENT, "stat", "-c", "%a %U", path).split()[0] in {"600", "400", "440"}, path
    assert [path for path in holders if path.startswith("/etc")] == ["/etc/gpuctl/launch-agent/netrc"]
    assert KEY not in lab.ssh(AGENT, "ps", "-eo", "args")
    journal = lab.ssh(AGENT, "journalctl", "-u", UNIT, "--no-pager")
    assert KEY not in journal
    objects = lab.kubectl("get", "configmaps,jobs,pods,deployments", "-A", "-o", "yaml")
    assert KEY not in objects
    assert base64.b64encode(KEY.encode()).decode() not in objects


def test_the_agent_moves_into_the_cluster(lab: Lab, launch: Launch) -> None:
    lab.inventory.write_text(
        lab.inventory.read_text().replace("[launch_agent]\n", "launch_agent_mode=cluster\n\n[launch_agent]\n")
    )
    steps = lab.plan()
    assert set(steps) == {"cluster launch_agent", f"{AGENT} launch_agent_host"}
    lab.json("bootstrap", *lab.named)
    assert lab.ssh(AGENT, "systemctl", "is-active", UNIT, expect=None).strip() == "inactive"
    lab.kubectl("rollout", "status", "-n", "wandb", "deployment/launch-agent-gpuctl", "--timeout=120s")
    data = launch.trial("-q", QUEUE, "--gpus", "3", "--timeout", "180")["data"]
    assert all(stage["state"] == "ok" for stage in data["stages"])
    launch.status()
    assert lab.plan() == {}


def test_the_agents_pod_ends_within_its_grace(lab: Lab) -> None:
    begun = time.monotonic()
    lab.kubectl("delete", "pod", "-n", "wandb", "-l", "app=launch-agent-gpuctl", "--wait=true")
    assert time.monotonic() - begun < 25
    lab.kubectl("rollout", "status", "-n", "wandb", "deployment/launch-agent-gpuctl", "--timeout=120s")


def test_a_right_that_is_missing_is_named(lab: Lab, launch: Launch) -> None:
    role = lab.kubectl("get", "clusterrole", "wandb-job-creator-gpuctl", "-o", "json")
    rules = json.loads(role)["rules"]
    index = next(i for i, rule in enumerate(rules) if rule["apiGroups"] == ["batch"])
    patch = [{"op": "replace", "path": f"/rules/{index}/verbs", "value": ["create", "delete"]}]
    lab.kubectl("patch", "clusterrole", "wandb-job-creator-gpuctl", "--type=json", f"-p={json.dumps(patch)}")
    ran = launch.status(expect=6)
    assert "watch" in ran.out + ran.err
    assert "cluster launch_agent" in lab.plan()
    lab.json("bootstrap", *lab.named, "--force-conflicts")
    launch.status()


def test_root_of_a_control_plane_renews_the_token_before_the_agent_starts(lab: Lab, launch: Launch) -> None:
    lab.inventory.write_text(
        lab.inventory.read_text()
        .replace("launch_agent_mode=cluster\n", "")
        .replace(f"[launch_agent]\n{AGENT}\n", "[launch_agent]\ncp1\n")
    )
    lab.json("bootstrap", *lab.named)
    stop_past_expiry(lab, "cp1")
    lab.ssh("cp1", "systemctl", "start", UNIT)
    assert token(lab, "cp1") == "until"
    assert lab.ssh("cp1", "stat", "-c", "%a %U", TOKEN).split() == ["600", "gpuctl-launch"]
    wait_for("the agent to run", lambda: lab.ssh("cp1", "systemctl", "is-active", UNIT).strip() == "active", 60)
    launch.status()
