"""`gpuctl job run`: submit a job, follow all its ranks, say why it waits and why it failed, take it away again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.jobs.check import pods_of
from bootstrap.jobs.logs import PodLog
from bootstrap.jobs.making import GONE_S, PAUSE_S, Left, submit, withdraw
from bootstrap.jobs.ranks import Rank, culprit, ranks_of, telling, why_failed
from bootstrap.jobs.rights import FORBIDDEN, missing_right
from bootstrap.jobs.spec import JobSpec
from bootstrap.jobs.waiting import is_pulling, own_events, why_waiting
from bootstrap.jsonform import plain
from bootstrap.kube.client import ApiError, Cluster
from bootstrap.progress import Progress

_SILENCE_S = 60.0  # an API that does not answer for so long is not waited for any more
_WORDS_S = 10.0  # a log that was read a moment ago is waited for at the end


@dataclass(frozen=True, slots=True)
class Following:
    """`start_s`: how long the ranks may take to begin; `whole_s`: the whole job, 0 for as long as it likes.

    `said` gets each line of each rank's log. `pull_s`, where it is longer than `start_s`, counts while a node
    pulls the image.
    """

    start_s: float = 600.0
    whole_s: float = 0.0
    keep: bool = False
    said: Callable[[Rank, str], None] = lambda _rank, _line: None
    pull_s: float = 0.0


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job came to. `left` are the objects of it that could not be deleted, as kubectl calls them."""

    exit_code: ExitCode
    name: str
    namespace: str
    launcher: str
    ranks: tuple[Rank, ...]
    elapsed_s: float
    kept: bool = False
    deleted: bool = False
    left: tuple[str, ...] = ()
    tails: Mapping[int, tuple[str, ...]] | None = None
    problems: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The `data` of the JSON document."""
        data: dict[str, Any] = plain(self)
        del data["exit_code"], data["problems"]
        return data


def run_job(cluster: Cluster, spec: JobSpec, how: Following, progress: Progress) -> JobResult:
    """Submit a job and follow it to its end; deleted then, and when interrupted, unless it is to be kept.

    Raises:
        GpuctlError: the cluster cannot ever run it, or refuses it (exit 4).
    """
    begun = time.monotonic()
    objects = submit(cluster, spec)
    progress.note(f"{spec.launcher} {spec.namespace}/{spec.name}: {spec.nodes} x {spec.gpus} GPUs, submitted")
    watch = Watch(cluster, spec, how, progress, objects[-1]["metadata"])
    left, problem, stopped = Left(), None, None
    try:
        problem = watch.to_the_end()
        if problem:
            progress.note(problem.message)  # the pods may take half a minute to end
    except KeyboardInterrupt as stop:
        stopped = stop
    finally:
        if not how.keep:
            progress.note(f"deleting {spec.namespace}/{spec.name}; pods that still run get 30 s to end")
            left = withdraw(cluster, spec, objects)
            if left.words or left.pods:
                progress.note(left.words or f"pods of {spec.namespace}/{spec.name} are still ending")
    if stopped:
        raise GpuctlError(ExitCode.INTERRUPTED, _interrupted(spec, how, left)) from stopped
    return JobResult(
        exit_code=ExitCode.NOT_READY if problem else ExitCode.OK,
        name=spec.name,
        namespace=spec.namespace,
        launcher=str(spec.launcher),
        ranks=tuple(watch.ranks[number] for number in sorted(watch.ranks)),
        elapsed_s=time.monotonic() - begun,
        kept=how.keep,
        deleted=not (how.keep or left.objects),
        left=left.objects,
        tails={number: tuple(watch.logs[number].tail) for number in sorted(watch.logs)},
        problems=(problem,) if problem else (),
    )


def _interrupted(spec: JobSpec, how: Following, left: Left) -> Problem:
    what = f"job {spec.namespace}/{spec.name} is {'kept, and goes on' if how.keep else 'deleted'}"
    return Problem("interrupted", f"interrupted; {left.words or what}", "the same command begins anew")


class Watch:
    """Follows one job. `ranks` are as they were last seen: pods vanish with their job."""

    def __init__(
        self, cluster: Cluster, spec: JobSpec, how: Following, progress: Progress, metadata: Mapping[str, Any]
    ) -> None:
        self.cluster, self.spec, self.how, self.progress = cluster, spec, how, progress
        self.metadata = metadata
        self.ranks: dict[int, Rank] = {}
        self.logs: dict[int, PodLog] = {}
        self._begun = time.monotonic()
        self._told = ""
        self._taken_since: float | None = None

    def to_the_end(self) -> Problem | None:
        """Look until all ranks ended well, or one did not; what went wrong."""
        silent_since: float | None = None
        while True:
            try:
                problem, ended = self._look()
                silent_since = None
            except ApiError as error:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > _SILENCE_S:
                    return self._out_of_sight(error)
                problem, ended = None, False
            if problem or ended:
                return problem
            time.sleep(PAUSE_S)

    def _out_of_sight(self, error: ApiError) -> Problem:
        if error.status == FORBIDDEN:
            return missing_right(error, "list", "pods", self.spec.namespace)
        fix = f"look at the control plane; the job may go on: kubectl -n {self.spec.namespace} get pods"
        return Problem("cluster-unreachable", f"the API went away: {error.message}", fix)

    def _look(self) -> tuple[Problem | None, bool]:
        seen = {rank.rank: rank for rank in ranks_of(pods_of(self.cluster, self.spec))}
        lost = [rank for number, rank in self.ranks.items() if number not in seen and rank.exit_code is None]
        self.ranks |= seen
        for rank in seen.values():
            self._read(rank)
        first = culprit([*seen.values()], lost) or self._overdue([*seen.values()])
        if first in lost and not (first.taken or first.delete_at):
            what = f"{first.place} was taken away in the middle: its pod {first.pod} is gone"
            return Problem("job-failed", what, "look at who deleted it, or drained its node; then run again"), True
        if first:
            self._last_words([first])
            log = self.logs.get(first.rank)
            what, fix = why_failed(first, log.recent if log else ())
            others = [rank for rank in seen.values() if rank.failed and rank is not first]
            details = [*(self._as_ended(rank) for rank in others), *(log.tail if log else ())]
            return Problem("job-failed", what, fix, details="\n".join(details)), True
        if len(self.ranks) == self.spec.nodes and all(rank.exit_code == 0 for rank in self.ranks.values()):
            self._last_words([rank for rank in self.ranks.values() if self._silent_s(rank)])
            return None, True
        return self._still_waiting() or self._too_long(), False

    def _as_ended(self, rank: Rank) -> str:
        """What is told of a rank that failed beside the first one: which was the cause is not always to be seen."""
        words = telling(self.logs[rank.rank].recent) if rank.rank in self.logs else ""
        return f"also failed: {rank.place}" + (f": {words}" if words else "")

    def _too_long(self) -> Problem | None:
        """Whether the whole job has had its time."""
        if not self.how.whole_s or time.monotonic() - self._begun < self.how.whole_s:
            return None
        left = [rank for rank in self.ranks.values() if rank.exit_code is None]
        who = ", ".join(rank.place for rank in sorted(left, key=lambda rank: rank.rank)) or "no rank has begun"
        what = f"it has not ended after {self.how.whole_s:.0f} s; not ended: {who}"
        return Problem("job-timeout", what, "give it a longer --timeout, or look at what its ranks said last")

    def _overdue(self, seen: Sequence[Rank]) -> Rank | None:
        """One that is taken away and does not go: no kubelet says so of a node that is dead."""
        taken = next((rank for rank in seen if rank.taken and rank.exit_code is None), None)
        self._taken_since = (self._taken_since or time.monotonic()) if taken else None
        return taken if self._taken_since and time.monotonic() - self._taken_since > GONE_S else None

    def _read(self, rank: Rank, *, at_once: bool = False) -> None:
        """A log that cannot be read is its rank's trouble: the job goes on. Told once, until it can be read again."""
        if not rank.started:
            return
        log = self.logs.setdefault(rank.rank, PodLog(self.cluster, self.spec.namespace, rank.pod))
        before = log.trouble
        log.read(lambda line: self.how.said(rank, line), at_once=at_once)
        if log.trouble and not before:
            self.progress.note(f"the log of {rank.place} cannot be read: {log.trouble}")

    def _last_words(self, ranks: Collection[Rank]) -> None:
        """Read their logs, some more times where that worked a moment ago: nobody asks for them later."""
        left = ranks
        while left:
            for rank in left:
                self._read(rank, at_once=True)
            left = [rank for rank in left if 0 < self._silent_s(rank) < _WORDS_S]
            time.sleep(PAUSE_S if left else 0)

    def _silent_s(self, rank: Rank) -> float:
        log = self.logs.get(rank.rank)
        return log.silent_s if log else 0.0

    def _still_waiting(self) -> Problem | None:
        """Tell why it does not begin, when that changes; a problem when it has not in time."""
        if len(self.ranks) == self.spec.nodes and all(rank.started for rank in self.ranks.values()):
            return None
        events = own_events(_events(self.cluster, self.spec), self.metadata, {rank.pod for rank in self.ranks.values()})
        why = why_waiting(self.spec, tuple(self.ranks.values()), events)
        if why and why != self._told:
            self._told = why
            self.progress.note(f"waits: {why}")
        waited = time.monotonic() - self._begun
        patience = self.how.pull_s if is_pulling(self.ranks.values(), events) else 0
        if waited < max(self.how.start_s, patience):
            return None
        begun = sum(rank.started for rank in self.ranks.values())
        what = f"after {waited:.0f} s {begun} of {self.spec.nodes} ranks have begun: {why or 'nothing says why'}"
        return Problem("job-pending", what, "give it what it waits for, or ask for less")


def _events(cluster: Cluster, spec: JobSpec) -> list[dict[str, Any]]:
    """What there is to read of them: they tell the reason of a wait, and decide nothing."""
    with suppress(ApiError):
        return list((cluster.get(f"/api/v1/namespaces/{spec.namespace}/events") or {}).get("items") or [])
    return []
