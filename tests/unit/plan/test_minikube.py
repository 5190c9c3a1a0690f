"""The plan of a minikube host: what belongs there, what stays away, and what refuses to touch it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.apply import run as apply_run
from bootstrap.apply.requests import BootstrapRequest, PlanRequest
from bootstrap.apply.reset import removal_steps
from bootstrap.apply.run_inventory import write_run_inventory
from bootstrap.apply.view import SilentView
from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.inventory.schema import component_named
from bootstrap.plan.compare import changed_arguments
from bootstrap.plan.digests import argument_digests, plain
from bootstrap.plan.minikube_plan import adopts_docker, needs_profile, refuse_minikube
from bootstrap.plan.model import Effect
from bootstrap.plan.planner import Decision, decide
from bootstrap.plan.survey import examine
from bootstrap.probe.facts import HostFacts, KubeFacts, NodeFacts
from bootstrap.rundir import RunDirectory
from tests.unit.factories import host_facts, inventory, minikube_inventory

ALL = ["kube_host", "nvidia_driver", "docker", "nvidia_container_toolkit", "minikube"]
DOCKER = {"docker.service": "active,enabled"}
KEPT = {"docker": {"arguments": {"docker_adopt": {"value": True}}}}


def decision(facts: HostFacts, **explicit: Any) -> Decision:
    return decide(minikube_inventory(explicit=explicit), {"box": facts})


def installed(found: Decision, facts: HostFacts) -> HostFacts:
    """The host after its roles ran."""
    receipts = {
        step.component: {
            "schema": 1,
            "component": step.component,
            "state": "complete",
            "machine_id": facts.machine_id,
            "revision": component_named(step.component).revision,
            "arguments": argument_digests(step.component, found.arguments.by_host["box"]),
        }
        for step in found.plan.steps
    }
    return replace(facts, receipts=receipts)


def components(found: Decision) -> list[str]:
    return [step.component for step in found.plan.steps]


def test_a_host_with_gpus_gets_what_a_node_in_a_container_needs() -> None:
    found = decision(host_facts("box", gpus=2))
    assert components(found) == ALL
    assert {step.host for step in found.plan.steps} == {"box"}
    values = found.arguments.by_host["box"]
    assert values["kube_host_minimal"] is True
    assert values["nvidia_container_toolkit_engine"] == "docker"
    assert values["docker_adopt"] is False
    assert found.view.kube is None
    assert not found.view.exists


def test_a_host_without_gpus_gets_no_driver() -> None:
    assert components(decision(host_facts("box"))) == ["kube_host", "docker", "minikube"]
    assert components(decision(host_facts("box", gpus=2), cluster_gpu="none")) == ["kube_host", "docker", "minikube"]


def test_a_second_look_finds_nothing_to_do() -> None:
    facts = host_facts("box", gpus=2)
    again = installed(decision(facts), facts)
    elsewhere = replace(again, addresses={"eth0": ("203.0.113.9/24",)}, time_synchronised=False)
    for seen in (again, elsewhere):  # a laptop gets another address, and its clock is its own business
        assert decision(seen).plan.empty
    assert not decision(again).plan.extra


def test_a_docker_that_runs_is_restarted_and_the_plan_says_so() -> None:
    facts = host_facts("box", gpus=2, units=DOCKER, packages={"docker-ce": "5:28.5.2-1~debian.12~bookworm"})
    effects = {step.component: step.effect for step in decision(facts).plan.steps}
    assert effects["docker"] is effects["nvidia_container_toolkit"] is Effect.RESTARTS_SERVICE
    assert effects["kube_host"] is effects["minikube"] is Effect.NONE
    new = decision(host_facts("box", gpus=2))
    assert {step.effect for step in new.plan.steps} == {Effect.NONE}


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, False),
        ({"packages": {"docker-ce": "5:28.5.2-1~debian.12~bookworm"}}, True),
        ({"packages": {"docker.io": "26.1.5+dfsg1-9"}}, True),
        ({"packages": {"docker.io": "20.10.24+dfsg1-1"}}, False),
        ({"units": DOCKER}, True),  # of a package that is none of these, or of no package
        ({"receipts": {"docker": {"arguments": {"docker_adopt": {"value": False}}}}, "units": DOCKER}, False),
        ({"receipts": KEPT, "packages": {"docker.io": "20.10.24+dfsg1-1"}}, True),
        ({"receipts": KEPT, "units": DOCKER}, True),
        ({"receipts": KEPT}, False),  # its owner has removed it since
    ],
)
def test_which_docker_is_kept(changes: dict[str, Any], kept: bool) -> None:
    assert adopts_docker(host_facts("box", **changes)) is kept


def test_a_docker_that_was_kept_and_has_gone_is_installed() -> None:
    facts = host_facts("box", units=DOCKER, packages={"docker.io": "26.1.5+dfsg1-9"})
    again = replace(installed(decision(facts), facts), units={}, packages={})
    assert components(decision(again)) == ["docker"]
    assert decision(again).arguments.by_host["box"]["docker_adopt"] is False


@pytest.mark.parametrize(
    ("gpus", "explicit", "refused"), [(2, {}, True), (0, {}, False), (2, {"cluster_gpu": "none"}, False)]
)
def test_a_hardened_kernel_matters_to_gpus_alone(gpus: int, explicit: dict[str, Any], refused: bool) -> None:
    values = decision(host_facts("box", gpus=gpus), **explicit).arguments.by_host["box"]
    assert values["kube_host_bpf_jit_for_gpus"] is refused


def test_nodes_get_nothing_of_it() -> None:
    lab = inventory({"cp1": "198.51.100.1"}, {})
    found = decide(lab, {"cp1": host_facts("cp1", gpus=1, address="198.51.100.1")})
    assert not {"docker", "minikube"} & set(components(found))
    values = found.arguments.by_host["cp1"]
    assert values["kube_host_minimal"] is values["kube_host_bpf_jit_for_gpus"] is False
    assert values["nvidia_container_toolkit_engine"] == "containerd"


def test_receipts_from_before_an_argument_was_there_do_not_differ() -> None:
    """Unless it says something else than the role did then."""
    component = component_named("nvidia_container_toolkit")
    lab = inventory({"cp1": "198.51.100.1"}, {})
    facts = host_facts("cp1", gpus=1, address="198.51.100.1")
    values = dict(decide(lab, {"cp1": facts}).arguments.by_host["cp1"])
    old = {"arguments": argument_digests(component.name, values)}
    del old["arguments"]["nvidia_container_toolkit_engine"]
    assert changed_arguments(component, old, values) == ()
    values["nvidia_container_toolkit_engine"] = "docker"
    assert changed_arguments(component, old, values) == ("nvidia_container_toolkit_engine",)


def test_a_version_that_nobody_chose_has_no_newer_one() -> None:
    first = decision(host_facts("box"), docker_version="28.5.2")
    found = decision(installed(first, host_facts("box")))
    assert found.arguments.by_host["box"]["docker_version"] == "28.5.2"
    assert found.arguments.updates == ()
    assert found.plan.empty


def test_the_survey_decides_without_a_control_plane() -> None:
    survey = examine(minikube_inventory(), {"box": host_facts("box", gpus=1)})
    assert survey.problems == ()
    assert survey.decision is not None


def test_reset_goes_backwards() -> None:
    lab = minikube_inventory()
    facts = host_facts("box", gpus=2)
    facts = installed(decision(facts), facts)
    steps = removal_steps(lab, {"box": facts}, ["box"])
    assert [step.component for step in steps] == ALL[::-1]


def test_the_run_s_inventory_has_the_group(tmp_path: Path) -> None:
    lab, found = minikube_inventory(), decision(host_facts("box"))
    write_run_inventory(
        tmp_path / "inventory.yml", lab, found.arguments.by_host, found.plan.steps,
        seed=found.view.seed, run_id="r", stop_file=tmp_path / "stop", extra={},
    )  # fmt: skip
    written = yaml.safe_load((tmp_path / "inventory.yml").read_text().replace("!unsafe", ""))["all"]
    assert list(written["children"]["minikube"]["hosts"]) == ["box"]
    assert written["hosts"]["box"]["gpuctl_steps"] == ["kube_host", "docker", "minikube"]


def test_no_text_of_the_run_s_inventory_is_a_template(tmp_path: Path) -> None:
    """Read by Ansible itself: a text stays a text, and none is trusted."""
    from ansible._internal._datatag._tags import TrustedAsTemplate
    from ansible.parsing.dataloader import DataLoader

    hostile = "#jinja2: variable_start_string:'[%', variable_end_string:'%]'\n[% lookup('pipe', 'id') %]"
    lab, found = minikube_inventory(), decision(host_facts("box"))
    more = {"list": [hostile, "true", "1.40", "~", "2026-12-01"], "map": {"a": [{"b": hostile}], hostile: "{{ x }}"}}
    arguments = {"box": {**found.arguments.by_host["box"], **more}}
    write_run_inventory(
        tmp_path / "inventory.yml", lab, arguments, found.plan.steps,
        seed=found.view.seed, run_id="r", stop_file=tmp_path / "stop", extra={"more": hostile},
    )  # fmt: skip
    read = DataLoader().load_from_file(str(tmp_path / "inventory.yml"), trusted_as_template=True)["all"]

    def texts(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [text for key, item in value.items() for text in (key, *texts(item))]
        if isinstance(value, list):
            return [text for item in value for text in texts(item)]
        return [value] if isinstance(value, str) else []

    assert [plain(read["hosts"]["box"][name]) for name in more] == list(more.values())
    given = [*texts(read["vars"]), *texts(read["hosts"]["box"])]
    assert hostile in given
    assert [text for text in given if TrustedAsTemplate.is_tagged_on(text)] == []


def test_commands_of_node_clusters_refuse_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load(_path: Path) -> Inventory:
        return minikube_inventory()

    monkeypatch.setattr(apply_run, "load_inventory", load)
    run = RunDirectory.create("plan", root=tmp_path)
    asked = BootstrapRequest(Path("minikube.ini"), run, tmp_path / "kubeconfig")
    for command in (
        lambda: apply_run.plan(PlanRequest(Path("minikube.ini"), run), SilentView()),
        lambda: apply_run.bootstrap(asked, SilentView()),
        lambda: refuse_minikube(minikube_inventory(), "x"),
    ):
        with pytest.raises(GpuctlError) as caught:
            command()
        assert caught.value.exit_code is ExitCode.SETTINGS
        [problem] = caught.value.problems
        assert problem.code == "minikube-inventory"
        assert problem.fix == "run `gpuctl minikube up --inventory minikube.ini`"


def with_services(*groups: str, **settings: Any) -> Inventory:
    lab = minikube_inventory(explicit={"launch_agent_entity": "vision", "launch_agent_queues": ["gpus"], **settings})
    host = replace(lab.hosts[0], groups=lab.hosts[0].groups | set(groups))
    return replace(lab, hosts=(host,))


def profile(address: str = "192.168.49.2", **receipts: Any) -> KubeFacts:
    node = NodeFacts("gpuctl", True, "", "u", "v1.36.3", address, 2, 2, False, {})
    return KubeFacts(version="v1.36.3", nodes=(node,), receipts=receipts)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0f1e2d3c4b5a69788796a5b4c3d2e1f001234567")


@pytest.mark.usefixtures("key")
def test_an_agent_and_an_export_beside_the_profile() -> None:
    facts = host_facts("box", gpus=2)
    found = decide(with_services("launch_agent", "nfs_server"), {"box": facts})
    assert components(found) == [
        *ALL[:3], "nvidia_container_toolkit", "nfs_server", "minikube", "nfs_volumes", "launch_agent",
        "launch_agent_host",
    ]  # fmt: skip
    waiting = [name for name in components(found) if needs_profile(component_named(name))]
    assert waiting == ["nfs_server", "nfs_volumes", "launch_agent", "launch_agent_host"]


@pytest.mark.usefixtures("key")
def test_the_export_goes_to_the_node_alone_and_keeps_to_it_while_the_profile_is_stopped() -> None:
    lab = with_services("nfs_server")
    running = replace(host_facts("box"), kube=profile())
    first = decide(lab, {"box": running})
    values = first.arguments.by_host["box"]
    assert values["nfs_server_clients"] == ["192.168.49.2"]
    assert values["nfs_volumes_server_address"] == "host.minikube.internal"
    assert values["nfs_volumes_wanted"]
    stopped = replace(installed(first, running), kube=KubeFacts(error="no route to host"))
    again = decide(lab, {"box": stopped})
    assert again.arguments.by_host["box"]["nfs_server_clients"] == ["192.168.49.2"]
    assert components(again) == ["nfs_volumes"]  # what the profile holds is known when it runs


@pytest.mark.usefixtures("key")
def test_an_agent_of_a_profile_that_was_made_anew_gets_its_new_access() -> None:
    lab = with_services("launch_agent")
    made = replace(host_facts("box"), kube=profile())
    first = decide(lab, {"box": made})
    after = replace(installed(first, made), kube=profile())  # no receipt in this profile
    assert components(decide(lab, {"box": after})) == ["launch_agent", "launch_agent_host"]


def test_a_profile_whose_agent_nobody_asks_for_any_more_keeps_it() -> None:
    facts = replace(host_facts("box"), kube=profile(launch_agent={"state": "complete"}))
    found = decide(minikube_inventory(), {"box": facts})
    assert "launch_agent" not in components(found)
    assert found.plan.extra == ()  # less asked for takes nothing away
