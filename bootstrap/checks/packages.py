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


def keeps_containerd(facts: HostFacts) -> bool:
    """Whether a containerd that is there, and that gpuctl did not install, is new enough to stay."""
    version = facts.packages.get("containerd.io") or facts.packages.get("containerd") or ""
    return _major(version) >= ADOPTED_MAJOR


def kept_containerd(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """A containerd that stays: gpuctl's file replaces its own, and keeps its folders and imports, but nothing else."""
    found = facts.containerd
    if found is None or begun(facts, "containerd") or not keeps_containerd(facts):
        return
    say = Say(host.name, "containerd-settings")
    wanted = str(host.settings.get("containerd_data_root", ""))
    if found.error:
        yield say.refuse(
            f"its containerd's configuration cannot be taken over: {found.error}", "correct that file there"
        )
    elif {"containerd.root", "containerd.state", "containerd.imports"}.intersection(facts.malformed):
        yield say.refuse(
            "its containerd has a root, state or imports with characters that gpuctl does not take",
            "name them with letters, digits and ._/- in /etc/containerd/config.toml",
        )
    elif found.config:
        yield say.refuse(
            f"its containerd is started with --config {found.config}, where gpuctl's settings would not be read",
            "move that file to /etc/containerd/config.toml, take the flag out of the unit "
            "(systemctl edit --full containerd) and restart it",
        )
    elif found.root and "containerd_data_root" in host.explicit and wanted != found.root:
        yield say.refuse(
            f"its containerd has images and containers in {found.root}, and containerd_data_root is {wanted}",
            f"set containerd_data_root={found.root}",
        )
    elif found.settings:
        named = ", ".join(found.settings[:_NAMED])
        more = f" and {len(found.settings) - _NAMED} more" if len(found.settings) > _NAMED else ""
        yield say.warn(
            f"gpuctl's /etc/containerd/config.toml replaces its own, which sets {named}{more}",
            "put what shall stay into /etc/containerd/conf.d/site.toml before; `gpuctl reset` brings the old file back",
        )


_NAMED = 5


def _major(version: str) -> int:
    number = version.split(":")[-1].split(".")[0]
    return int(number) if number.isdecimal() else 0
