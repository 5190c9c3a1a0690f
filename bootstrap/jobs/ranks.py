"""The pods of a job as its ranks: where each is, how it stands, what it waits for, how it ended. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap.jobs.pods import INDEX_ANNOTATION

_TASK = re.compile(r"-(master|worker)-(\d+)$")
_KILLED = 128 + 9
_TERMINATED = 128 + 15
# Reasons of the condition DisruptionTarget: somebody other than the job's own controller ends the pod.
_TAKERS: Mapping[str, str] = {
    "EvictionByEvictionAPI": "its node is drained, or it was evicted",
    "DeletionByTaintManager": "its node was tainted, or does not answer",
    "DeletionByPodGC": "its node is no longer in the cluster",
    "PreemptionByScheduler": "a pod of higher priority takes its place",
    "TerminationByKubelet": "its node shuts down, or lacks memory or disk",
}
_BANNER = re.compile(r"[=*#_~\s-]+")
_EXCEPTION = re.compile(r"(\[\w+\]:\s*)?[\w.]*(Error|Exception)\b[^:]*: \S")  # with what torchrun puts before it
_QUIET_REASONS = frozenset({"ContainerCreating", "PodInitializing"})


@dataclass(frozen=True, slots=True)
class Rank:
    """One pod. `exit_code` is None until it ended; `waiting` says in the kubelet's or scheduler's words for what.

    `taken` says who ends it from outside; `delete_at` until when a pod that was deleted may live.
    """

    rank: int
    pod: str
    node: str
    phase: str
    exit_code: int | None = None
    reason: str = ""
    words: str = ""
    ended_at: str = ""
    waiting: str = ""
    started: bool = False
    taken: str = ""
    delete_at: str = ""

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than well."""
        return self.phase == "Failed" or bool(self.exit_code)

    @property
    def place(self) -> str:
        """The rank and its node, for people."""
        return f"rank {self.rank} on {self.node}" if self.node else f"rank {self.rank}"


def rank_of(pod: Mapping[str, Any]) -> int | None:
    """By the index of its Job, or by its task and number; None for a pod that is no rank.

    Volcano and the training operator both name pods JOB-master-0 and JOB-worker-N.
    """
    meta = pod["metadata"]
    index = (meta.get("annotations") or {}).get(INDEX_ANNOTATION)
    if index is not None and str(index).isdecimal():
        return int(index)
    found = _TASK.search(str(meta["name"]))
    if not found:
        return None
    return 0 if found[1] == "master" else int(found[2]) + 1


def ranks_of(pods: Iterable[Mapping[str, Any]]) -> tuple[Rank, ...]:
    """All ranks that have a pod, in order."""
    found = [(number, pod) for pod in pods if (number := rank_of(pod)) is not None]
    return tuple(_rank(number, pod) for number, pod in sorted(found, key=lambda pair: pair[0]))


def _rank(number: int, pod: Mapping[str, Any]) -> Rank:
    status = pod.get("status") or {}
    states = [c.get("state") or {} for c in status.get("containerStatuses") or []]
    early = [c.get("state") or {} for c in status.get("initContainerStatuses") or []]
    ended = next((s["terminated"] for s in states if s.get("terminated")), None) or {}
    return Rank(
        rank=number,
        pod=str(pod["metadata"]["name"]),
        node=str((pod.get("spec") or {}).get("nodeName") or ""),
        phase=str(status.get("phase") or "Pending"),
        exit_code=int(ended["exitCode"]) if "exitCode" in ended else None,
        reason=str(ended.get("reason") or status.get("reason") or ""),
        words=str(ended.get("message") or status.get("message") or ""),
        ended_at=str(ended.get("finishedAt") or ""),
        waiting=_waiting(status, [*early, *states]),
        started=any("running" in s or "terminated" in s for s in states),
        taken=_taken(status),
        delete_at=str(pod["metadata"].get("deletionTimestamp") or ""),
    )


def _taken(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            reason = str(condition.get("reason") or "")
            return _TAKERS.get(reason) or str(condition.get("message") or reason)
    return ""


def _waiting(status: Mapping[str, Any], states: Sequence[Mapping[str, Any]]) -> str:
    """What a pod that has not begun lacks; empty where it is only a matter of time."""
    if status.get("phase") != "Pending":
        return ""
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason") or "")
    for state in states:
        waiting = state.get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in _QUIET_REASONS:
            return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    return ""


def first_failed(ranks: Sequence[Rank]) -> Rank | None:
    """The rank that failed before the others, which fail because of it.

    The API tells whole seconds. Of several in one second the cause is the one whose pod was not deleted, or was first:
    launchers delete what is left; and then the one that was killed.
    """
    failed = [rank for rank in ranks if rank.failed]
    return min(failed, key=lambda r: (r.ended_at or "~", r.delete_at, r.exit_code != _KILLED, r.rank), default=None)


def culprit(seen: Sequence[Rank], lost: Sequence[Rank]) -> Rank | None:
    """The rank that ended the job; None while none did. `lost` had a pod once, and did not end before it went.

    A rank that is taken from outside has up to 30 s to end, in which the others fail because of it: it is the cause.
    """
    failed = first_failed(seen)
    if failed is None and not lost:
        return None
    taken = (rank for rank in (*seen, *lost) if rank.taken and rank.exit_code != 0)
    return next(taken, None) or failed or lost[0]


def telling(lines: Sequence[str]) -> str:
    """The line of a log that says why it ended: the last one; behind a banner, as torchrun's, the last exception."""
    said = [line.strip() for line in lines if line.strip()]
    if not said or not _BANNER.fullmatch(said[-1]):
        return said[-1] if said else ""
    words = [line for line in said if not _BANNER.fullmatch(line)]
    return next((line for line in reversed(words) if _EXCEPTION.match(line)), words[-1] if words else "")


def why_failed(rank: Rank, lines: Sequence[str]) -> tuple[str, str]:
    """(what happened to the first rank that failed, what mends it); `lines` are the last ones of its log."""
    said = "\n".join(lines)
    missing = re.search(r"No module named '([\w.]+)'", said)
    program = re.search(r'exec: "([^"]+)"', rank.words)
    if rank.reason == "OOMKilled":
        return f"{rank.place} needed more memory than it may have", "give a larger --memory, or a smaller batch"
    if rank.reason == "Evicted":
        return f"{rank.place} was evicted: {rank.words}", "look at the node's disk and memory, then run again"
    if rank.taken:
        return f"{rank.place} was taken away in the middle: {rank.taken}", "look at the node, then run again"
    if program:
        return f"{rank.place}: the image has no {program[1]}", "name an --image that has it, or another command"
    if missing:
        return f"{rank.place}: the image has no {missing[1]}", f"name an --image with {missing[1]} in it"
    if rank.delete_at and rank.exit_code in (None, _KILLED, _TERMINATED):
        what = f"{rank.place} was taken away in the middle: its pod {rank.pod} was deleted"
        return what, "look at who deleted it, then run again"
    if rank.exit_code == _KILLED:
        return f"{rank.place} was killed (signal 9)", "look at who ended it: the kernel for memory, or somebody"
    ended = "failed" if rank.exit_code is None else f"ended with {rank.exit_code}"
    words = rank.words or telling(lines)
    return f"{rank.place} {ended}" + (f": {words[:300]}" if words else ""), "its last lines are below"
