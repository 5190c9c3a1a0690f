"""What `gpuctl launch test` says, letter by letter: tests/golden/cli/launch_test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.launch.trial_judge import results
from bootstrap.launch.trial_left import left_over
from bootstrap.launch.trial_model import Item, Leftover, Sight, Stage, StageResult, StageState, TrialResult
from bootstrap.launch.trial_queue import check_variables
from bootstrap.ui.launch_test import trial_screen, withdrawn_screen
from bootstrap.ui.problems import problem_lines
from tests.unit.launch import trial_examples as ex
from tests.unit.launch.test_trial_judge import STOPS

GOLDEN = Path(__file__).parents[2] / "golden" / "cli" / "launch_test"
GPUS = {"gpus": {"type": "integer", "default": 1, "minimum": 1, "maximum": 8}}


def at_queue(*problems: Problem, code: ExitCode) -> TrialResult:
    first = StageResult(Stage.QUEUE, StageState.FAILED, 0.2, problems[0].message)
    rest = tuple(StageResult(stage, StageState.NOT_RUN) for stage in tuple(Stage)[1:])
    return TrialResult(code, ex.ASKED, (first, *rest), 0.2, problems=problems)


def stopped(*sights: Sight, withdrawn: bool = False) -> TrialResult:
    track, last = ex.course(*sights), sights[-1]
    left = left_over(ex.ASKED, "item1", last, withdrawn=withdrawn)
    problems = (track.problem,) if track.problem else ()
    seen = last.hello.gpus if last.hello else None
    node = last.pod.node if last.pod else ""
    code = ExitCode.OK if track.passed else ExitCode.NOT_READY
    stages, elapsed = results(track, last.at), last.at - track.begun
    return TrialResult(code, ex.ASKED, stages, elapsed, "item1", "abcd1234", node, seen, withdrawn, left, problems)


def said(result: TrialResult) -> list[str]:
    return [*trial_screen(result), *problem_lines(result.problems, Path("/run/log") if result.problems else None)]


UNKNOWN_QUEUE = Problem(
    "launch-queue-unknown", "entity team has no queue gpu (it has: cpu)", "make it with `gpuctl launch queue apply`"
)
RENEGADE = left_over(ex.ASKED, "item1", ex.sight(1.0), withdrawn=False)
INTERRUPTED = replace(
    stopped(*list(ex.whole())[:1]),
    exit_code=ExitCode.INTERRUPTED,
    left=RENEGADE,
    problems=(Problem("interrupted", "interrupted; left over: item item1 (PENDING)", RENEGADE[0].remove),),
)
OF_STOPS = {
    "no-agent": ("nobody polls", True),
    "agent-silent": ("silent", True),
    "not-taken": ("not taken", True),
    "refused": ("refused", False),
    "no-right": ("no right", False),
    "too-many-gpus": ("too many GPUs", False),
    "image": ("image", False),
    "crash": ("crash", False),
    "wrong-count": ("one GPU of two", False),
    "never-registered": ("never registered", False),
    "server-away": ("server away", False),
}
SCREENS = {
    "passed": said(stopped(*ex.whole())),
    "queue-unknown": said(at_queue(UNKNOWN_QUEUE, code=ExitCode.PREFLIGHT)),
    "out-of-bounds": said(
        at_queue(*check_variables(replace(ex.ASKED, gpus=9), GPUS), code=ExitCode.SETTINGS),
    ),
    "interrupted": said(INTERRUPTED),
    "withdrawn": withdrawn_screen("gpu", "item1", "PENDING") + withdrawn_screen("gpu", "item1", "CLAIMED"),
} | {name: said(stopped(*STOPS[stop][0], withdrawn=withdrawn)) for name, (stop, withdrawn) in OF_STOPS.items()}


@pytest.mark.parametrize("name", SCREENS)
def test_screen(name: str, golden: Callable[[Path, str], None]) -> None:
    golden(GOLDEN / f"{name}.txt", "\n".join(SCREENS[name]) + "\n")


def test_every_golden_screen_is_compared() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(SCREENS)


def test_the_pod_of_another_kind_of_object_is_removed_with_its_owner() -> None:
    pod = replace(ex.POD, owner=("PyTorchJob", "vc1"))
    left = left_over(ex.ASKED, "item1", ex.sight(1.0, None, pod=pod), withdrawn=False)

    assert left == (Leftover("PyTorchJob", "default/vc1", "runs on", "kubectl delete pytorchjob -n default vc1"),)


def test_what_has_ended_is_not_left_over() -> None:
    ended = ex.sight(1.0, Item("item1", "FAILED"), job=replace(ex.JOB, ended=True), pod=ex.POD)

    assert left_over(ex.ASKED, "item1", ended, withdrawn=False) == ()
