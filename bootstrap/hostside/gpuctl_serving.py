"""Whether what serves a kind of objects really does: it lets one be made, and it brings one to its end.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Mapping, Tuple

from .gpuctl_applyset import patiently
from .gpuctl_hostio import HostError
from .gpuctl_kube import APPLY, MANAGER, Api, KubeError, object_id, split_id

_POLL_S = 0.5


def wait_admitted(api: Api, item: Mapping[str, Any], timeout_s: float) -> None:
    """Until the API would take the object, webhooks asked; it is not made.

    HostError: rollout-timeout with what was last said, object-refused where it is the object that is refused.
    """
    end = time.monotonic() + timeout_s
    while True:
        try:
            api.request("PATCH", f"{_path(api, item)}?fieldManager={MANAGER}&dryRun=All&force=true", item, APPLY)
        except KubeError as error:
            # 403, 422: a webhook answered, and refuses. Before it does there is 404 (no such kind yet) or 500.
            if error.status in (400, 403, 422):
                raise HostError("object-refused", f"{object_id(item)}: {error}", "see the message") from error
            if time.monotonic() >= end:
                raise HostError(
                    "rollout-timeout", f"{item['kind']}: {error} after {timeout_s:g} s", "see `kubectl describe`"
                ) from error
        else:
            return
        api.forget_kinds()
        time.sleep(_POLL_S)


def wait_there(api: Api, identity: str, values: Mapping[str, Any], timeout_s: float) -> None:
    """Until an object is there and has these values (pointer → value). HostError rollout-timeout."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            found = api.get_id(identity)
            lacks = [pointer for pointer, value in values.items() if _at(found, pointer) != value]
            said = f"{lacks[0]} is {_at(found, lacks[0]) or 'empty'}" if lacks else ""
        except KubeError as error:
            if error.status not in (0, 404, 503):
                raise
            said = str(error)
        if not said:
            return
        if time.monotonic() >= end:
            _, kind, _, name = split_id(identity)
            words = f"{kind} {name} is not as it has to be after {timeout_s:g} s: {said}"
            raise HostError("rollout-timeout", words, "see `kubectl describe`")
        api.forget_kinds()
        time.sleep(_POLL_S)


def try_out(api: Api, item: Mapping[str, Any], until: Mapping[str, Any], timeout_s: float) -> float:
    """Make the object, wait until it has come to the end that `until` says (pointer → value), and take it away again.

    What an earlier trial left goes first. Seconds that it took. HostError trial-failed.
    """
    delete(api, item, timeout_s)
    begun = time.monotonic()
    try:
        _create(api, item, begun + timeout_s)
        while True:
            found = patiently(lambda: api.get_id(object_id(item)))
            if all(_at(found, pointer) == value for pointer, value in until.items()):
                return time.monotonic() - begun
            if time.monotonic() - begun >= timeout_s:
                words = f"{item['kind']} {item['metadata']['name']} did not end well within {timeout_s:g} s"
                raise HostError("trial-failed", f"{words}: {_said(found)}", "see `kubectl get events`")
            time.sleep(_POLL_S)
    finally:
        delete(api, item, timeout_s)


def _create(api: Api, item: Mapping[str, Any], end: float) -> None:
    while True:
        try:
            api.apply(item)
        except KubeError as error:
            if error.status not in (0, 404, 409, 500, 503) or time.monotonic() >= end:
                raise HostError("trial-failed", f"{object_id(item)}: {error}", "see the message") from error
        else:
            return
        api.forget_kinds()
        time.sleep(_POLL_S)


def delete(api: Api, item: Mapping[str, Any], timeout_s: float) -> None:
    """Delete an object with what it made, and wait until it is gone."""
    end = time.monotonic() + timeout_s
    ask: Callable[[], Any] = lambda: api.request("DELETE", _path(api, item) + "?propagationPolicy=Foreground")  # noqa: E731
    while time.monotonic() < end:
        try:
            patiently(ask)
        except KubeError as error:
            if error.status == 404:
                return
            raise
        time.sleep(_POLL_S)


def _path(api: Api, item: Mapping[str, Any]) -> str:
    return api.path_of(*split_id(object_id(item)))


def _said(found: Mapping[str, Any]) -> str:
    status: Dict[str, Any] = found.get("status") or {}
    state = status.get("state") or {}
    conditions: Tuple[Any, ...] = tuple(status.get("conditions") or ())
    last = conditions[-1] if conditions else {}
    return str(state.get("phase") or last.get("message") or last.get("type") or "it has no status")


def _at(item: Any, pointer: str) -> Any:
    """The value at a pointer of names (RFC 6901, without escapes)."""
    for key in pointer.strip("/").split("/"):
        item = item.get(key) if isinstance(item, dict) else None
    return item
