"""Namespaces that gpuctl asks to be there: whose they are, and which pods they admit.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional

from .gpuctl_kube import MANAGER, split_id

_MANAGED_BY = "app.kubernetes.io/managed-by"
_POD_SECURITY = "pod-security.kubernetes.io/"


def is_somebody_elses(item: Mapping[str, Any], found: Optional[Mapping[str, Any]]) -> bool:
    """Whether a namespace is only asked to be there (labelled as managed by us), and somebody else has made it.

    It is used as it is: nothing is applied to it, so it is never taken for ours, and never deleted.
    """
    only_asked = (item["metadata"].get("labels") or {}).get(_MANAGED_BY) == MANAGER
    return item["kind"] == "Namespace" and only_asked and found is not None and not is_ours(found)


def is_shared(identity: str, found: Mapping[str, Any]) -> bool:
    """Whether it is a namespace that we made for others to use."""
    labels = found["metadata"].get("labels") or {}
    return split_id(identity)[1] == "Namespace" and labels.get(_MANAGED_BY) == MANAGER


def with_level(item: Mapping[str, Any], level: str) -> Mapping[str, Any]:
    """A namespace with the Pod Security level that it enforces; any other object, or without a level, as it is."""
    labels = item["metadata"].get("labels") or {}
    if not level or item["kind"] != "Namespace" or any(key.startswith(_POD_SECURITY) for key in labels):
        return item
    return {**item, "metadata": {**item["metadata"], "labels": {**labels, _POD_SECURITY + "enforce": level}}}


def with_known_levels(item: Mapping[str, Any], found: Optional[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The item as it is applied: a namespace that is there without a Pod Security level of ours gets none.

    Pods run in it, or will, that nobody has compared with a level.
    """
    if item["kind"] != "Namespace" or found is None:
        return item
    if is_ours(found) and any(key.startswith(_POD_SECURITY) for key in found["metadata"].get("labels") or {}):
        return item
    labels = item["metadata"].get("labels") or {}
    kept = {key: value for key, value in labels.items() if not key.startswith(_POD_SECURITY)}
    return {**item, "metadata": {**item["metadata"], "labels": kept}}


def is_ours(found: Mapping[str, Any]) -> bool:
    """Whether we own a field of the object."""
    return any(entry.get("manager") == MANAGER for entry in found["metadata"].get("managedFields") or ())
