"""The screen of `gpuctl launch test`: the stages with their times, and what is left of a job that stopped."""

from __future__ import annotations

from collections.abc import Sequence

from bootstrap.exit_codes import ExitCode
from bootstrap.launch.trial_model import Leftover, StageResult, StageState, TrialResult
from bootstrap.ui.layout import brief, columns, count

_SIGNS = {StageState.OK: "✓", StageState.FAILED: "✗", StageState.NOT_RUN: "·"}


def trial_screen(result: TrialResult) -> list[str]:
    """One line per stage, then the outcome; what is left over comes with the command that removes it."""
    lines = columns([_row(stage) for stage in result.stages], right=(2,))
    if result.exit_code is ExitCode.OK:
        return [*lines, _passed(result)]
    here = next((s.stage for s in result.stages if s.state is StageState.FAILED), result.stages[-1].stage)
    lines.append(f"stopped at {here} after {brief(result.elapsed_s)}{_what_is_left(result)}")
    return lines + [f"  left over: {_left(each)}" for each in result.left]


def withdrawn_screen(queue: str, item: str, state: str) -> list[str]:
    """`gpuctl launch test --withdraw`. `state` is that of the item before, empty when there was none."""
    if not state:
        return [f"queue {queue} has no item {item}"]
    lines = [f"item {item} is out of queue {queue}"]
    if state != "PENDING":
        lines.append(f"  it was {state}: what an agent made of it in the cluster stays")
    return lines


def _row(stage: StageResult) -> Sequence[str]:
    if stage.elapsed_s is None:
        return (stage.stage, _SIGNS[stage.state])
    return (stage.stage, _SIGNS[stage.state], brief(stage.elapsed_s), stage.seen)


def _passed(result: TrialResult) -> str:
    seen = count(result.gpus_seen or 0, "GPU")
    where = f" on {result.node}" if result.node else ""
    return f"passed in {brief(result.elapsed_s)}: a job from queue {_queue(result)} ran{where} and saw {seen}"


def _queue(result: TrialResult) -> str:
    return f"{result.asked.entity}/{result.asked.queue}"


def _what_is_left(result: TrialResult) -> str:
    if result.removed:
        return f"; its Job {result.removed} was deleted, for it had not begun"
    if result.left or result.unsure:
        return ""
    if not result.item:
        return "; nothing was submitted"
    return f"; item {result.item} was withdrawn, nothing is left over" if result.withdrawn else "; nothing is left over"


def _left(each: Leftover) -> str:
    return f"{each.kind} {each.name} ({each.state}){f': `{each.remove}`' if each.remove else ''}"
