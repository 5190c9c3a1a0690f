"""`gpuctl launch test`: put a hello job into a queue, follow it to its end, and say what is left of it if it stops."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.kube.client import ApiError
from bootstrap.launch import trial_queue
from bootstrap.launch.trial_cluster import Api, ClusterSide
from bootstrap.launch.trial_judge import UNREACHABLE, Track, advance, begin, results
from bootstrap.launch.trial_left import left_over, withdraw_command
from bootstrap.launch.trial_model import (
    STAGES,
    Agent,
    Asked,
    Item,
    Leftover,
    Limits,
    Sight,
    Stage,
    StageResult,
    StageState,
    TrialResult,
)
from bootstrap.progress import Progress

_PAUSE_S = 1.0
_AGENTS_EVERY = 5  # looks: who polls changes slowly
_DENIED_FIX = "use --inventory, or a kubeconfig that may list jobs and pods and read logs"


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as the server has it: template variables are name → JSON schema, `kubernetes` its resource_args."""

    variables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kubernetes: Mapping[str, Any] = field(default_factory=dict)


class ServerSide(Protocol):
    """What a trial asks of the W&B server; every call raises GpuctlError, launch-server-unreachable for silence."""

    def queue(self) -> Queue:
        """The queue that is tried; launch-queue-unknown when there is none."""

    def submit(self, spec: Mapping[str, Any], gpus: int | None) -> str:
        """Put a job in; the id of its item."""

    def item(self, item_id: str) -> Item | None:
        """The item; None when the queue has it no more."""

    def agents(self) -> tuple[Agent, ...] | None:
        """The agents that poll the queue; None when the server does not tell."""

    def run_state(self, run_id: str) -> str:
        """The state of a run of the trial's project; empty while there is none."""

    def withdraw(self, item_id: str) -> None:
        """Take an item out of the queue."""


def try_queue(
    asked: Asked,
    server: ServerSide,
    cluster: AbstractContextManager[Api],
    progress: Progress,
    *,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> TrialResult:
    """Put the hello job into the queue and follow it.

    The cluster is reached before anything is put in. Ctrl-C ends it as a failure does: with an answer that names what
    is left.

    Raises:
        GpuctlError: the server or the cluster is not reached, or the queue is not there (exit 3 and 4): nothing was
            submitted.
    """
    begun, item, putting = clock(), "", False
    progress.started(asked.queue, Stage.QUEUE)
    try:
        queue = server.queue()
        if problems := trial_queue.check_variables(asked, queue.variables):
            return _refused(asked, problems, ExitCode.SETTINGS, clock() - begun)
        with cluster as api:
            putting = True
            try:
                item = server.submit(trial_queue.run_spec(asked), asked.gpus)
            except GpuctlError as error:
                problems = tuple(_perhaps_put(problem) for problem in error.problems)
                silent = any(problem.code in UNREACHABLE for problem in problems)
                return replace(_refused(asked, problems, error.exit_code, clock() - begun), unsure=silent)
            put = StageResult(Stage.QUEUE, StageState.OK, clock() - begun, _put(asked, queue, item))
            progress.done(asked.queue, Stage.QUEUE, put.elapsed_s or 0.0)
            side = ClusterSide(api, trial_queue.namespace_of(queue.kubernetes))
            wanted = trial_queue.wanted_gpus(asked, queue.kubernetes, queue.variables)
            trial = _Trial(replace(asked, gpus=wanted), server, side, item)
            return trial.follow(begin(clock(), put), progress, limits or Limits(), clock, pause)
    except KeyboardInterrupt:
        early = _interrupted_early(asked, item, putting=putting)
        stopped = _refused(asked, (early,), ExitCode.INTERRUPTED, clock() - begun)
        return replace(stopped, item=item, unsure=putting)


def _put(asked: Asked, queue: Queue, item: str) -> str:
    if asked.gpus is None:
        return f"item {item}"
    return f"gpus={asked.gpus} of {trial_queue.bounds(queue.variables[trial_queue.GPUS])}; item {item}"


def _interrupted_early(asked: Asked, item: str, *, putting: bool) -> Problem:
    """Ctrl-C before the job could be followed: what may be in the queue."""
    if item:
        return Problem("interrupted", f"interrupted; left over: item {item}", withdraw_command(asked, item))
    if putting:
        words = f"interrupted while the job was put into queue {asked.queue}: it may be there"
        return Problem("interrupted", words, f"look at the queue's items, for {trial_queue.RUN_NAME}")
    return Problem("interrupted", "interrupted before the job was put into its queue")


def _perhaps_put(problem: Problem) -> Problem:
    """A server that fell silent may have taken the job all the same."""
    if problem.code not in UNREACHABLE:
        return problem
    return replace(problem, details=f"the job may have come into the queue: look there for {trial_queue.RUN_NAME}")


def _refused(asked: Asked, problems: tuple[Problem, ...], code: ExitCode, elapsed: float) -> TrialResult:
    """Stopped at the queue: nothing is left anywhere."""
    first = StageResult(Stage.QUEUE, StageState.FAILED, elapsed, problems[0].message)
    stages = (first, *(StageResult(stage, StageState.NOT_RUN) for stage in STAGES[1:]))
    return TrialResult(code, asked, stages, elapsed, problems=problems)


class _Trial:
    """One item under way: asks both sides, keeps the newest answers."""

    def __init__(self, asked: Asked, server: ServerSide, cluster: ClusterSide, item_id: str) -> None:
        self._asked, self._server, self._cluster = asked, server, cluster
        self._item_id = item_id
        self._item: Item | None = Item(item_id, "PENDING")
        self._agents: tuple[Agent, ...] | None = ()
        self._run = ""
        self._run_id = ""
        self._looks = 0

    def follow(
        self,
        track: Track,
        progress: Progress,
        limits: Limits,
        clock: Callable[[], float],
        pause: Callable[[float], None],
    ) -> TrialResult:
        """Look until it is over."""
        interrupted = False
        try:
            while not track.over:
                before = track
                track = advance(track, self._look(track.stage, clock()), self._asked, limits)
                _tell(progress, self._asked.queue, before, track)
                if not track.over:
                    pause(_PAUSE_S)
        except KeyboardInterrupt:
            interrupted = True
        return self._result(track, clock(), interrupted=interrupted)

    def _look(self, stage: Stage, at: float) -> Sight:
        server_problem = self._ask_server(stage)
        taken = self._item is None or self._item.state != "PENDING"
        cluster_problem = self._ask_cluster() if taken or stage is not Stage.AGENT else None
        self._looks += 1
        return self._sight(at, server_problem, cluster_problem)

    def _sight(self, at: float, server_problem: Problem | None, cluster_problem: Problem | None) -> Sight:
        seen = self._cluster
        return Sight(
            at=at,
            item=self._item,
            agents=self._agents,
            job=seen.job,
            pod=seen.pod,
            hello=seen.hello,
            run=self._run,
            nodes=seen.nodes,
            server_problem=server_problem,
            cluster_problem=cluster_problem,
        )

    def _ask_server(self, stage: Stage) -> Problem | None:
        try:
            self._item = self._server.item(self._item_id)
            if self._item is not None and self._item.run_id:
                self._run_id = self._item.run_id
            if stage is Stage.AGENT and self._looks % _AGENTS_EVERY == 0:
                self._agents = self._server.agents()
            if stage is Stage.RESULT and self._run_id:
                self._run = self._server.run_state(self._run_id)
        except GpuctlError as error:
            return error.problems[0]
        return None

    def _ask_cluster(self) -> Problem | None:
        try:
            self._cluster.look(self._run_id, self._item_id)
        except ApiError as error:
            if not error.status:
                fix = "look at the network and the control plane"
                return Problem("launch-cluster-unreachable", error.message, fix)
            return Problem("launch-cluster-denied", f"the API server refuses: {error.message}", _DENIED_FIX)
        return None

    def _result(self, track: Track, at: float, *, interrupted: bool) -> TrialResult:
        withdrawn, removed, left = False, "", tuple[Leftover, ...]()
        if not track.passed:
            withdrawn = self._withdraw()
            removed = self._remove_waiting()
            left = left_over(self._asked, self._item_id, self._sight(at, None, None), withdrawn=withdrawn)
        pod, hello = self._cluster.pod, self._cluster.hello
        problems = (_interrupted(left, withdrawn=withdrawn, removed=removed),) if interrupted else _problems(track)
        return TrialResult(
            exit_code=_exit_code(track, interrupted=interrupted),
            asked=self._asked,
            stages=results(track, at),
            elapsed_s=at - track.begun,
            item=self._item_id,
            run=self._run_id,
            node=pod.node if pod else "",
            gpus_seen=hello.gpus if hello else None,
            withdrawn=withdrawn,
            removed=removed,
            left=left,
            problems=problems,
        )

    def _withdraw(self) -> bool:
        """Take out an item that nobody took; whether it is out. What became of one that was taken is looked at again.

        Another Ctrl-C ends this, too: then the item is named as it was last seen.
        """
        try:
            self._item = self._server.item(self._item_id)
            if self._item is None or self._item.state != "PENDING":
                self._run_id = (self._item.run_id if self._item else "") or self._run_id
                self._ask_cluster()
                return False
            self._server.withdraw(self._item_id)
            after = self._server.item(self._item_id)
        except (GpuctlError, KeyboardInterrupt):
            return False
        self._item = after
        return after is None

    def _remove_waiting(self) -> str:
        """Delete the Job if nothing of it runs; its name."""
        try:
            return self._cluster.remove_waiting()
        except (ApiError, KeyboardInterrupt):
            return ""  # it is named as left over


def _tell(progress: Progress, queue: str, before: Track, after: Track) -> None:
    for stage in after.ended[len(before.ended) :]:
        progress.done(queue, stage.stage, stage.elapsed_s or 0.0)
    if after.problem is not None:
        progress.failed(queue, after.stage, after.problem.message)
    elif not after.passed and (after.stage, after.seen) != (before.stage, before.seen):
        progress.task(queue, after.stage, after.seen)


def _problems(track: Track) -> tuple[Problem, ...]:
    return (track.problem,) if track.problem is not None else ()


def _interrupted(left: tuple[Leftover, ...], *, withdrawn: bool, removed: str) -> Problem:
    gone = "the item was withdrawn, " if withdrawn else f"Job {removed} was deleted, " if removed else ""
    if left:
        names = ", ".join(f"{each.kind} {each.name} ({each.state})" for each in left)
        removes = "; ".join(each.remove for each in left if each.remove)
        return Problem("interrupted", f"interrupted; {gone}left over: {names}", removes)
    return Problem("interrupted", f"interrupted; {gone}nothing is left over")


def _exit_code(track: Track, *, interrupted: bool) -> ExitCode:
    if interrupted:
        return ExitCode.INTERRUPTED
    if track.passed:
        return ExitCode.OK
    away = UNREACHABLE | {"launch-key-refused", "launch-cluster-denied"}
    return ExitCode.PREFLIGHT if track.problem is not None and track.problem.code in away else ExitCode.NOT_READY
