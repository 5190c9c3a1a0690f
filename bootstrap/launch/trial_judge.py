"""How far a job has come, and whether it goes on: decided from what is seen alone, without asking anybody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from bootstrap.errors import Problem
from bootstrap.launch import trial_stops as stops
from bootstrap.launch.trial_model import (
    FAILED,
    OPEN_STATES,
    RUN_ENDED,
    RUN_FAILED,
    STAGES,
    Asked,
    Item,
    Limits,
    Sight,
    Stage,
    StageResult,
    StageState,
)

UNREACHABLE = frozenset({"launch-server-unreachable", "launch-cluster-unreachable"})


@dataclass(frozen=True, slots=True)
class Track:
    """The way so far. Times are those of the sights' clock; `problem` ends it, and so does `passed`.

    `blind_s` are the seconds of this stage in which somebody did not answer: they are on nobody else's account.
    """

    begun: float
    stage: Stage = Stage.AGENT
    since: float = 0.0
    ended: tuple[StageResult, ...] = ()
    seen: str = ""
    looked: float = 0.0
    blind_s: float = 0.0
    silent_since: Mapping[str, float] = field(default_factory=dict)  # code of an outage → when it began
    problem: Problem | None = None
    passed: bool = False

    @property
    def over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.passed or self.problem is not None


def begin(at: float, queue: StageResult) -> Track:
    """The track of a job that was put into its queue just now; `queue` is the stage that this was."""
    return Track(begun=at - (queue.elapsed_s or 0.0), since=at, looked=at, ended=(queue,))


def advance(track: Track, sight: Sight, asked: Asked, limits: Limits) -> Track:
    """The track after one more look.

    A stage is never left backwards. It fails by what is seen at once, or when its time is over.
    """
    if track.over:
        return track
    now = _moved(track, sight, asked)
    troubles = [p for p in (sight.server_problem, sight.cluster_problem) if p]
    now = replace(
        now,
        looked=sight.at,
        blind_s=now.blind_s + (sight.at - track.looked if troubles else 0.0),
        silent_since={p.code: track.silent_since.get(p.code, sight.at) for p in troubles},
        seen=describe(now.stage, sight, asked),
    )
    if now.stage is Stage.RESULT and _well_ended(sight):
        return replace(now, passed=True, ended=(*now.ended, _ended(now, sight)))
    late = sight.at - track.begun > asked.timeout_s
    if troubles:
        return replace(now, problem=_outage(now, sight, limits, troubles, late=late))
    waited = sight.at - now.since - now.blind_s
    return replace(now, problem=stops.CHECKS[now.stage](sight, asked, limits, waited, late))


def results(track: Track, at: float) -> tuple[StageResult, ...]:
    """All stages of a track that is over, or was left at the moment `at`."""
    if track.passed:
        return track.ended
    here = StageResult(track.stage, StageState.FAILED, at - track.since, track.seen)
    after = STAGES[STAGES.index(track.stage) + 1 :]
    return (*track.ended, here, *(StageResult(stage, StageState.NOT_RUN) for stage in after))


def reached(sight: Sight, asked: Asked) -> Stage:
    """The furthest stage that is proven to have begun."""
    if sight.hello is not None and sight.hello.gpus == wanted_gpus(sight, asked):
        return Stage.RESULT
    if sight.hello is not None or (sight.pod is not None and sight.pod.started):
        return Stage.GPU
    if sight.pod is not None or sight.job is not None:
        return Stage.POD
    return Stage.JOB if _taken(sight.item) else Stage.AGENT


def wanted_gpus(sight: Sight, asked: Asked) -> int:
    """How many GPUs the program must see: as asked, else as many as its pod asks for."""
    if asked.gpus is not None:
        return asked.gpus
    return sight.pod.gpus if sight.pod else 0


def _taken(item: Item | None) -> bool:
    return item is not None and (bool(item.run_id) or item.state not in {"PENDING", "LEASED"})


def _moved(track: Track, sight: Sight, asked: Asked) -> Track:
    target = reached(sight, asked)
    while STAGES.index(track.stage) < STAGES.index(target):
        done = _ended(track, sight, describe_end(track.stage, sight, asked))
        track = replace(track, ended=(*track.ended, done), since=sight.at, blind_s=0.0, stage=_next(track.stage))
    return track


def _next(stage: Stage) -> Stage:
    return STAGES[STAGES.index(stage) + 1]


def _ended(track: Track, sight: Sight, seen: str = "") -> StageResult:
    return StageResult(track.stage, StageState.OK, sight.at - track.since, seen or track.seen)


def _well_ended(sight: Sight) -> bool:
    closed = sight.item is None or sight.item.state not in OPEN_STATES | {FAILED}
    ended = sight.run in RUN_ENDED - RUN_FAILED
    # The log may have gone before its last line was read; a run that ended well was registered.
    return closed and ended and sight.hello is not None and sight.hello.registered in {"", "registered"}


def _outage(track: Track, sight: Sight, limits: Limits, troubles: list[Problem], *, late: bool) -> Problem | None:
    """Who does not answer is asked for a while; who answers with a refusal is not."""
    for problem in troubles:
        silent = sight.at - track.silent_since[problem.code]
        if late or problem.code not in UNREACHABLE or silent > limits.outage_s:
            return problem
    return None


def describe(stage: Stage, sight: Sight, asked: Asked) -> str:
    """What is seen at a stage, in a few words that change only when something happens."""
    for problem in (sight.server_problem, sight.cluster_problem):
        if problem is not None:
            return problem.message
    return _DESCRIBE[stage](sight, asked)


def describe_end(stage: Stage, sight: Sight, asked: Asked) -> str:
    """What a stage that is passed came to."""
    job, pod = sight.job, sight.pod
    if stage is Stage.AGENT:
        takers = [a for a in sight.agents or () if job is None or a.name == job.agent]
        return f"taken by {stops.name_of(takers[0])}" if len(takers) == 1 else "taken"
    if stage is Stage.JOB:
        if job is not None:
            return f"Job {job.namespace}/{job.name}"
        return f"{pod.owner[0]} {pod.namespace}/{pod.owner[1]}" if pod else ""
    if stage is Stage.POD:
        return f"{pod.name}{f' on {pod.node}' if pod.node else ''}" if pod else "its program ran"
    return f"sees {sight.hello.gpus} of {wanted_gpus(sight, asked)}" if sight.hello else ""


def _agent_words(sight: Sight, _asked: Asked) -> str:
    said = f"item {sight.item.state}" if sight.item else "the item is gone"
    if sight.agents is None:
        return said
    if not sight.agents:
        return f"{said}; no agent polls the queue"
    names = ", ".join(f"{a.name}{f' on {a.host}' if a.host else ''} {a.status}" for a in sight.agents)
    return f"{said}; {names}"


def _job_words(sight: Sight, _asked: Asked) -> str:
    if sight.item is None:
        return "the item is gone"
    if sight.item.state == FAILED:
        return "item FAILED"
    return f"item {sight.item.state} as run {sight.item.run_id or '?'}; no Job yet"


def _pod_words(sight: Sight, _asked: Asked) -> str:
    pod = sight.pod
    if pod is None:
        return f"Job {sight.job.name}{' is gone' if sight.job.gone else ''}, no pod" if sight.job else "nothing there"
    if pod.gone:
        return f"{pod.name} is gone"
    where = f" on {pod.node}" if pod.node else ""
    why = pod.no_place or pod.waiting or pod.reason
    return f"{pod.name}{where} {pod.phase}{f': {why}' if why else ''}"


def _gpu_words(sight: Sight, asked: Asked) -> str:
    if sight.hello is not None:
        return f"sees {sight.hello.gpus} of {wanted_gpus(sight, asked)}"
    pod = sight.pod
    if pod is not None and pod.exit_code is not None:
        return f"ended with {pod.exit_code}{f' ({pod.reason})' if pod.reason else ''}"
    return "runs, has said nothing yet"


def _result_words(sight: Sight, _asked: Asked) -> str:
    run = f"run {sight.item.run_id} " if sight.item and sight.item.run_id else "run "
    return f"{run}{sight.run or 'not known'}, item {sight.item.state if sight.item else 'gone'}"


_DESCRIBE: Mapping[Stage, Callable[[Sight, Asked], str]] = {
    Stage.AGENT: _agent_words,
    Stage.JOB: _job_words,
    Stage.POD: _pod_words,
    Stage.GPU: _gpu_words,
    Stage.RESULT: _result_words,
}
