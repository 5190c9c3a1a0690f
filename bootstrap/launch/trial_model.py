"""`gpuctl launch test` in data: what is asked, what is seen of it, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.jsonform import plain

STOPPED = frozenset({"KILLED", "STOPPED"})  # of an agent
OPEN_STATES = frozenset({"PENDING", "LEASED", "CLAIMED"})  # of an item; what the server calls the others differs
FAILED = "FAILED"
RUN_FAILED = frozenset({"failed", "crashed", "killed"})
RUN_ENDED = RUN_FAILED | {"finished"}


class Stage(StrEnum):
    """The places that a job passes, in order."""

    QUEUE = "queue"
    AGENT = "agent"
    JOB = "job"
    POD = "pod"
    GPU = "gpu"
    RESULT = "result"


STAGES = tuple(Stage)


@dataclass(frozen=True, slots=True)
class Asked:
    """The job to try. `gpus` None: as many as the queue's configuration says; `timeout_s` bounds the whole."""

    entity: str
    queue: str
    project: str
    image: str
    gpus: int | None = None
    timeout_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each wait may take, in seconds, where the whole time does not end earlier."""

    no_agent_s: float = 30.0  # an agent polls every 10 s and is heard of every 20 s
    gone_s: float = 5.0  # a server of many machines may not know at once what was put in
    not_taken_s: float = 60.0
    no_job_s: float = 90.0  # the agent tries to make its Secret for 30 s before it gives up
    no_pod_s: float = 30.0
    no_place_s: float = 60.0
    config_error_s: float = 20.0  # the kubelet may be earlier than a Secret
    no_report_s: float = 120.0
    no_run_s: float = 60.0
    not_closed_s: float = 90.0  # the agent asks for the Job, and for its run, every 10 s each
    outage_s: float = 60.0
    fresh_s: float = 90.0  # the age of a heartbeat after which an agent counts as silent


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent that polls the queue. `age_s` is the age of its last heartbeat, None when it never sent one."""

    name: str
    host: str
    status: str  # POLLING, RUNNING, KILLED
    age_s: float | None

    def fresh(self, limit_s: float) -> bool:
        """Whether it was heard of lately and has not said goodbye."""
        return self.status not in STOPPED and self.age_s is not None and self.age_s <= limit_s


@dataclass(frozen=True, slots=True)
class Item:
    """The job's item in the queue. `error` is what the agent said when it gave it up."""

    id: str
    state: str
    run_id: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """The object that the agent made in the cluster. `gone`: it was there, and is no more."""

    namespace: str
    name: str
    agent: str = ""
    failed: str = ""  # the reason of its condition Failed
    ended: bool = False
    gone: bool = False
    words: str = ""  # of its events, for a Job without a pod


@dataclass(frozen=True, slots=True)
class Pod:
    """The job's pod, with the one container that the hello program runs in."""

    namespace: str
    name: str
    phase: str
    image: str = ""
    node: str = ""
    gpus: int = 0  # that its containers ask for
    owner: tuple[str, str] = ("Pod", "")  # kind and name of what made it
    no_place: str = ""  # the scheduler's words
    waiting: str = ""  # the kubelet's reason
    words: str = ""  # what it or an event says to that
    started: bool = False
    exit_code: int | None = None
    reason: str = ""
    gone: bool = False
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class Hello:
    """What the hello program said. `registered` is "" until it has tried."""

    gpus: int
    devices: tuple[str, ...] = ()
    visible: str = ""
    registered: str = ""


@dataclass(frozen=True, slots=True)
class Sight:
    """All that is known at one moment: the newest answer of each source, and what is wrong with asking it now.

    `at` is in seconds of a clock that never goes back. `agents` None: the server does not tell. `nodes` are (name,
    allocatable GPUs). `run` is the state of the run at the W&B server, "" while it knows none.
    """

    at: float
    item: Item | None
    agents: tuple[Agent, ...] | None = ()
    job: Job | None = None
    pod: Pod | None = None
    hello: Hello | None = None
    run: str = ""
    nodes: tuple[tuple[str, int], ...] = ()
    server_problem: Problem | None = None
    cluster_problem: Problem | None = None


class StageState(StrEnum):
    """How a stage ended."""

    OK = "ok"
    FAILED = "failed"
    NOT_RUN = "not-run"


@dataclass(frozen=True, slots=True)
class StageResult:
    """One stage. `elapsed_s` is None for one that was not come to; `seen` is what was last seen there."""

    stage: Stage
    state: StageState
    elapsed_s: float | None = None
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Leftover:
    """What is still there of the job, and the command that removes it."""

    kind: str  # item, Job, pod
    name: str
    state: str
    remove: str


@dataclass(frozen=True, slots=True)
class TrialResult:
    """`gpuctl launch test`: exit OK only when the job passed every stage."""

    exit_code: ExitCode
    asked: Asked
    stages: tuple[StageResult, ...]
    elapsed_s: float
    item: str = ""
    run: str = ""
    node: str = ""
    gpus_seen: int | None = None
    withdrawn: bool = False
    left: tuple[Leftover, ...] = ()
    problems: tuple[Problem, ...] = ()
    unsure: bool = False  # the job may be in the queue, and its item is not known
    removed: str = ""  # the Job that was deleted because it had not begun

    def as_dict(self) -> dict[str, Any]:
        """The `data` of the JSON document."""
        data: dict[str, Any] = plain(self)
        del data["exit_code"], data["problems"]
        asked: Mapping[str, Any] = data.pop("asked")
        return data | {key: asked[key] for key in ("entity", "queue", "project", "image", "gpus")}
