"""What the agent's journal says of it: the client's own words (wandb 0.31.0), as they were seen on a test host."""

from __future__ import annotations

import pytest

from bootstrap.hostside import gpuctl_launch as launch
from bootstrap.hostside.gpuctl_hostio import Ran

START = "wandb: Starting launch agent ✨\n"
ERRORS = "wandb: ERROR Find detailed error logs at: /tmp/debug-cli.gpuctl-launch.log\n"
VERIFY = "Error: Failed to verify credentials with http://10.0.0.1:9080: "
POLLS = "wandb: launch: agent abcd1234 polling on queues gpu, running 0 out of a maximum of 3 jobs\n"
BUSY = "wandb: launch: agent abcd1234 running 1 out of a maximum of 1 jobs\n"
NO_QUEUE = "Error: Could not start launch agent: Not all of requested queues (x) found. Available queues …: gpu\n"


@pytest.mark.parametrize(
    ("text", "ended", "finding"),
    [
        (START + POLLS, False, ""),
        (START + BUSY, False, ""),
        (START, False, None),
        ("", False, None),
        (START + POLLS + "Aborted!\n", True, "launch-agent-down"),
        (ERRORS + VERIFY + "user not logged in\n", True, "launch-key-refused"),
        (START + "Error: API key must have 40+ characters, has 5.\n", True, "launch-key-refused"),
        (START + ERRORS + NO_QUEUE, True, "launch-queue-unknown"),
        (
            ERRORS + VERIFY + "Failed to execute API request: the service process is busy and did not respond in time.",
            True,
            "launch-server-unreachable",
        ),
        (START + "Error: Invalid launch agent config\n", True, "launch-agent-down"),
        ("", True, "launch-agent-down"),
    ],
)
def test_a_start_is_judged(text: str, ended: bool, finding: str | None) -> None:
    seen = launch.judge(text, ended)
    assert (seen.finding if seen else None) == finding
    assert seen is None or seen.finding == "" or seen.finding in launch.FIXES


def test_the_line_that_tells_is_named() -> None:
    seen = launch.judge(START + ERRORS + NO_QUEUE, ended=True)
    assert seen is not None
    assert seen.said == NO_QUEUE.strip()


def test_only_the_last_start_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    answers = {"systemctl": "ActiveState=active\nInvocationID=0a1b\n", "journalctl": START + POLLS}

    def run(argv: list[str], _timeout_s: float) -> Ran:
        asked.append(argv)
        return Ran(0, answers[argv[0]], "")

    monkeypatch.setattr(launch, "run", run)
    assert launch.watch("agent.service", 5).finding == ""
    assert asked[1][-1] == "_SYSTEMD_INVOCATION_ID=0a1b"


def test_a_wait_ends_with_what_was_last_said(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"systemctl": "ActiveState=active\nInvocationID=0a1b\n", "journalctl": START}
    monkeypatch.setattr(launch, "run", lambda argv, _: Ran(0, answers[argv[0]], ""))
    seen = launch.watch("agent.service", 0)
    assert seen.finding == "launch-server-unreachable"
    assert "Starting launch agent" in seen.said
