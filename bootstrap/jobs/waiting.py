"""Why a job does not begin, in words: from its ranks, and from the events of its scheduler. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from bootstrap.jobs.pods import GPU_RESOURCE
from bootstrap.jobs.ranks import Rank
from bootstrap.jobs.spec import JobSpec

_CORDONED = re.compile(r"(\d+) node\(s\) were unschedulable")
_TAINT = re.compile(r"untolerated taint \{([^}]*)\}")
_RESOLVING = re.compile(r'^.*failed to resolve reference "[^"]*": ', re.DOTALL)
_PULLING = "Pulling"
_GOES_WELL = frozenset({_PULLING, "Pulled", "Created", "Started"})  # what a kubelet tells of a pod then
_SECONDS = len("2026-11-23T10:00:00")
# Warnings that also come with gangs that begin the next moment: all have a place, or no pod has been made yet.
_NO_REASON = ("pod group is ready", "0/0 tasks in gang unschedulable")


def why_waiting(spec: JobSpec, ranks: Sequence[Rank], events: Sequence[Mapping[str, Any]]) -> str:
    """One sentence; empty where nothing is wrong so far."""
    pulling = next((r for r in ranks if r.waiting.startswith(("ErrImage", "ImagePull", "InvalidImage"))), None)
    if pulling:
        return f"the image cannot be pulled on {pulling.node}: {_pull(pulling.waiting)}"
    configured = next((r for r in ranks if r.node and r.waiting), None)
    if configured:
        return f"{configured.place} cannot begin: {configured.waiting}"
    gang = _gang(spec, [str(e.get("message") or "") for e in events if e.get("type") == "Warning"])
    if gang:
        return gang
    unplaced = [r for r in ranks if not r.node and r.waiting]
    if unplaced:
        return _unplaced(spec, unplaced, len(ranks) - len(unplaced))
    unmade = _unmade(events)
    return (unmade if len(ranks) < spec.nodes else "") or _not_begun(ranks, events) or unmade


def _unmade(events: Sequence[Mapping[str, Any]]) -> str:
    """FailedCreate of Kubernetes' own controllers, FailedCreatePod and FailedCreateService of the training operator."""
    for event in reversed(events):
        reason = str(event.get("reason") or "")
        if reason.startswith("FailedCreate") and (event.get("involvedObject") or {}).get("kind") != "Pod":
            what = "services" if "Service" in reason else "pods"
            return f"its {what} cannot be made: {event.get('message')}"
    return ""


def _not_begun(ranks: Sequence[Rank], events: Sequence[Mapping[str, Any]]) -> str:
    """The newest warning of a pod with a node and nothing else to say: a volume, or its network; or that it pulls."""
    left = {rank.pod: rank for rank in ranks if not rank.started}
    for event in reversed(events):
        rank = left.get(str((event.get("involvedObject") or {}).get("name") or ""))
        message = " ".join(str(event.get("message") or "").split())
        if rank and event.get("type") == "Warning" and not _has_passed(rank, str(event.get("reason")), message):
            return f"{rank.place} has not begun: {event.get('reason')}: {message}"
    newest = _newest_reasons(events)
    pulling = sorted(rank.node for rank in left.values() if newest.get(rank.pod) == _PULLING)
    return f"the image is being pulled on {', '.join(pulling)}" if pulling else ""


def _has_passed(rank: Rank, reason: str, message: str) -> bool:
    """Whether a warning says nothing about now: it has a place, or the kubelet had only just heard of the pod."""
    return bool(rank.node and reason == "FailedScheduling") or "failed to sync" in message or "ErrImage" in message


def own_events(
    events: Iterable[Mapping[str, Any]], metadata: Mapping[str, Any], pods: Collection[str]
) -> list[Mapping[str, Any]]:
    """Those of the job with this metadata, oldest first: not of one named alike, nor of an earlier one of its name.

    Volcano's group is called NAME-UID, the Job that a JobSet makes NAME-node-0. Events stay for an hour.
    """
    name, since = str(metadata["name"]), str(metadata.get("creationTimestamp") or "")[:_SECONDS]
    names = {name, f"{name}-{metadata.get('uid')}", f"{name}-node-0", *pods}
    mine = [e for e in events if (e.get("involvedObject") or {}).get("name") in names and _last_seen(e) >= since]
    return sorted(mine, key=_last_seen)


def _last_seen(event: Mapping[str, Any]) -> str:
    """When it happened last. Some times have fractions, which do not compare with those that have none."""
    series = event.get("series") or {}
    times = (event.get("lastTimestamp"), event.get("eventTime"), series.get("lastObservedTime"))
    return max(str(time or "")[:_SECONDS] for time in times)


def is_pulling(ranks: Iterable[Rank], events: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a node pulls the image at this moment, or starts what it pulled; `events` as own_events has them."""
    newest = _newest_reasons(events)
    return any(not rank.started and newest.get(rank.pod) in _GOES_WELL for rank in ranks)


def _newest_reasons(events: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Object → reason of its newest event; `events` come oldest first."""
    return {str((e.get("involvedObject") or {}).get("name")): str(e.get("reason")) for e in events}


def _pull(waiting: str) -> str:
    """What the registry said: the same at the first try and in the pauses between tries."""
    reason, _, message = waiting.partition(": ")
    return _RESOLVING.sub("", message) or reason


def _gang(spec: JobSpec, messages: Sequence[str]) -> str:
    """What Volcano says of a group that it does not begin."""
    total = f"{spec.nodes} pods with {spec.gpus} GPUs each, all or none of them"
    for message in reversed(messages):
        if any(words in message for words in _NO_REASON):
            continue
        if "overused" in message:
            return f"{total}: that is more than the cluster has free together"
        if "queue resource quota insufficient" in message:
            return f"{total}: that is more than the queue {spec.queue} may have ({message})"
        if "in gang unschedulable" in message:
            return f"{total}: they do not fit on the nodes as these are filled ({_reasons(message)})"
    return ""


def _reasons(message: str) -> str:
    return message.rpartition("; ")[2].strip().rstrip(".")


def _unplaced(spec: JobSpec, unplaced: Sequence[Rank], placed: int) -> str:
    who = ", ".join(str(rank.rank) for rank in unplaced)
    what = f"rank {who} has no node" if len(unplaced) == 1 else f"ranks {who} have no node"
    message = unplaced[0].waiting
    taints = sorted(set(_TAINT.findall(message)))
    if f"Insufficient {GPU_RESOURCE}" in message:
        what += f": no node has {spec.gpus} GPUs free"
    elif taints:
        what += ": nodes are tainted"
    else:
        what += f": {message}"
    if taints:
        what += f" (taints: {'; '.join(taints)})"
    if cordoned := _CORDONED.search(message):
        what += f" (cordoned nodes, which take no pods: {cordoned[1]})"
    return what + ("; the ranks that have one wait for it" if placed else "")
