"""What the roles beside the cluster are told: who may mount the export, and what the Launch agent's files say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Connection, Host, Inventory
from bootstrap.inventory.schema import component_named
from bootstrap.plan.arguments import components_for, resolve_arguments
from bootstrap.plan.cluster_view import ClusterView, view_cluster
from bootstrap.plan.digests import argument_digests
from bootstrap.plan.launch_arguments import LaunchFiles, check_launch_settings, launch_problems, read_launch_files
from bootstrap.plan.planner import decide
from bootstrap.probe.facts import HostFacts, KubeFacts
from tests.unit.factories import default_settings, host_facts, inventory

KEY = "0123456789abcdef0123456789abcdef01234567"
AGENT = {"launch_agent_entity": "vision", "launch_agent_queues": ["gpus"]}
CP, GPU, NAS = "198.51.100.10", "198.51.100.11", "198.51.100.20"


def with_group(group: str, host: str, path: Path = Path("lab.ini"), **settings: Any) -> Inventory:
    """A control plane, a worker, and `host` (cp1 or a host of its own) in `group`; the settings are that host's."""
    base = inventory({"cp1": CP}, {"gpu1": GPU})
    hosts = list(base.hosts)
    if host == "cp1":
        old = hosts[0]
        hosts[0] = replace(
            old,
            groups=old.groups | {group},
            settings=default_settings(**settings),
            explicit=frozenset(settings),
            origins=dict.fromkeys(settings, "lab.ini:9"),
        )
    else:
        hosts.append(
            Host(
                host,
                frozenset({group}),
                Connection(NAS, user="root"),
                default_settings(**settings),
                frozenset(settings),
            )
        )
    return Inventory(path, tuple(hosts))


def facts_of(found: Inventory, **changes: Any) -> dict[str, HostFacts]:
    return {h.name: host_facts(h.name, address=h.connection.address, **changes) for h in found.hosts}


def resolved(found: Inventory, launch: LaunchFiles | None = None, **changes: Any) -> dict[str, dict[str, Any]]:
    facts = facts_of(found, **changes)
    return {k: dict(v) for k, v in resolve_arguments(found, facts, view_cluster(found, facts), launch).by_host.items()}


def installed(found: Inventory, host: str, **changes: Any) -> set[str]:
    facts = facts_of(found, **changes)
    view = view_cluster(found, facts)
    values = resolve_arguments(found, facts, view).by_host[host]
    return {component.name for component in components_for(found.host(host), values, view)}


def test_without_the_groups_nothing_of_it_is_wanted() -> None:
    plain = inventory({"cp1": CP}, {"gpu1": GPU})
    for host in ("cp1", "gpu1"):
        assert not [name for name in installed(plain, host) if name.startswith(("nfs", "csi", "launch"))]


def test_an_export_goes_to_the_nodes_and_to_nobody_else() -> None:
    values = resolved(with_group("nfs_server", "nas1"))
    assert values["nas1"]["nfs_server_clients"] == [CP, GPU]
    assert values["cp1"]["nfs_volumes_server_address"] == NAS


def test_networks_that_are_named_replace_the_nodes() -> None:
    values = resolved(with_group("nfs_server", "nas1", nfs_server_networks=["198.51.100.0/24"]))
    assert values["nas1"]["nfs_server_clients"] == ["198.51.100.0/24"]


def test_volumes_take_the_servers_path() -> None:
    values = resolved(with_group("nfs_server", "nas1", nfs_server_path="/data/export"))
    assert values["cp1"]["nfs_volumes_path"] == "/data/export"


def test_a_server_beside_the_cluster_gets_the_export_only() -> None:
    found = with_group("nfs_server", "nas1")
    assert installed(found, "nas1") == {"nfs_server"}
    assert {"nfs_client", "nfs_volumes"} <= installed(found, "cp1")
    assert "nfs_client" in installed(found, "gpu1")
    assert "nfs_volumes" not in installed(found, "gpu1")


def test_a_server_that_is_a_node_is_both() -> None:
    assert {"nfs_server", "nfs_client", "kubeadm"} <= installed(with_group("nfs_server", "cp1"), "cp1")


def test_an_agent_on_a_host_is_a_service_and_its_rights() -> None:
    found = with_group("launch_agent", "cp1")
    assert {"launch_agent", "launch_agent_host"} <= installed(found, "cp1")
    assert not {"launch_agent", "launch_agent_host"} & installed(found, "gpu1")


def test_an_agent_in_the_cluster_leaves_hosts_alone_unless_its_service_is_there() -> None:
    found = with_group("launch_agent", "cp1", launch_agent_mode="cluster")
    assert "launch_agent_host" not in installed(found, "cp1")
    receipts = {"launch_agent_host": {"state": "complete"}}
    assert "launch_agent_host" in installed(found, "cp1", receipts=receipts)
    assert resolved(found, receipts=receipts)["cp1"]["launch_agent_host_running"] is False


def test_the_cluster_takes_the_agents_settings_from_its_group() -> None:
    found = with_group("launch_agent", "box1", launch_agent_entity="vision", launch_agent_queues=["gpus"])
    values = resolved(found)
    assert (values["cp1"]["launch_agent_entity"], values["cp1"]["launch_agent_queues"]) == ("vision", ["gpus"])


def test_the_key_comes_from_a_private_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "key").chmod(0o600)
    found = with_group("launch_agent", "cp1", tmp_path / "lab.ini", launch_agent_api_key_file="key", **AGENT)
    files = read_launch_files(found)
    assert files.api_key == KEY
    assert KEY not in repr(files)
    assert resolved(found, files)["cp1"]["launch_agent_api_key"] == KEY
    assert list(launch_problems(found, files)) == []


@pytest.mark.parametrize(("mode", "code"), [(0o644, "launch-key-exposed"), (None, "variable-invalid")])
def test_a_key_file_that_others_can_read_or_nobody(tmp_path: Path, mode: int | None, code: str) -> None:
    if mode is not None:
        (tmp_path / "key").write_text(KEY)
        (tmp_path / "key").chmod(mode)
    found = with_group("launch_agent", "cp1", tmp_path / "lab.ini", launch_agent_api_key_file="key")
    with pytest.raises(GpuctlError) as caught:
        read_launch_files(found)
    assert [(p.code, p.at) for p in caught.value.problems] == [(code, "lab.ini:9")]


def test_the_key_comes_from_the_environment_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert read_launch_files(with_group("launch_agent", "cp1")).api_key == KEY
    assert read_launch_files(inventory({"cp1": CP}, {})).api_key == ""


@pytest.mark.parametrize(("key", "code"), [("", "launch-key-missing"), ("short", "launch-key-invalid")])
def test_without_a_key_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, key: str, code: str) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    found = with_group("launch_agent", "cp1", **AGENT)
    problems = list(launch_problems(found, read_launch_files(found)))
    assert [problem.code for problem in problems] == [code]
    assert "short" not in problems[0].message


@pytest.mark.parametrize("key", [KEY, f"local-{KEY}", "wandb_v1_" + "x" * 40])
def test_keys_as_the_server_makes_them(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    found = with_group("launch_agent", "cp1", **AGENT)
    assert list(launch_problems(found, read_launch_files(found))) == []


def test_what_the_charts_values_say_holds_where_the_inventory_is_silent(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(
        f"agent:\n  apiKey: {KEY}\nnamespace: ml\nlaunchConfig: |\n  entity: vision\n  queues: [a, b]\n  max_jobs: 3\n"
    )
    found = with_group(
        "launch_agent", "cp1", tmp_path / "lab.ini", launch_agent_values_file="values.yaml", launch_agent_max_jobs=7
    )
    files = read_launch_files(found)
    values = resolved(found, files)["gpu1"]
    assert (values["launch_agent_namespace"], values["launch_agent_queues"]) == ("ml", ["a", "b"])
    assert values["launch_agent_max_jobs"] == 7
    assert values["launch_agent_api_key"] == KEY
    assert list(launch_problems(found, files)) == []


def test_values_that_are_not_the_charts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("agent:\n  apikey: x\n")
    found = with_group("launch_agent", "cp1", tmp_path / "lab.ini", launch_agent_values_file="values.yaml")
    with pytest.raises(GpuctlError) as caught:
        read_launch_files(found)
    assert [(p.code, p.at) for p in caught.value.problems] == [("launch-values-unknown", "values.yaml:2")]


@pytest.mark.parametrize("mode", ["host", "cluster"])
def test_an_agent_that_would_not_know_what_to_do_is_refused(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    found = with_group("launch_agent", "cp1", launch_agent_mode=mode)
    problems = list(launch_problems(found, read_launch_files(found)))
    assert {p.message for p in problems} == {
        f"the Launch agent needs `launch_agent_{name}`" for name in ("entity", "queues")
    }
    with pytest.raises(GpuctlError) as caught:
        check_launch_settings(found)
    assert caught.value.exit_code is ExitCode.SETTINGS


def test_the_agents_image_stays_as_installed_until_it_is_set() -> None:
    recorded = {"launch_agent_image": {"digest": "x", "value": "wandb/launch-agent:0.30.0"}}
    kube = KubeFacts(receipts={"launch_agent": {"state": "complete", "arguments": recorded}})
    for settings, image in (
        (AGENT, "wandb/launch-agent:0.30.0"),
        ({**AGENT, "launch_agent_image": "mine:1"}, "mine:1"),
    ):
        found = with_group("launch_agent", "agent1", **settings)
        facts = facts_of(found)
        values = resolve_arguments(found, facts, ClusterView("cp1", True, kube), LaunchFiles()).by_host["cp1"]
        assert values["launch_agent_image"] == image


def test_a_new_account_in_the_cluster_gets_to_the_agent_on_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    found = with_group("launch_agent", "cp1", **AGENT)
    values = resolved(found, read_launch_files(found))["cp1"]
    digests = argument_digests("launch_agent_host", values)
    revision = component_named("launch_agent_host").revision
    machine = host_facts("cp1").machine_id
    complete = {"schema": 1, "state": "complete", "machine_id": machine, "revision": revision, "arguments": digests}
    facts = facts_of(found, receipts={"launch_agent_host": complete})
    steps = {(step.host, step.component): step for step in decide(found, facts).plan.steps}
    assert ("cluster", "launch_agent") in steps
    assert ("cp1", "launch_agent_host") in steps
    assert steps["cp1", "launch_agent_host"].reasons == ("its access to the cluster may be a new one",)


def test_what_left_the_inventory_is_named() -> None:
    found = inventory({"cp1": CP}, {"gpu1": GPU})
    facts = facts_of(found, receipts={"launch_agent_host": {"state": "complete"}, "kube_host": {"state": "complete"}})
    assert decide(found, facts).plan.extra == (
        "cp1: launch_agent_host is installed, and the inventory does not ask for it (any more)",
        "gpu1: launch_agent_host is installed, and the inventory does not ask for it (any more)",
    )


@pytest.mark.parametrize(("host", "by_root"), [("cp1", True), ("gpu1", False), ("box1", False)])
def test_the_account_renews_its_token_where_root_cannot(host: str, by_root: bool) -> None:
    values = resolved(with_group("launch_agent", host, **AGENT))
    assert values[host]["launch_agent_host_renewed_by_root"] is by_root
    assert values["cp1"]["launch_agent_renews_itself"] is not by_root
