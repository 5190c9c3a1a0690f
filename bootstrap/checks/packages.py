"""Packages of two vendors that fight over the same files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bootstrap.checks.common import Say, begun
from bootstrap.checks.finding import Finding

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host
    from bootstrap.probe.facts import HostFacts

ADOPTED_MAJOR = 2  # containerd 2.x stays as it is; older ones would be replaced


def container_runtime(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Docker or containerd packages that containerd.io would throw out, with the containers that run on them."""
    if begun(facts, "containerd"):
        return
    say = Say(host.name, "runtime-conflict")
    if facts.units.get("snap.docker.dockerd.service", "").startswith("active"):
        yield say.refuse(
            "Docker is installed as a snap, beside which containerd cannot run", "run there: snap remove docker"
        )
    distribution = facts.packages.get("containerd")
    if distribution and _major(distribution) < ADOPTED_MAJOR:
        owner = next((name for name in ("docker.io", "moby-engine") if name in facts.packages), "containerd")
        yield say.refuse(
            f"{owner} brings containerd {distribution}, which containerd.io would replace",
            f"run there: apt-get remove {owner} containerd (its containers stop), or use another host",
        )


def _major(version: str) -> int:
    number = version.split(":")[-1].split(".")[0]
    return int(number) if number.isdecimal() else 0
