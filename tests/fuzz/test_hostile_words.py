"""Whatever hosts, the API and the W&B server say: no control character gets out, and no remedy of theirs is ours.

Each text goes through every printer: screens, JSON, plan.json, report.json, events.jsonl and the log.
"""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.apply.events import problem_of
from bootstrap.apply.host_action import _result
from bootstrap.apply.remedies import catalogue, ours
from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.launch.agent_model import AgentStatus, Fact, State, Target
from bootstrap.printable import LONGEST_LINE
from bootstrap.redact import Redactor
from bootstrap.rundir import RunDirectory
from bootstrap.ui.console import Console
from bootstrap.ui.document import as_text, envelope
from bootstrap.ui.launch_agent import status_screen
from bootstrap.ui.layout import columns
from bootstrap.ui.problems import problem_lines
from bootstrap.ui.view import PlainView
from tests.fuzz.hostile_words import WORDS

_FIX = "boot the newest installed kernel"
_STRANGE = frozenset({"Cc", "Cf", "Cs"})
_ROOM = len("… (1000000 more characters)") + 200


def failed(action: str, result: dict[str, Any]) -> Problem:
    """A task's failure as the run's events have it."""
    event = {"event": "runner_on_failed", "host": "gpu1", "role": "nvidia_driver", "task": "t", "action": action}
    return problem_of({**event, "res": result}, "gpu1", "roles/nvidia_driver/tasks/check.yml:22")


def problems(words: str) -> Iterator[tuple[str, Problem]]:
    """The ways in which a text comes to be part of an error."""
    yield "message", failed("gpuctl_nvidia", answer({"msg": words}))
    yield (
        "code, fix, details",
        failed("gpuctl_nvidia", answer({"msg": words, "code": words, "fix": words, "details": words, "stderr": words})),
    )
    yield "value in a fix", failed(
        "gpuctl_nvidia",
        answer({"msg": f"[headers-missing] x; fix: install linux-headers-{words} (or boot the kernel whose headers are "
                       "installed) and run gpuctl again"}),
    )  # fmt: skip
    yield (
        "value of a role's message",
        failed(
            "ansible.builtin.assert",
            {"msg": f"[containerd-down] containerd is not running as configured: {words}; fix: run gpuctl bootstrap"},
        ),
    )
    yield "builtin module", failed("ansible.builtin.command", {"msg": words, "stderr": words, "stdout": words})
    lost = {"event": "runner_on_unreachable", "host": "gpu1", "task": "t", "res": {"msg": words}}
    yield "connection", problem_of(lost, "gpu1", None)
    yield "API", Problem("api-unreachable", f"the cluster's API: {words}", "look at the control plane", details=words)
    server = HostError("launch-refused", f"the W&B server http://127.0.0.1 says: {words}", "look at the key", words)
    yield "W&B", Problem(server.code, server.message, server.fix, details=server.details)


def answer(found: dict[str, Any]) -> dict[str, Any]:
    """A failed answer of a module, as the action plugin takes it."""
    return _result("gpuctl_nvidia", {"stdout": json.dumps({"failed": True, **found}) + "\n"})


def printed(problem: Problem, words: str, folder: Path) -> dict[str, str]:
    """What each printer makes of it."""
    redactor = Redactor()
    out, err = io.StringIO(), io.StringIO()
    console = Console(out, err, environment={}, no_colour=True, redactor=redactor)
    console.error("\n".join(problem_lines([problem])))
    view = PlainView(console)
    view.task("gpu1", "nvidia_driver", words)
    view.failed("gpu1", "nvidia_driver", words)
    for line in columns([("gpu1", words), ("gpu2", "x")]):
        console.answer(line)
    status = AgentStatus(_target(), (Fact("the agent", State.BAD, words),), {}, ())
    for line in status_screen(status):
        console.answer(line.replace("\n", "\n    "))
    run = RunDirectory(folder, redactor)
    run.log.info("ansible: %s", words)
    run.event({"event": "runner_on_failed", "res": {"msg": words, words[:100]: words}})
    document = envelope("bootstrap", ExitCode.STEP_FAILED, {"said": words}, [problem])
    run.write_json("report.json", document)
    run.close()
    return {
        "stdout": out.getvalue(),
        "stderr": err.getvalue(),
        "JSON": as_text(document, redactor),
        **{path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()},
    }


def _target() -> Target:
    return Target.of(
        {
            "launch_agent_mode": "host",
            "launch_agent_namespace": "wandb",
            "launch_agent_release": "x",
            "launch_agent_target_namespaces": ["jobs"],
            "launch_agent_entity": "team",
            "launch_agent_queues": ["gpus"],
            "launch_agent_base_url": "https://api.wandb.ai",
            "launch_agent_jobs_beside_agent": False,
            "launch_agent_policy": "enforce",
        }
    )


def strange_in(name: str, text: str) -> list[str]:
    """Characters that steer a terminal, also as escapes of JSON; lines without an end."""
    found = [f"{name}: {c!r}" for c in set(text) if c not in "\n\t" and unicodedata.category(c) in _STRANGE]
    if name in {"JSON", "report.json", "events.jsonl"}:
        strings = list(
            _strings([json.loads(line) for line in text.splitlines()] if name[-1] == "l" else json.loads(text))
        )
        found += [
            f"{name}: {c!r}" for s in strings for c in set(s) if c not in "\n\t" and unicodedata.category(c) in _STRANGE
        ]
    else:
        found += [f"{name}: a line of {len(line)}" for line in text.splitlines() if len(line) > LONGEST_LINE + _ROOM]
    return found


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def forged_in(problem: Problem, shown: dict[str, str]) -> list[str]:
    """Codes and remedies that are not ours; lines that look like ours."""
    found = []
    if problem.code not in catalogue():
        found.append(f"code {problem.code!r}")
    own = {"look at the control plane", "look at the key"}
    generic = "see the details and the log; run the same command again once the cause is gone"
    lost = "check that the host is up and that ssh to it works, then run the same command again"
    if not (problem.fix in own | {generic, lost} or ours(problem.code, problem.fix)):
        found.append(f"fix {problem.fix!r}")
    labels = re.findall(r"^  (?:fix|log|at): .*(?:curl|shadow|reset).*$|^error: gpu9.*$", shown["stderr"], re.MULTILINE)
    stamped = [line for line in shown["log"].splitlines() if re.match(r"2026-12-01T00:00:0", line)]
    return found + labels + stamped


def test_no_control_character_and_no_remedy_of_a_host_is_shown_as_ours(
    tmp_path: Path, figure: Callable[[str], None]
) -> None:
    wrong, ways = [], 0
    for number, words in enumerate(WORDS):
        for name, problem in problems(words):
            ways += 1
            shown = printed(problem, words, _folder(tmp_path, ways))
            bad = [hit for printer, text in shown.items() for hit in strange_in(printer, text)]
            wrong += [f"{number} as {name}: {hit}"[:300] for hit in (*bad, *forged_in(problem, shown))]
    figure(
        f"hostile words: {len(WORDS)} texts, {ways} errors, 6 printers each: "
        f"{len(wrong)} with control characters or foreign remedies"
    )
    assert wrong == []
    assert len(WORDS) >= 20


def _folder(top: Path, number: int) -> Path:
    folder = top / str(number)
    folder.mkdir(mode=0o700)
    return folder


@pytest.mark.parametrize("words", [w for w in WORDS if len(w) < 1000], ids=lambda w: repr(w)[:30])
def test_a_terminal_with_colours_gets_our_sequences_only(words: str) -> None:
    err = io.StringIO()
    shown = Console(io.StringIO(), err, environment={"FORCE_COLOR": "1"})
    shown.error("\n".join(problem_lines([failed("gpuctl_nvidia", {"msg": words, "stderr": words})])))
    assert not re.sub(r"\x1b\[(?:0|1|2|31|32|33)m", "", err.getvalue()).count("\x1b")
