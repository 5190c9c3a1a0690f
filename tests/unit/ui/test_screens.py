"""What the screens say, letter by letter: tests/golden/cli/screens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.apply.results import HostOutcome, NodeState, Outcome, Readiness, ResetResult
from bootstrap.exit_codes import ExitCode
from bootstrap.plan.model import Plan
from bootstrap.ui.problems import problem_lines
from bootstrap.ui.screens import (
    bootstrap_screen,
    hosts_screen,
    nothing_to_do,
    plan_result_screen,
    plan_screen,
    preflight_screen,
    reset_screen,
)
from bootstrap.ui.verification import summary, verify_screen
from tests.unit.ui import screen_examples as example

GOLDEN = Path(__file__).parents[2] / "golden" / "cli" / "screens"
NEXT = "gpuctl verify-gpus --inventory lab.ini"
UNREACHABLE = replace(example.CONTROL_PLANE, error="unreachable: no route to host")
REAL = replace(example.WORKERS[0], simulated=False, driver="580.178.04")
SHORT = Readiness(
    (NodeState("cp1", False, "container runtime network not ready", 0, 0), NodeState("gpu1", True, "", 7, 8))
)
RESET = ResetResult(
    ExitCode.OK,
    "lab",
    example.HOSTS,
    tuple(HostOutcome(host.name, Outcome.DONE) for host in example.HOSTS),
    41.0,
    ("gpu1: /etc/containerd/conf.d/20-mine.toml is not ours",),
    "gpuctl-lab",
)

SCREENS = {
    "hosts": hosts_screen(example.HOSTS, 0.42),
    "hosts-unreachable": hosts_screen((UNREACHABLE, REAL), 12.0),
    "preflight": preflight_screen(example.FINDINGS),
    "plan-fresh": plan_screen(example.FRESH),
    "plan-drift": plan_result_screen(example.plan_result()),
    "plan-empty": plan_result_screen(example.plan_result(Plan(()))),
    "bootstrap-done": bootstrap_screen(example.bootstrap_result(), NEXT),
    "bootstrap-unchanged": bootstrap_screen(example.unchanged_result(), NEXT),
    "bootstrap-failed": [
        *bootstrap_screen(example.failed_result(), NEXT),
        *problem_lines(example.failed_result().problems, Path("/run/log")),
    ],
    "bootstrap-not-ready": bootstrap_screen(
        example.bootstrap_result(exit_code=ExitCode.NOT_READY, readiness=SHORT, kubeconfig=None), NEXT
    ),
    "verify-passed": verify_screen(example.verify_result()),
    "verify-short": verify_screen(example.verify_result(lost=True)),
    "reset-done": reset_screen(RESET),
    "reset-nothing": reset_screen(replace(RESET, outcomes=(), kept=(), kubeconfig_removed=None)),
}


@pytest.mark.parametrize("name", SCREENS)
def test_screen(name: str, golden: Callable[[Path, str], None]) -> None:
    golden(GOLDEN / f"{name}.txt", "\n".join(SCREENS[name]) + "\n")


def test_every_golden_screen_is_compared() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(SCREENS)


def test_next_command_is_only_told_after_a_run_that_did_all() -> None:
    assert bootstrap_screen(example.bootstrap_result(), NEXT)[-1] == f"next: {NEXT}"
    assert not any(NEXT in line for line in bootstrap_screen(example.failed_result(), NEXT))


def test_an_empty_plan_that_is_not_ready_is_not_told_as_nothing_to_do() -> None:
    result = replace(example.unchanged_result(), exit_code=ExitCode.NOT_READY, readiness=SHORT)
    lines = bootstrap_screen(result, NEXT)
    assert not any(line.startswith("nothing to do") for line in lines)
    assert any("not Ready: container runtime network not ready" in line for line in lines)


@pytest.mark.parametrize(
    ("simulated", "said"),
    [
        ((True, True), "16 GPUs allocatable (simulated)"),
        ((False, False), "16 GPUs allocatable ("),
        ((True, False), "(some simulated)"),
    ],
)
def test_simulated_gpus_are_never_counted_as_real_ones(simulated: tuple[bool, bool], said: str) -> None:
    workers = [replace(host, simulated=flag) for host, flag in zip(example.WORKERS, simulated, strict=True)]
    result = replace(example.unchanged_result(), hosts=(example.CONTROL_PLANE, *workers))
    line = nothing_to_do(result)
    assert said in line
    assert ("simulated" in line) == any(simulated)


def test_no_gpu_at_all_is_no_success() -> None:
    assert summary(replace(example.verify_result(), nodes=())) == "0 of 0 GPUs passed in 11 s"
