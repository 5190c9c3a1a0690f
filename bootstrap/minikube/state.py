"""What a look at a profile means: whether it runs, and in what it differs from what is asked for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bootstrap.hostside.gpuctl_strictjson import parse_object
from bootstrap.minikube.look import Seen
from bootstrap.minikube.options import AMOUNT, ProfileOptions

NO_LIMIT = "no-limit"
_MB = 1 << 20
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


class Phase(StrEnum):
    """Where a profile is in its life."""

    ABSENT = "absent"
    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    IMPAIRED = "impaired"  # it is all there, and some of it does not run: starting it again is minikube's cure
    BROKEN = "broken"  # only a part of it is there
    UNKNOWN = "unknown"  # there is a record, and Docker does not answer: nothing can be said of the container


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that the profile was made with, against what is asked for; `cost` is what changing it takes."""

    setting: str
    is_now: str
    wanted: str
    cost: str = "down and up: all that runs in it goes"

    def __str__(self) -> str:
        """As a plan shows it."""
        return f"{self.setting} {self.is_now or 'unset'} → {self.wanted}"


def phase_of(seen: Seen) -> Phase:
    """The phase; one of record and container without the other, or what is left of either, is broken."""
    if seen.config is None and not seen.container and not seen.folder and not seen.remains:
        return Phase.UNKNOWN if seen.docker_version and seen.unclear else Phase.ABSENT
    if not seen.docker_version or seen.unclear:
        return Phase.UNKNOWN
    if other_driver(seen):  # a machine of its own, or this one, is its node
        return Phase.RUNNING if parts_of(seen).get("Host") == "Running" else Phase.STOPPED
    if seen.config is None or not seen.container:
        return Phase.BROKEN
    if seen.container != "running":
        return Phase.STOPPED
    parts = parts_of(seen)
    if all(parts.get(name) == "Running" for name in ("Host", "Kubelet", "APIServer")):
        return Phase.RUNNING
    return Phase.PAUSED if parts.get("APIServer") == "Paused" else Phase.IMPAIRED


def other_driver(seen: Seen) -> str:
    """The driver of a profile whose node is no container of Docker's; empty of all others."""
    driver = str((seen.config or {}).get("Driver") or "docker")
    return "" if driver == "docker" else driver


def parts_of(seen: Seen) -> dict[str, str]:
    """What minikube says of the profile's parts: Host, Kubelet, APIServer, Kubeconfig."""
    try:
        found = parse_object(seen.status.out)
    except ValueError:
        return {}
    return {name: str(found[name]) for name in ("Host", "Kubelet", "APIServer", "Kubeconfig") if name in found}


def differences(seen: Seen, options: ProfileOptions) -> tuple[Difference, ...]:
    """In what an existing profile is not as asked for; a setting that nobody gave is as it should be."""
    return tuple(_differences(seen.config or {}, options)) if seen.config is not None else ()


def _differences(config: Mapping[str, Any], options: ProfileOptions) -> Iterator[Difference]:
    kubernetes = config.get("KubernetesConfig") or {}
    pairs = {
        "driver": (str(config.get("Driver") or ""), "docker"),
        "container runtime": (str(kubernetes.get("ContainerRuntime") or ""), options.container_runtime),
        "GPUs": (_gpus(str(config.get("GPUs") or "")), options.gpus),
        "Kubernetes": (_version(kubernetes.get("KubernetesVersion")), _version(options.kubernetes_version)),
        "base image": (str(config.get("KicBaseImage") or ""), options.base_image),
        "CNI": (str(kubernetes.get("CNI") or ""), options.cni),
        "CPUs": (_limit(config.get("CPUs")), options.cpus if options.cpus != "max" else ""),
    }
    for setting, (now, wanted) in pairs.items():
        if wanted and now != wanted:
            yield Difference(setting, now, wanted)
    if options.memory == NO_LIMIT and config.get("Memory"):
        yield Difference("memory", f"{config['Memory']} MB", NO_LIMIT)
    for setting, name, given in (("memory", "Memory", options.memory), ("disk", "DiskSize", options.disk_size)):
        wanted_mb = megabytes(given)
        now_mb = config.get(name)
        if wanted_mb is not None and isinstance(now_mb, int) and now_mb != wanted_mb:
            yield Difference(setting, f"{now_mb} MB" if now_mb else NO_LIMIT, f"{wanted_mb} MB")
    extra = kubernetes.get("ExtraOptions") or []
    made_with = {f"{item.get('Component')}.{item.get('Key')}={item.get('Value')}" for item in extra}
    for item in options.extra_config:
        if item not in made_with:
            yield Difference("extra config", "", item)


def missing_addons(seen: Seen, options: ProfileOptions) -> tuple[str, ...]:
    """Addons that are asked for and that an existing profile has not; starting it again switches them on."""
    found = (seen.config or {}).get("Addons") or {}
    return tuple(name for name in options.addons if not found.get(name))


def megabytes(text: str) -> int | None:
    """An amount as minikube takes it (8g, 1.5GiB, 4096) in MB; None for none and for words (max, no-limit)."""
    found = AMOUNT.fullmatch(text)
    if found is None:
        return None
    number, plain, power = float(found[1]), found[2], found[3]
    if not plain and not power:
        return int(number)
    return int(number * (1 if plain else 1 << 10 * _POWERS[power.lower()]) / _MB)


def _gpus(text: str) -> str:
    """Minikube keeps `all` and `nvidia` as they were given; both are the same."""
    return {"": "none", "nvidia": "all"}.get(text, text)


def _limit(count: Any) -> str:
    """A number of CPUs as it was asked for: minikube keeps 0 of a node without a limit."""
    return NO_LIMIT if count == 0 else str(count or "")


def _version(value: Any) -> str:
    text = str(value or "")
    return text if not text or text.startswith("v") else f"v{text}"


def made_with(seen: Seen, profile: str) -> ProfileOptions:
    """The options that an existing profile was made with, as far as minikube needs to hear them again."""
    config = seen.config or {}
    kubernetes = config.get("KubernetesConfig") or {}
    extra = kubernetes.get("ExtraOptions") or []
    return ProfileOptions(
        profile=profile,
        gpus=_gpus(str(config.get("GPUs") or "")),
        kubernetes_version=_version(kubernetes.get("KubernetesVersion")),
        container_runtime=str(kubernetes.get("ContainerRuntime") or "docker"),
        base_image=str(config.get("KicBaseImage") or ""),
        cni=str(kubernetes.get("CNI") or ""),
        extra_config=tuple(f"{item.get('Component')}.{item.get('Key')}={item.get('Value')}" for item in extra),
        force=seen.root,
    )
