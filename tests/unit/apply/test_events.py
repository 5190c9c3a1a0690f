"""What Ansible's events come to: progress, outcomes, problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bootstrap.apply.events import EventReader, problem_of


class Recorder:
    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.lines.append((name, *args))


def event(kind: str, **values: Any) -> dict[str, Any]:
    return {"event": kind, "host": "gpu1", "role": "containerd", "task": "containerd : Install | Packages", **values}


def reader() -> tuple[EventReader, Recorder]:
    seen = Recorder()
    ticks = iter(range(100))
    return EventReader(seen, Path("/project"), clock=lambda: float(next(ticks))), seen


def test_a_step_starts_with_its_role_and_ends_with_its_receipt() -> None:
    read, seen = reader()
    read.read(event("runner_on_start"))
    read.read(event("runner_on_ok", res={"changed": True}))
    read.read(event("runner_on_start", task="containerd : Receipt | Complete"))
    done = event("runner_on_ok", action="gpuctl_receipt", res={"changed": False, "state": "complete"})
    read.read(done)
    assert seen.lines == [
        ("started", "gpu1", "containerd"),
        ("task", "gpu1", "containerd", "Install | Packages"),
        ("task", "gpu1", "containerd", "Receipt | Complete"),
        ("done", "gpu1", "containerd", 1.0),
    ]
    assert read.hosts["gpu1"].completed == ["containerd"]
    assert read.hosts["gpu1"].changed == 1


def test_what_a_play_does_for_all_components_is_shown_and_completes_none() -> None:
    read, seen = reader()
    own = {"role": None, "task": "Have the packages of all components", "action": "gpuctl_packages"}
    read.read(event("runner_on_start", **own))
    read.read(event("runner_on_ok", res={"changed": True}, **own))
    assert seen.lines == [
        ("started", "gpu1", "packages"),
        ("task", "gpu1", "packages", "Have the packages of all components"),
        ("done", "gpu1", "packages", 1.0),
    ]
    assert read.hosts["gpu1"].completed == []
    assert read.hosts["gpu1"].current is None


def test_a_failure_that_a_role_foresaw_keeps_its_code_fix_and_place() -> None:
    fix = "install linux-headers-6.1.0-31 (or boot the kernel whose headers are installed) and run gpuctl again"
    message = f"[headers-missing] no kernel headers for 6.1.0-31; fix: {fix}"
    failed = event("runner_on_failed", action="gpuctl_nvidia", res={"msg": message})
    found = problem_of(failed, "gpu1", "roles/nvidia_driver/tasks/check.yml:22")
    assert (found.code, found.host) == ("headers-missing", "gpu1")
    assert found.message == "step containerd failed: no kernel headers for 6.1.0-31"
    assert found.fix == fix
    assert found.at == "roles/nvidia_driver/tasks/check.yml:22 (Install | Packages)"


def test_an_unforeseen_failure_keeps_what_the_tool_said() -> None:
    found = problem_of(
        event("runner_on_failed", res={"msg": "non-zero return code", "stderr": "E: no space"}), "gpu1", None
    )
    assert found.code == "step-failed"
    assert "E: no space" in found.details


def test_a_lost_host_is_unreachable() -> None:
    found = problem_of(event("runner_on_unreachable", res={"msg": "ssh: connection timed out"}), "gpu1", None)
    assert found.code == "unreachable"


def test_only_the_first_failure_of_a_host_counts_and_ignored_ones_never() -> None:
    read, _ = reader()
    read.read(event("runner_on_failed", ignored=True, res={"msg": "ignored"}))
    assert read.hosts["gpu1"].problem is None
    read.read(event("runner_on_failed", res={"msg": "first"}, path="/project/roles/x/tasks/main.yml:3"))
    read.read(event("runner_on_failed", res={"msg": "second"}))
    problem = read.hosts["gpu1"].problem
    assert problem is not None
    assert "first" in problem.message
    assert problem.at == "roles/x/tasks/main.yml:3 (Install | Packages)"


@pytest.mark.parametrize("message", ["", None, "[", "[x]", "; fix:"])
def test_no_message_breaks_the_reader(message: str | None) -> None:
    assert problem_of(event("runner_on_failed", res={"msg": message}), "gpu1", None).message
