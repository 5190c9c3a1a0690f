"""What the API refuses of a queue's pods though each field is one: mounts of nothing, parts of devices. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bootstrap.errors import Problem
from bootstrap.inventory.placeholders import placeholder
from bootstrap.launch.queue_fields import INVALID, object_type, objects
from bootstrap.launch.queue_file import Place, QueueConfig
from bootstrap.launch.queue_rules import is_gpu
from bootstrap.launch.template_variables import USE

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_ENDING = ("Never", "OnFailure")
# Where a text names something that must be there; commands, arguments and variables may hold anything.
_NAMING = frozenset({
    "claimName", "image", "name", "namespace", "generateName", "path", "priorityClassName", "queue", "runtimeClassName",
    "schedulerName", "secretName", "server", "storageClassName",
})  # fmt: skip


def pod_problems(config: QueueConfig) -> Iterator[Problem]:
    """Each of them, with its place and what to write instead."""
    for kind, place, value in objects(config):
        if kind == "V1PodSpec":
            yield from _mounts(config, place, value)
            yield from _restarts(config, place, value)
        elif kind == "V1ResourceRequirements":
            yield from _devices(config, place, value)
        yield from _placeholders(config, place, value)


def _mounts(config: QueueConfig, place: Place, pod: Mapping[str, Any]) -> Iterator[Problem]:
    named = {str(volume.get("name")) for volume in _mappings(pod.get("volumes"))}
    if any(USE.search(name) for name in named):
        return
    for key in _CONTAINERS:
        for number, container in enumerate(_mappings(pod.get(key))):
            for index, mount in enumerate(_mappings(container.get("volumeMounts"))):
                name = str(mount.get("name"))
                if name in named or USE.search(name):
                    continue
                words = f"volumeMount `{name}`: the pod has no volume of that name (it has: {_list(named)})"
                fix = f"add `{name}` to the pod's volumes, or mount one that is there"
                yield Problem(INVALID, words, fix, at=config.at((*place, key, number, "volumeMounts", index)))


def _restarts(config: QueueConfig, place: Place, pod: Mapping[str, Any]) -> Iterator[Problem]:
    policy = pod.get("restartPolicy")
    if object_type(config.kubernetes) != "V1Job" or not isinstance(policy, str) or USE.search(policy):
        return
    if policy not in _ENDING:
        words = f"`restartPolicy: {policy}`: pods of a Job end, so Kubernetes takes {' or '.join(_ENDING)} only"
        yield Problem(INVALID, words, "write Never", at=config.at((*place, "restartPolicy")))


def _devices(config: QueueConfig, place: Place, resources: Mapping[str, Any]) -> Iterator[Problem]:
    limits, requests = (_mapping(resources.get(key)) for key in ("limits", "requests"))
    for key, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            if is_gpu(str(name)) and not _whole(amount):
                words = f"`{name}`: {amount!r} is no whole number, and Kubernetes gives whole devices only"
                fix = "write 1 or more; parts of a GPU are resources of their own (MIG, gpu.shared)"
                yield Problem(INVALID, words, fix, at=config.at((*place, key, str(name))))
    for name in sorted(set(map(str, limits)) & set(map(str, requests))):
        one, other = limits.get(name), requests.get(name)
        templated = any(USE.search(str(amount)) for amount in (one, other))
        if is_gpu(name) and str(one) != str(other) and not templated:
            words = f"`{name}`: the request {other!r} is not the limit {one!r}, and of devices both are equal"
            yield Problem(INVALID, words, "remove the request", at=config.at((*place, "requests", name)))


def _placeholders(config: QueueConfig, place: Place, value: Mapping[str, Any]) -> Iterator[Problem]:
    for key, text in value.items():
        if key in _NAMING and isinstance(text, str) and (left := placeholder(text)):
            words = f"`{key}` still has the placeholder {left}"
            yield Problem(INVALID, words, f"write what {key} is to be", at=config.at((*place, str(key))))


def _whole(amount: Any) -> bool:
    if isinstance(amount, str):
        return amount.strip().isdecimal() or "{{" in amount or "${" in amount
    return amount is None or (isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0)


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [_mapping(each) for each in value] if isinstance(value, list) else []
