"""The objects of one cluster-wide component: apply what is rendered, delete what is not any more, keep the receipt.

The receipt is a ConfigMap in kube-system, so it survives the loss of a control plane host. Standard library only,
Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import json
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from .gpuctl_facts_cluster import CA, public_key_hash
from .gpuctl_hostio import HostError, read_text
from .gpuctl_kube import MANAGER, Api, KubeError, object_id, owned_digest, receipt_name, split_id
from .gpuctl_namespaces import is_ours, is_shared, is_somebody_elses, with_known_levels
from .gpuctl_receipts import BEGUN, COMPLETE, SCHEMA, known_arguments, machine_id, now_utc

_NAMESPACE = "kube-system"
_FIRST = ("Namespace", "CustomResourceDefinition", "PriorityClass", "RuntimeClass", "ServiceAccount")
_RETRY_S = 60.0  # an API server that just started refuses connections, or says 429 and 503, for moments
_POLL_S = 0.5
_TRANSIENT = (0, 429, 500, 502, 503, 504)


class Change(NamedTuple):
    """What one pass changed: keys "apiVersion/kind/namespace/name"."""

    applied: List[str]
    deleted: List[str]


def connect() -> Api:
    """The API of this control plane, once it answers. Raises HostError [api-unreachable]."""
    try:
        api = Api.from_admin_conf()
    except (OSError, ValueError) as error:
        raise HostError("api-unreachable", f"admin.conf: {error}", "run this on a control plane") from error
    patiently(lambda: api.get("/readyz"))
    return api


def patiently(call: Callable[[], Any], wait_s: float = _RETRY_S) -> Any:
    """The call's answer, tried again while the API is only just not there. Raises HostError at the deadline."""
    end = time.monotonic() + wait_s
    while True:
        try:
            return call()
        except KubeError as error:
            if error.status not in _TRANSIENT:
                raise
            if time.monotonic() >= end:
                raise HostError(
                    "api-unreachable", f"the API did not answer within {wait_s:g} s: {error}", "see `crictl ps -a`"
                ) from error
        time.sleep(_POLL_S)


def ordered(objects: Sequence[Mapping[str, Any]]) -> List[Mapping[str, Any]]:
    """What others live in or refer to comes first; otherwise as rendered."""
    return sorted(objects, key=lambda o: _FIRST.index(o["kind"]) if o["kind"] in _FIRST else len(_FIRST))


def read(api: Api, component: str) -> Optional[Dict[str, Any]]:
    """The component's receipt; None without one, state "damaged" when it cannot be parsed."""
    found = get_or_none(api, f"v1/ConfigMap/{_NAMESPACE}/{receipt_name(component)}")
    if found is None:
        return None
    try:
        receipt = json.loads((found.get("data") or {}).get("receipt") or "")
    except ValueError:
        receipt = None
    return receipt if isinstance(receipt, dict) else {"component": component, "state": "damaged", "objects": {}}


def get_or_none(api: Api, identity: str) -> Optional[Dict[str, Any]]:
    """The object of that key, None when it (or its kind) is not there."""
    try:
        found: Dict[str, Any] = patiently(lambda: api.get_id(identity))
    except KubeError as error:
        if error.status == 404:
            return None
        raise
    return found


def write(api: Api, receipt: Mapping[str, Any]) -> None:
    """Store a receipt."""
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": receipt_name(str(receipt["component"])),
            "namespace": _NAMESPACE,
            "labels": {"app.kubernetes.io/managed-by": MANAGER},
        },
        "data": {"receipt": json.dumps(receipt, sort_keys=True)},
    }
    patiently(lambda: api.apply(manifest, force=True))


def begin(api: Api, new: Mapping[str, Any], objects: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """Write the receipt as begun, naming the old objects and the new, so that a killed run forgets none.

    `installed` keeps the arguments of the last complete receipt.
    """
    old = read(api, str(new["component"])) or {}
    known = dict(old.get("objects") or {})
    for item in objects:
        known.setdefault(object_id(item), "")
    receipt = {
        **new,
        "schema": SCHEMA,
        "state": BEGUN,
        "machine_id": machine_id(),
        "cluster_id": public_key_hash(read_text(CA)),
        "began_at": now_utc(),
        "completed_at": None,
        "objects": known,
        "installed": dict(known_arguments(old)),
    }
    write(api, receipt)
    return receipt


def apply_objects(
    api: Api, receipt: Mapping[str, Any], objects: Sequence[Mapping[str, Any]], force: bool, keep: Sequence[str] = ()
) -> Change:
    """Apply all, then delete what the receipt has and the rendering has not, but for what is to be kept.

    Raises HostError [object-conflict].
    """
    applied, conflicts = [], []
    for item in ordered(objects):
        identity = object_id(item)
        before = _settled(api, identity)
        if is_somebody_elses(item, before):
            continue
        try:
            sent = with_known_levels(item, before)
            after = patiently(lambda sent=sent: api.apply(sent, force))  # type: ignore[misc]
        except KubeError as error:
            if error.status != 409:
                raise _refused(identity, error) from error
            conflicts += conflict_lines(identity, error)
            continue
        if before is None or before["metadata"]["resourceVersion"] != after["metadata"]["resourceVersion"]:
            applied.append(identity)
    if conflicts:
        raise HostError("object-conflict", "; ".join(conflicts), "give them back, or run with --force-conflicts")
    gone = sorted(set(receipt.get("objects") or {}) - {object_id(item) for item in objects} - set(keep))
    return Change(applied, delete_objects(api, gone))


def _settled(api: Api, identity: str, wait_s: float = _RETRY_S) -> Optional[Dict[str, Any]]:
    """The object as it is; a namespace that is being deleted takes nothing new in, so its end is waited for."""
    end = time.monotonic() + wait_s
    while True:
        found = get_or_none(api, identity)
        if found is None or split_id(identity)[1] != "Namespace" or not found["metadata"].get("deletionTimestamp"):
            return found
        if time.monotonic() >= end:
            name = split_id(identity)[3]
            words = f"namespace {name} is being deleted, and that has not ended within {wait_s:g} s"
            raise HostError(
                "object-refused", words, f"see what `kubectl get namespace {name} -o yaml` says it waits for"
            )
        time.sleep(_POLL_S)


def conflict_lines(identity: str, error: KubeError) -> List[str]:
    """One line per field that another manager holds: object, field, manager."""
    body = error.body if isinstance(error.body, dict) else {}
    causes = (body.get("details") or {}).get("causes") or []
    _, kind, namespace, name = split_id(identity)
    where = f"{kind} {namespace + '/' if namespace else ''}{name}"
    lines = []
    for cause in causes:
        message = str(cause.get("message") or "")
        manager = message.split('"')[1] if message.count('"') >= 2 else message
        lines.append(f"{where}: field {cause.get('field', '?')} is held by {manager}")
    return lines or [f"{where}: {error}"]


def _refused(identity: str, error: KubeError) -> HostError:
    return HostError("object-refused", f"{identity}: {error}", "see the message of the API server")


def delete_objects(api: Api, identities: Sequence[str]) -> List[str]:
    """Delete objects of a receipt; left alone are those of which we own no field (any more), and namespaces.

    A namespace takes with it whatever others have put there meanwhile, which nobody can list.
    """
    deleted = []
    for identity in identities:
        found = get_or_none(api, identity)
        if found is None or not is_ours(found) or is_shared(identity, found):
            continue
        path = api.path_of(*split_id(identity)) + "?propagationPolicy=Background"
        try:
            patiently(lambda path=path: api.request("DELETE", path))  # type: ignore[misc]
        except KubeError as error:
            if error.status != 404:
                raise _refused(identity, error) from error
        deleted.append(identity)
    return deleted


def complete(api: Api, receipt: Mapping[str, Any], objects: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """Write the receipt as complete, with the digest of each object as it stands."""
    digests = {}
    for item in objects:
        identity = object_id(item)
        digests[identity] = owned_digest(patiently(lambda identity=identity: api.get_id(identity)))  # type: ignore[misc]
    done = {**receipt, "state": COMPLETE, "completed_at": now_utc(), "objects": digests}
    done.pop("installed", None)
    write(api, done)
    return done


def remove(api: Api, component: str) -> List[str]:
    """Delete all objects of a component's receipt, the last applied first, then the receipt itself."""
    receipt = read(api, component)
    if receipt is None:
        return []
    identities = list(receipt.get("objects") or {})
    last = len(_FIRST)
    rank = {i: _FIRST.index(split_id(i)[1]) if split_id(i)[1] in _FIRST else last for i in identities}
    deleted = delete_objects(api, sorted(identities, key=lambda i: -rank[i]))
    delete_objects(api, [f"v1/ConfigMap/{_NAMESPACE}/{receipt_name(component)}"])
    return deleted


def wait_rollout(api: Api, identity: str, timeout_s: float) -> None:
    """Until pods are ready, a claim is bound, or webhooks are known. Raises HostError [rollout-timeout]."""
    end = time.monotonic() + timeout_s
    while True:
        found = patiently(lambda: api.get_id(identity))
        said = rollout_lacks(found)
        if not said:
            return
        if time.monotonic() >= end:
            raise HostError("rollout-timeout", f"{identity}: {said} after {timeout_s:g} s", "see `kubectl describe`")
        time.sleep(_POLL_S)


def rollout_lacks(found: Mapping[str, Any]) -> str:
    """What a Deployment, a DaemonSet, a claim of storage or a list of webhooks still lacks, or nothing."""
    if found["kind"].endswith("WebhookConfiguration"):
        missing = [hook["name"] for hook in found.get("webhooks") or () if not hook["clientConfig"].get("caBundle")]
        return f"no authority for {missing[0]}" if missing else ""
    status = found.get("status") or {}
    if found["kind"] == "PersistentVolumeClaim":
        return "" if status.get("phase") == "Bound" else f"{status.get('phase') or 'without a phase'}, not Bound"
    if status.get("observedGeneration", 0) < found["metadata"].get("generation", 0):
        return "not yet seen by its controller"
    if found["kind"] == "DaemonSet":
        wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
        updated = status.get("updatedNumberScheduled", 0)
    else:
        wanted, ready = (found.get("spec") or {}).get("replicas", 1), status.get("readyReplicas", 0)
        updated = status.get("updatedReplicas", 0)
        old = status.get("replicas", 0) - updated
        if old > 0 and updated >= wanted:  # those that are ready may be the old ones
            return f"new pods not ready yet, {old} of before still there"
    return "" if ready >= wanted and updated >= wanted else f"{min(ready, updated)} of {wanted} pods ready"
