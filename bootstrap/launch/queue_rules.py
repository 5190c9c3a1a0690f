"""What the Launch agent refuses in a queue's configuration, only once a job is there; and what bites later. Pure.

The rules are those of the client's agent, release 0.31 (the first with them was 0.28.1), each tried on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.errors import Problem
from bootstrap.launch.queue_file import Place, QueueConfig
from bootstrap.launch.template_variables import unused

GPU = "nvidia.com/gpu"
# What device plugins offer: nvidia.com/gpu, its shared form, MIG profiles; Volcano's and others' parts of a GPU.
_GPU_NAME = re.compile(
    r"(?:nvidia\.com/.+|[a-z0-9.-]*gpu[a-z0-9.-]*/.+|[a-z0-9.-]+/(?:[a-z0-9.-]*gpu[a-z0-9.-]*|mig-.+))"
)
_BATCH = frozenset({"", "batch/v1", "batch/v1beta1"})
_MACROS = frozenset({"image_uri", "run_id", "run_name", "project_name", "entity_name", "author"})
_KEY_MACRO = "WANDB_API_KEY"
_MACRO = re.compile(r"\$\{([^}]*)\}")
_NO_HOST = "shares the host's namespaces"
_NETWORK = "let the pod use its own network, and a Service where others must reach it"
_ACCOUNT = "jobs run under the namespace's default ServiceAccount: give that one the rights and imagePullSecrets"
# By their being there at all, even empty: key → (reason, alternative).
_NEVER = {
    "securityContext": (
        "the agent sets the security context itself, and nobody can override it",
        "remove it; give files of a volume to the job's user by the export or an init step of the image",
    ),
    "hostPath": ("volumes of the host are not permitted", "use a PersistentVolumeClaim, or an nfs volume"),
    "serviceAccountToken": ("projected tokens of a service account are not permitted", "use a Secret of your own"),
}
# Where they are true.
_NOT_TRUE = {
    "hostPID": (_NO_HOST, "remove it"),
    "hostIPC": (_NO_HOST, "remove it; for shared memory mount an emptyDir of medium Memory at /dev/shm"),
    "hostNetwork": (_NO_HOST, _NETWORK),
    "shareProcessNamespace": (_NO_HOST, "remove it"),
    "hostUsers": (_NO_HOST, "remove it"),
    "automountServiceAccountToken": ("tokens of a service account are not permitted", "use a Secret of your own"),
    "hostPort": ("ports of the host are not permitted", _NETWORK),
}
# Where they name something.
_NOT_SET = {
    "serviceAccountName": ("the pod's service account cannot be chosen", _ACCOUNT),
    "serviceAccount": ("the pod's service account cannot be chosen", _ACCOUNT),
}


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that is accepted and bites later."""

    message: str
    at: str | None = None


def refusals(config: QueueConfig) -> Iterator[Problem]:
    """Each thing that the agent would fail every job of the queue for."""
    for place, key, reason, fix in _walk(config.kubernetes, ()):
        yield Problem(
            "launch-config-refused", f"`{key}`: {reason} (the agent fails every job)", fix, at=config.at(place)
        )
    for text, place in _texts(config.kubernetes, ()):
        if _KEY_MACRO in _MACRO.findall(text):
            words = "`${WANDB_API_KEY}`: an agent in the cluster would write its own key into every job in clear text"
            fix = "remove it: each container of a job has WANDB_API_KEY from a Secret"
            yield Problem("launch-config-refused", words, fix, at=config.at(place))
    if "context" in config.kubernetes:
        words = "`context`: the agent does not find any context by its name (it fails every job)"
        yield Problem(
            "launch-config-refused", words, "remove it: the agent uses its own cluster", at=config.at(("context",))
        )


def warnings(config: QueueConfig) -> Iterator[Caution]:
    """What is worth knowing before jobs are sent."""
    kube = config.kubernetes
    metadata = kube.get("metadata") if isinstance(kube.get("metadata"), Mapping) else {}
    custom = str(kube.get("apiVersion") or "") not in _BATCH
    if not (metadata.get("namespace") or kube.get("namespace")):  # type: ignore[union-attr]
        yield Caution("no namespace: jobs go to `default`, or to the one of the agent's kubeconfig", config.at(()))
    if custom:
        yield Caution(
            f"{kube.get('kind') or 'a custom object'}: the agent writes the W&B API key into it in clear text; "
            "whoever may read such objects can read the key",
            config.at(("apiVersion",)),
        )
        if not (metadata.get("name") or metadata.get("generateName")):  # type: ignore[union-attr]
            yield Caution("a custom object needs metadata.name or metadata.generateName", config.at(("metadata",)))
    elif metadata.get("name"):  # type: ignore[union-attr]
        yield Caution(
            "metadata.name is fixed: only one job of it can be there at a time", config.at(("metadata", "name"))
        )
    yield from _gpus(config)
    yield from _macros(config)
    for name in unused(config):
        yield Caution(f"template variable `{name}` is used nowhere", config.origin or None)


def _gpus(config: QueueConfig) -> Iterator[Caution]:
    places = [place for place, key in _keys(config.kubernetes, ()) if is_gpu(key)]
    limited = {(*place[:-2], place[-1]) for place in places if place[-2:-1] == ("limits",)}
    claimed = any(key == "resourceClaims" for _, key in _keys(config.kubernetes, ()))  # by a driver of resource claims
    if not limited and not claimed:
        yield Caution(f"no container has a limit of {GPU}: jobs will see no GPU", config.at(()))
    for place in places:
        if place[-2:-1] == ("requests",) and (*place[:-2], place[-1]) not in limited:
            words = f"{place[-1]} is requested without a limit: Kubernetes refuses such a pod; name it under limits"
            yield Caution(words, config.at(place))


def is_gpu(resource: str) -> bool:
    """Whether a resource is GPUs, whole, shared (gpu.shared, vgpu) or parts of one (mig-1g.10gb), of whatever maker."""
    return _GPU_NAME.fullmatch(resource) is not None


def _macros(config: QueueConfig) -> Iterator[Caution]:
    for text, place in _texts(config.kubernetes, ()):
        for name in _MACRO.findall(text):
            if name not in _MACROS | {_KEY_MACRO}:
                yield Caution(
                    f"${{{name}}} is no macro: it stays as it is unless the agent's environment has it",
                    config.at(place),
                )


def _walk(value: Any, place: Place) -> Iterator[tuple[Place, str, str, str]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, (*place, index))
    if not isinstance(value, Mapping):
        return
    for key, item in value.items():
        inner = (*place, str(key))
        if key in _NEVER:
            yield (inner, key, *_NEVER[key])
        elif key in _NOT_TRUE and _true(item):
            yield (inner, key, *_NOT_TRUE[key])
        elif key in _NOT_SET and item:
            yield (inner, key, *_NOT_SET[key])
        elif key == "mountPropagation" and item == "Bidirectional":
            yield inner, key, "mounts must not travel back to the host", "use HostToContainer, or remove it"
        elif key == "annotations" and isinstance(item, Mapping):
            yield from _annotations(item, inner)
        yield from _walk(item, inner)


def _annotations(annotations: Mapping[str, Any], place: Place) -> Iterator[tuple[Place, str, str, str]]:
    for name, value in annotations.items():
        if re.search("apparmor|seccomp", str(name), re.IGNORECASE) and "unconfined" in str(value).lower():
            words = "a profile that confines nothing is not permitted"
            yield (*place, str(name)), str(name), words, "use RuntimeDefault, or remove it"


def _true(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in {"1", "true", "yes"}
    return isinstance(value, bool | int | float) and bool(value)


def _keys(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Every key of the configuration with its place, whose last part it is."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield (*place, str(key)), str(key)
            yield from _keys(item, (*place, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _keys(item, (*place, index))


def _texts(value: Any, place: Place) -> Iterator[tuple[str, Place]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*place, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*place, index))
    elif isinstance(value, str):
        yield value, place
