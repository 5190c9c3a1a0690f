"""Which answers of a W&B server stop a run before its first change."""

from __future__ import annotations

from typing import Any

import pytest

from bootstrap.apply import launch_check as module
from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.plan.model import Effect, Step

ARGUMENTS = {
    "launch_agent_api_key": "k" * 40,
    "launch_agent_base_url": "https://wandb.example.com",
    "launch_agent_entity": "vision",
    "launch_agent_queues": ["gpus"],
    "cluster_ca_certificate": "",
}
AGENT = Step("cluster", "launch_agent", "install", ("new",), Effect.NONE)
OTHER = Step("cp1", "containerd", "install", ("new",), Effect.NONE)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    monkeypatch.setattr(module, "check_server", lambda server, *rest: calls.append((server.base_url, *rest)))
    return calls


def test_it_asks_for_what_the_agent_will_need(asked: list[Any]) -> None:
    module.check_launch_server([OTHER, AGENT], ARGUMENTS)
    assert asked == [("https://wandb.example.com", "vision", ["gpus"])]


@pytest.mark.parametrize(
    ("steps", "arguments"), [([OTHER], ARGUMENTS), ([AGENT], ARGUMENTS | {"launch_agent_api_key": ""})]
)
def test_it_asks_nobody_without_need(asked: list[Any], steps: list[Step], arguments: dict[str, Any]) -> None:
    module.check_launch_server(steps, arguments)
    assert asked == []


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        ("launch-key-refused", True),
        ("launch-entity-unknown", True),
        ("launch-queue-unknown", True),
        ("launch-refused", True),
        ("launch-server-unreachable", False),
    ],
)
def test_only_an_answer_stops_the_run(monkeypatch: pytest.MonkeyPatch, code: str, refused: bool) -> None:
    def fail(*_: Any) -> None:
        raise HostError(code, "words", "fix")

    monkeypatch.setattr(module, "check_server", fail)
    if not refused:
        module.check_launch_server([AGENT], ARGUMENTS)
        return
    with pytest.raises(GpuctlError) as caught:
        module.check_launch_server([AGENT], ARGUMENTS)
    assert caught.value.exit_code is ExitCode.PREFLIGHT
    assert [(p.code, p.fix) for p in caught.value.problems] == [(code, "fix")]
