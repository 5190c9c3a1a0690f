"""A host that is this machine: its facts give its address, and it is not rebooted under us."""

from __future__ import annotations

import ipaddress
from contextlib import nullcontext
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.apply import access_kubeconfig
from bootstrap.apply.access_kubeconfig import bring_kubeconfig
from bootstrap.apply.requests import BootstrapRequest
from bootstrap.checks.finding import Severity
from bootstrap.checks.preflight import preflight
from bootstrap.inventory.model import Connection, Inventory
from bootstrap.kube.credentials import read_credentials
from bootstrap.plan.addresses import node_address
from bootstrap.plan.planner import decide
from tests.unit.certificates import admin_conf
from tests.unit.factories import host_facts, inventory


def workstation(address: str = "localhost", **workers: str) -> Inventory:
    found = inventory({"box": address}, workers)
    box = replace(found.hosts[0], connection=Connection(address, local=True), origins={"ansible_host": "lab.ini:2"})
    return Inventory(found.path, (box, *found.hosts[1:]))


def test_the_machines_own_address_is_the_nodes() -> None:
    wanted = workstation(gpu1="198.51.100.11")
    facts = {name: host_facts(name, address=f"198.51.100.{end}") for name, end in (("box", 10), ("gpu1", 11))}
    arguments = decide(wanted, facts).arguments.by_host

    assert arguments["box"]["kubeadm_node_ip"] == "198.51.100.10"
    assert {values["cluster_endpoint_address"] for values in arguments.values()} == {"198.51.100.10"}
    assert arguments["box"]["kubeadm_cert_sans"] == sorted(
        {"127.0.0.1", "198.51.100.10", "box", str(arguments["box"]["cluster_endpoint"])}
    )


def test_the_machine_on_which_we_run_is_not_rebooted() -> None:
    wanted = workstation(gpu1="198.51.100.11")
    allowed = tuple(replace(h, settings={**h.settings, "nvidia_driver_reboot_ok": True}) for h in wanted.hosts)
    facts = {name: host_facts(name) for name in ("box", "gpu1")}
    arguments = decide(Inventory(wanted.path, allowed), facts).arguments.by_host

    assert [arguments[name]["nvidia_driver_reboot_ok"] for name in ("box", "gpu1")] == [False, True]


def test_ansible_host_chooses_among_the_machines_addresses() -> None:
    facts = host_facts("box", address="198.51.100.10")
    facts = replace(facts, addresses={**facts.addresses, "eth1": ("192.0.2.9/24",)})

    assert node_address(workstation("192.0.2.9").hosts[0], facts) == "192.0.2.9"
    assert node_address(workstation("192.0.2.77").hosts[0], facts) == "198.51.100.10"


@given(st.lists(st.ip_addresses().map(lambda address: f"{address}/{address.max_prefixlen - 4}"), max_size=5))
def test_a_node_address_is_one_of_the_machine_or_none_of_another(addresses: list[str]) -> None:
    facts = replace(host_facts("box"), addresses={"eth0": tuple(addresses)}, default_interface="eth0")
    found = node_address(workstation().hosts[0], facts)
    usable = [a for text in addresses if (a := ipaddress.ip_interface(text).ip).version == 4 and not a.is_loopback]

    assert found == (str(usable[0]) if usable else "127.0.0.1")


def test_the_no_proxy_of_the_others_names_the_machines_address() -> None:
    wanted = workstation(gpu1="198.51.100.11")
    facts = {
        "box": host_facts("box", address="198.51.100.10"),
        "gpu1": host_facts("gpu1", proxies={"https_proxy": "http://proxy.example:3128"}),
    }
    (found,) = [f for f in preflight(wanted, facts) if f.code == "proxy-without-exclusions"]

    assert "198.51.100.10" in found.fix


def test_an_address_of_another_machine_is_said() -> None:
    facts = {"box": host_facts("box", address="198.51.100.10")}

    def said(address: str) -> list[str]:
        return [f.message for f in preflight(workstation(address), facts) if f.code == "ssh-option-ignored"]

    assert said("198.51.100.10") == []
    (message,) = said("192.0.2.77")
    assert "192.0.2.77" in message
    assert {f.severity for f in preflight(workstation("192.0.2.77"), facts) if f.code == "ssh-option-ignored"} == {
        Severity.WARN
    }


class Unsigning:
    """The API of a cluster that does not know the group of kubeadm's admins."""

    def get(self, _path: str) -> None:
        return None


def test_the_kubeconfig_names_this_machine(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    import yaml

    folder = request.getfixturevalue("tmp_path")
    admin = read_credentials(admin_conf("https://api.invalid:6443"))
    monkeypatch.setattr(access_kubeconfig, "admin_api", lambda *_: nullcontext((Unsigning(), admin)))
    bootstrap = BootstrapRequest.__new__(BootstrapRequest)
    given = {"kubeconfig": folder / "config", "use_context": False, "access": None}
    for name, value in {**given, "user_name": "ada", "renew_kubeconfig": False}.items():
        object.__setattr__(bootstrap, name, value)
    bring_kubeconfig(bootstrap, workstation("192.0.2.77").hosts[0], "lab", only_if_missing=False)
    (entry,) = yaml.safe_load((folder / "config").read_text())["clusters"]

    assert entry["cluster"]["server"] == "https://127.0.0.1:6443"
    assert entry["cluster"]["tls-server-name"] == "api.invalid"
