"""Is each host a machine of its own, and the one that it was: judged by what proves it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from bootstrap.checks.common import Say, begun
from bootstrap.checks.finding import Finding

if TYPE_CHECKING:
    from bootstrap.inventory.model import Inventory
    from bootstrap.probe.facts import HostFacts

CODE = "identity-duplicate"
# What makers leave in the firmware instead of a number of the machine's own.
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NO_UUID = frozenset(
    (
        *("03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009"),
        *("12345678-1234-5678-90ab-cddeefaabbcc", "12345678-1234-5678-1234-567812345678"),
        *("01234567-89ab-cdef-0123-456789abcdef", "11111111-2222-3333-4444-555555555555"),
    )
)
_NO_SERIAL = re.compile(
    r"(?:to be filled.*|default.*|system.*|chassis.*|base ?board.*|not? .*|none|n/?a|null|unknown|undefined"
    r"|empty|invalid|o\.?e\.?m\.?.*|.*serial ?(?:number|no\.?|#).*|0?123456789.*|(.)\1*|[^0-9a-z]*|.{1,3})",
    re.IGNORECASE,
)
_FEW = 4  # different hexadecimal digits of a UUID: fewer are a pattern (all zeros, fe fe …)
_NEW_MACHINE_ID = "rm /etc/machine-id && systemd-machine-id-setup, then reboot it"
_LATER = "no hurry, it is a running node: when it can be rebooted, there: "


def duplicates(inventory: Inventory, facts: Mapping[str, HostFacts]) -> Iterator[Finding]:
    """Clones: the second node would replace the first. Every host that is involved gets the finding.

    Proof is the machine-id, and the product UUID together with the serial number. Nodes that run are left in peace.
    """
    running = running_nodes(facts)
    same = list(_groups(facts, lambda f: f"{f.machine_id}/{f.boot_id}" if f.machine_id and f.boot_id else "").values())
    for name, others in _each(same):
        yield Say(name, CODE).refuse(f"{others} and it are one machine", "list the machine once")
    together = {name for names in same for name in names}
    for what, read, fix in _PROOFS:
        for value, names in _groups(facts, read).items():
            if together.issuperset(names):
                continue
            together |= set(names) if what == _FIRMWARE else set()
            for name, others in _each([names]):
                say, message = Say(name, CODE), f"it has the same {what} as {others}: {value}"
                yield say.warn(message, _LATER + fix) if name in running else say.refuse(message, fix)
    yield from _hints(inventory, facts, together)


def _hints(inventory: Inventory, facts: Mapping[str, HostFacts], together: set[str]) -> Iterator[Finding]:
    """What may have a good reason: the firmware's UUID alone, and a MAC where nodes talk to each other."""
    for value, names in _groups(facts, _uuid).items():
        apart = len({facts[name].machine_id for name in names}) == len(names)
        if apart and not together.issuperset(names):  # containers of one machine share the firmware's
            others = ", ".join(names[1:])
            message = f"it has the same product UUID as {others}: {value}"
            yield Say(names[0], CODE).warn(message, "expected for containers only")
    addresses = {host.name: host.connection.address for host in inventory.hosts}
    for value, names in _groups(facts, lambda f: _node_mac(f, addresses.get(f.host, ""))).items():
        for name, others in _each([names]) if not together.issuperset(names) else ():
            yield Say(name, CODE).warn(
                f"its interface has the same MAC address as that of {others}: {value}",
                "give one of them another if both are on one network; a copied virtual machine gets a new card",
            )


def _firmware(facts: HostFacts) -> str:
    """UUID and serial of a machine; empty for a container, which shows those of its machine, and for placeholders."""
    uuid, serial = _uuid(facts), (facts.product_serial or "").strip()
    return f"{uuid} / {serial}" if uuid and not facts.container and not _NO_SERIAL.fullmatch(serial) else ""


def _uuid(facts: HostFacts) -> str:
    uuid = (facts.product_uuid or "").strip().lower()
    real = _UUID.fullmatch(uuid) and uuid not in _NO_UUID and len(set(uuid) - {"-"}) >= _FEW
    return uuid if real else ""


def _node_mac(facts: HostFacts, address: str) -> str:
    """The MAC of the interface with the node's address: others (a BMC's card, a second port) may be like anyone's."""
    for name, own in facts.addresses.items():
        if address in {entry.split("/")[0] for entry in own}:
            return facts.interface_macs.get(name, "")
    return facts.interface_macs.get(facts.default_interface or "", "")


_FIRMWARE = "product UUID and serial number"
_PROOFS: tuple[tuple[str, Callable[[HostFacts], str], str], ...] = (
    ("machine-id", lambda facts: facts.machine_id or "", f"on each clone: {_NEW_MACHINE_ID}"),
    (
        "hostname",
        lambda facts: facts.hostname.lower(),
        "give each its own: hostnamectl set-hostname NAME",
    ),
    (_FIRMWARE, _firmware, "list the machine once; give each copy of a virtual machine a UUID of its own"),
)


def _groups(facts: Mapping[str, HostFacts], read: Callable[[HostFacts], str]) -> dict[str, tuple[str, ...]]:
    """Value → the hosts that have it, for values that more than one host has."""
    hosts: dict[str, list[str]] = {}
    for name, found in facts.items():
        if value := read(found):
            hosts.setdefault(value, []).append(name)
    return {value: tuple(names) for value, names in hosts.items() if len(names) > 1}


def _each(groups: list[tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """Each host of each group with the names of the others."""
    for names in groups:
        for name in names:
            yield name, ", ".join(other for other in names if other != name)


def running_nodes(facts: Mapping[str, HostFacts]) -> frozenset[str]:
    """The hosts that are nodes of a cluster whose API says so: their kubelet's name is there, with their address."""
    nodes = {(node.name, node.internal_ip) for found in facts.values() if found.kube for node in found.kube.nodes}
    return frozenset(
        name
        for name, found in facts.items()
        if found.cluster.kubelet_conf
        and any((found.cluster.node or found.hostname.lower(), address) in nodes for address in found.address_list)
    )


def renamed(_inventory: Inventory, facts: Mapping[str, HostFacts]) -> Iterator[Finding]:
    """A node whose host has another name now: its kubelet may not speak for a node of that name."""
    for name, found in facts.items():
        node = found.cluster.node
        if node and found.cluster.kubelet_conf and begun(found, "kubeadm") and node != found.hostname.lower():
            yield Say(name, "hostname-changed").refuse(
                f"it is the node {node} of the cluster, and its hostname is {found.hostname} now",
                f"run there: hostnamectl set-hostname {node}",
            )


def foreign_receipts(_inventory: Inventory, facts: Mapping[str, HostFacts]) -> Iterator[Finding]:
    """Receipts that another machine wrote: the disk was cloned after gpuctl had worked there.

    Those of a running node are its own: somebody gave it a new machine-id.
    """
    running = running_nodes(facts)
    for name, found in facts.items():
        written = {receipt.get("machine_id") for receipt in found.receipts.values()} - {None, found.machine_id}
        if not written or not found.machine_id or not begun(found, "kubeadm"):
            continue
        if name in running:
            message = "its machine-id is not the one that it had when gpuctl set it up"
            yield Say(name, CODE).warn(message, "nothing to do: it is the node that the cluster knows")
        else:
            yield Say(name, "leftover-cluster").refuse(
                "it is a copy of a machine on which gpuctl worked before", f"run: gpuctl reset --limit {name}"
            )
