"""Commands of gpuctl's in what a command says, with the profile and the machine that this call was given.

What is pasted from an advice has to act on the same profile of the same machine, and `down` deletes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bootstrap.errors import GpuctlError, Problem

if TYPE_CHECKING:
    from bootstrap.cli.session import Answer, Session

_COMMAND = re.compile(r"`(gpuctl (?:minikube (?:up|start|status|stop|down)|verify-gpus)\b[^`]*)`")
_PROFILE = frozenset({"--profile", "-p"})
_PLACE = frozenset({"--inventory", "-i", "--host"})


def advising(body: Callable[[Session], Answer], profile: str, named: Sequence[str]) -> Callable[[Session], Answer]:
    """The body of a command whose every advice names the profile and, by the options `named`, the machine."""

    def advised(session: Session) -> Answer:
        try:
            answer = body(session)
        except GpuctlError as error:
            problems = (_completed(problem, profile, named) for problem in error.problems)
            raise GpuctlError(error.exit_code, *problems) from error
        return replace(
            answer,
            lines=completed(list(answer.lines), profile, named),
            data=completed(dict(answer.data), profile, named),
            problems=[_completed(problem, profile, named) for problem in answer.problems],
        )

    return advised


def _completed(problem: Problem, profile: str, named: Sequence[str]) -> Problem:
    words = (completed(text, profile, named) for text in (problem.message, problem.fix))
    return replace(problem, **dict(zip(("message", "fix"), words, strict=True)))


def completed(said: Any, profile: str, named: Sequence[str]) -> Any:
    """A text, or all texts in lists and mappings, with those options in each command that has none of their kind."""
    if isinstance(said, str):
        return _COMMAND.sub(lambda found: f"`{_with_options(found[1], profile, named)}`", said)
    if isinstance(said, Mapping):
        return {key: completed(value, profile, named) for key, value in said.items()}
    if isinstance(said, list | tuple):
        return [completed(item, profile, named) for item in said]
    return said


def _with_options(command: str, profile: str, named: Sequence[str]) -> str:
    there = {word.partition("=")[0] for word in command.split()}
    more = [] if there & _PROFILE else ["--profile", profile]
    more += [] if there & _PLACE else named
    return " ".join([command, shlex.join(more)] if more else [command])
