"""`gpuctl minikube up` without an inventory, on a host that one has set up: nothing of it is taken back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.inventory.model import Host, Inventory
from bootstrap.inventory.overlay import with_settings
from bootstrap.inventory.schema import component_named
from bootstrap.minikube import up
from bootstrap.minikube.look import Seen
from bootstrap.minikube.options import ProfileOptions
from bootstrap.minikube.recorded import as_recorded, with_extra_config
from bootstrap.plan.digests import argument_digests
from bootstrap.plan.planner import Decision, decide
from bootstrap.probe.facts import HostFacts
from tests.unit.factories import host_facts, minikube_inventory
from tests.unit.minikube.conftest import Lane

TOOLKIT = "nvidia_container_toolkit"
CA = "-----BEGIN CERTIFICATE-----\nlab\n-----END CERTIFICATE-----\n"
GIVEN: dict[str, Any] = {
    "docker_daemon_config": {"data-root": "/mnt/docker"},
    "docker_source": "distribution",
    "docker_version": "27.1.1",
    "docker_live_restore": False,
    "docker_group_users": ["ada"],
    "minikube_bundle_url": "file:///srv/bundle.tar",
    "minikube_bundle_sha256": "a" * 64,
    "minikube_extra_config": ["kubelet.fail-cgroupv1=false"],
    "kube_host_sysctls": {"vm.swappiness": "1"},
    "nvidia_driver_manage": "never",
    "nvidia_driver_apt_source": {"uri": "https://mirror/cuda", "suite": "./", "components": []},
    "cluster_endpoint": "lab-api",
}


@pytest.fixture
def set_up(tmp_path: Path) -> HostFacts:
    """A host that an inventory with these settings, and a CA of its own, was applied to."""
    (tmp_path / "ca.pem").write_text(CA, encoding="ascii")
    given = minikube_inventory(explicit=GIVEN | {"cluster_ca_file": str(tmp_path / "ca.pem")})
    facts = host_facts("box", gpus=2)
    return with_receipts(decide(given, {"box": facts}), facts)


def with_receipts(found: Decision, facts: HostFacts) -> HostFacts:
    values = found.arguments.by_host["box"]
    receipts = {
        step.component: {
            "schema": 1, "component": step.component, "state": "complete", "machine_id": facts.machine_id,
            "revision": component_named(step.component).revision, "arguments": argument_digests(step.component, values),
        }
        for step in found.plan.steps
    }  # fmt: skip
    return replace(facts, receipts=receipts)


def host(inventory: Inventory) -> Host:
    return inventory.hosts[0]


def steps(inventory: Inventory, facts: HostFacts) -> list[str]:
    return [step.component for step in decide(inventory, {"box": facts}).plan.steps]


def test_an_up_without_the_inventory_finds_nothing_to_do(set_up: HostFacts) -> None:
    bare = minikube_inventory()
    with pytest.raises(GpuctlError, match="cluster_endpoint lab-api"):  # the defaults are even refused
        decide(bare, {"box": set_up})
    same_name = minikube_inventory(explicit={"cluster_endpoint": "lab-api"})
    assert set(steps(same_name, set_up)) == {"docker", "minikube", "kube_host", "nvidia_driver", TOOLKIT}
    assert steps(as_recorded(bare, set_up), set_up) == []


@pytest.mark.parametrize("name", ["docker_end_containers", "nvidia_driver_headless_ok", "nvidia_driver_reboot_ok"])
def test_a_consent_is_for_one_run(set_up: HostFacts, name: str) -> None:
    """Nor is it a change of the host that it was given, or is given no more."""
    given = as_recorded(with_settings(minikube_inventory(), (), {name: True}), set_up)
    assert steps(given, set_up) == []
    facts = with_receipts(decide(minikube_inventory(explicit={name: True}), {"box": host_facts("box", gpus=2)}), set_up)
    assert host(as_recorded(minikube_inventory(), facts)).settings[name] is False


def test_a_profile_without_gpus_changes_nothing_on_the_host_of_another_with(set_up: HostFacts) -> None:
    without = with_settings(as_recorded(minikube_inventory(), set_up), (), {"cluster_gpu": "none"})
    assert steps(without, set_up) == []


def test_what_is_given_counts(set_up: HostFacts) -> None:
    given = with_settings(minikube_inventory(), (), {"docker_live_restore": True})
    found = as_recorded(given, set_up)
    assert host(found).settings["docker_live_restore"] is True
    assert host(found).settings["docker_daemon_config"] == {"data-root": "/mnt/docker"}
    assert steps(found, set_up) == ["docker"]


def test_nothing_becomes_a_choice_of_somebodys(set_up: HostFacts) -> None:
    found = host(as_recorded(minikube_inventory(), set_up))
    assert found.explicit == frozenset()
    assert found.settings["docker_version"] == ""  # pinned: the planner keeps it
    assert found.settings["docker_adopt"] is False
    assert found.settings["cluster_ca_certificate"] == CA


def test_a_host_without_receipts_has_the_defaults() -> None:
    bare = minikube_inventory()
    assert as_recorded(bare, host_facts("box", gpus=2)) == bare


def test_receipts_of_another_machine_say_nothing(set_up: HostFacts) -> None:
    bare = minikube_inventory()
    assert as_recorded(bare, replace(set_up, machine_id="f" * 32)) == bare


def test_components_keep_their_settings_in_a_new_profile_only(set_up: HostFacts) -> None:
    given = ProfileOptions(extra_config=("kubelet.max-pods=200",))
    new = with_extra_config(given, Seen(root=False, home="/home/ada"), set_up)
    assert new.extra_config == ("kubelet.fail-cgroupv1=false", "kubelet.max-pods=200")
    there = Seen(root=False, home="/home/ada", config={"Name": "gpuctl"})
    assert with_extra_config(given, there, set_up) == given


@pytest.mark.parametrize("as_before", [True, False])
def test_up_asks_for_it(lane: Lane, set_up: HostFacts, monkeypatch: pytest.MonkeyPatch, *, as_before: bool) -> None:
    asked: list[Inventory] = []

    def prepare(inventory: Inventory, *_: object) -> Any:
        asked.append(inventory)
        return lane.ready()

    monkeypatch.setattr(up, "prepare", prepare)
    monkeypatch.setattr(up, "probe_hosts", lambda *_: {"box": set_up})
    up.up(replace(lane.asked(), as_before=as_before), lane.view)
    assert (host(asked[0]).settings["docker_source"] == "distribution") is as_before
    [start] = [call.argv for call in lane.machine.calls if call.verb == "start"]
    assert ("--extra-config=kubelet.fail-cgroupv1=false" in start) is as_before
