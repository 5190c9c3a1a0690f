"""Moments of a trial, for the judge and the screens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bootstrap.launch.trial_judge import Track, advance, begin
from bootstrap.launch.trial_model import (
    Agent,
    Asked,
    Hello,
    Item,
    Job,
    Limits,
    Pod,
    Sight,
    Stage,
    StageResult,
    StageState,
)

IMAGE = "docker.io/library/python:3.11-slim-bookworm"
ASKED = Asked("team", "gpu", "gpuctl-test", IMAGE, gpus=2, timeout_s=300.0)
LIMITS = Limits()
PENDING = Item("item1", "PENDING")
CLAIMED = Item("item1", "CLAIMED", "abcd1234")
CLOSED = Item("item1", "FINISHED", "abcd1234")
POLLING = Agent("ada1byte", "gpu1", "POLLING", 4.0)
JOB = Job("default", "launch-team-gpuctl-test-x7", agent="ada1byte")
POD = Pod("default", "launch-team-gpuctl-test-x7-1", "Running", IMAGE, "gpu1", 2, ("Job", JOB.name), started=True)
WAITING = Pod("default", POD.name, "Pending", IMAGE, "gpu1", 2, ("Job", JOB.name), waiting="ContainerCreating")
UNPLACED_WORDS = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
UNPLACED = Pod("default", POD.name, "Pending", IMAGE, "", 9, ("Job", JOB.name), no_place=UNPLACED_WORDS)
HELLO = Hello(2, ("nvidia0", "nvidia1"), "void", "registered")
NODES = (("cp1", 0), ("gpu1", 8), ("gpu2", 4))
QUEUE_DONE = StageResult(Stage.QUEUE, StageState.OK, 0.3, "gpus=2 of 1 to 8; item item1")


def sight(at: float, item: Item | None = PENDING, **more: Any) -> Sight:
    more.setdefault("agents", (POLLING,))
    return Sight(at, item, **more)


def course(*sights: Sight, asked: Asked = ASKED) -> Track:
    """The track after these looks; the job was put into its queue at 0."""
    track = begin(0.0, QUEUE_DONE)
    for each in sights:
        track = advance(track, each, asked, LIMITS)
    return track


def whole() -> Iterable[Sight]:
    """A job that passes, look by look."""
    yield sight(1.0)
    yield sight(8.0, Item("item1", "LEASED"))
    yield sight(9.0, CLAIMED)
    yield sight(10.0, CLAIMED, job=JOB)
    yield sight(11.0, CLAIMED, job=JOB, pod=WAITING)
    yield sight(13.0, CLAIMED, job=JOB, pod=POD)
    yield sight(14.0, CLAIMED, job=JOB, pod=POD, hello=HELLO)
    yield sight(20.0, CLOSED, job=JOB, pod=POD, hello=HELLO, run="finished")
