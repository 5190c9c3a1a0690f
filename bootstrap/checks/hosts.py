"""Can the host be used at all, and is it the machine that it seems to be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from statistics import median
from typing import TYPE_CHECKING

from bootstrap.checks.common import Say, complete
from bootstrap.checks.finding import Finding

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host, Inventory
    from bootstrap.probe.facts import HostFacts

# The roles' vars/ have data for these.
SYSTEMS = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04", "26.04")}
ARCHITECTURES = ("x86_64", "aarch64")
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
SKEW_FIX_S = 5.0  # the probe itself is off by its own length, under a second
SKEW_REFUSE_S = 300.0  # certificates made on one host are not yet valid on the other
PACKAGE_WAIT_S = 300  # gpuctl_packages: lock_timeout


def root(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Without root most of what follows would be guesses."""
    if not facts.root:
        yield Say(host.name, "sudo-denied").refuse(
            "the probe did not run as root", "set ansible_become=true, or ansible_user=root"
        )


def operating_system(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Only distributions that the roles have data for."""
    if facts.os.version_id not in SYSTEMS.get(facts.os.id, ()):
        known = ", ".join(f"{name.capitalize()} {'/'.join(versions)}" for name, versions in SYSTEMS.items())
        seen = facts.os.pretty or f"{facts.os.id} {facts.os.version_id}".strip() or "unknown"
        yield Say(host.name, "os-unsupported").refuse(f"its system is {seen}", f"use one of: {known}")


def architecture(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Only processors that all upstreams publish packages for."""
    if facts.os.arch not in ARCHITECTURES:
        yield Say(host.name, "arch-unsupported").refuse(
            f"its processor is {facts.os.arch or 'unknown'}", f"use one of: {', '.join(ARCHITECTURES)}"
        )


def hostname(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """The host's name becomes the node's: RFC 1123, at most 253 characters."""
    if host.is_minikube:  # which names its node after the profile
        return
    name = facts.hostname.lower()
    good = all(LABEL.fullmatch(label) for label in name.split(".")) and len(name) <= 253
    if not good or name.split(".")[0] == "localhost":
        yield Say(host.name, "hostname-invalid").refuse(
            f"its hostname {facts.hostname!r} cannot be a node name", "set one there: hostnamectl set-hostname NAME"
        )


def package_lock(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Somebody else is installing packages."""
    if facts.package_lock:
        yield Say(host.name, "package-lock").repair(
            f"{facts.package_lock} holds the package lock", f"wait for it, at most {PACKAGE_WAIT_S} s"
        )


def lock(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Another gpuctl is at work."""
    if facts.lock_holder:
        yield Say(host.name, "lock-held").refuse(f"locked by {facts.lock_holder}", "wait for that run, or end it")


def ssh_options(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """An address that is not this machine's; lines of known_hosts that nobody can read."""
    connection = host.connection
    if connection.local and "ansible_host" in (host.origins or {}) and connection.address not in facts.address_list:
        yield Say(host.name, "ssh-option-ignored").warn(
            f"ansible_connection=local makes it this machine, which has no address {connection.address}",
            "remove ansible_host, or ansible_connection if another machine is meant",
        )
    if facts.way_notes:
        more = f" and {len(facts.way_notes) - _NAMED} more" if len(facts.way_notes) > _NAMED else ""
        yield Say(host.name, "known-hosts-broken").warn(
            f"lines of known_hosts were passed over: {'; '.join(facts.way_notes[:_NAMED])}{more}",
            "correct these lines, or delete them",
        )


def inventory_notes(inventory: Inventory) -> Iterator[Finding]:
    """Hosts that are left alone, and variables that look like gpuctl's: said once, with the other warnings."""
    for note in inventory.notes:
        place = f" ({note.at})" if note.at else ""
        yield Say(note.host, note.code).warn(f"{note.message}{place}", note.fix)


def clocks(inventory: Inventory, facts: Mapping[str, HostFacts]) -> Iterator[Finding]:
    """Every clock against the median of all, and whether something keeps it right (nodes are given a time service)."""
    nodes = {host.name for host in inventory.nodes}
    offsets = {name: f.clock_offset_s for name, f in facts.items() if f.clock_offset_s is not None}
    middle = median(offsets.values()) if len(offsets) > 1 else 0.0
    for name, found in facts.items():
        say, off = Say(name, "clock-skew"), offsets.get(name, middle) - middle
        ahead = f"its clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the other hosts"
        if abs(off) > SKEW_REFUSE_S:
            yield say.refuse(ahead, "set the clock, for example: timedatectl set-ntp true")
        elif name in nodes and found.time_synchronised is False and not complete(found, "kube_host"):
            message = ahead if abs(off) > SKEW_FIX_S else "nothing keeps its clock right"
            yield say.repair(message, "a time service is installed")
        elif abs(off) > SKEW_FIX_S:
            yield say.warn(ahead, "look at its time service: timedatectl timesync-status")


def malformed(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Values of the probe's answer that are none: what they say of the host is unknown."""
    if facts.malformed:
        more = f" and {len(facts.malformed) - _NAMED} more" if len(facts.malformed) > _NAMED else ""
        yield Say(host.name, "facts-malformed").warn(
            f"unknown, as its answer is not of the form: {', '.join(facts.malformed[:_NAMED])}{more}",
            "look at that on the host; gpuctl goes on without it",
        )


_NAMED = 5
