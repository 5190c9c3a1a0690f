from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from bootstrap.hostside import gpuctl_unitrun as unitrun
from bootstrap.hostside.gpuctl_hostio import HostError, Ran

TOKEN, KEY = "abcdef.0123456789abcdef", "0123456789abcdef" * 4


class FakeSystemd:
    """Answers systemctl and systemd-run from a list of states, and notes what was asked."""

    def __init__(self, *states: tuple[str, str, str, int]) -> None:
        self.states = list(states)
        self.calls: list[list[str]] = []

    def __call__(self, argv: list[str], timeout_s: float = 60) -> Ran:
        del timeout_s
        self.calls.append(argv)
        if argv[:2] == ["systemctl", "show"]:
            active, sub, result, status = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            load = "not-found" if sub == "dead" else "loaded"
            lines = (f"LoadState={load}", f"ActiveState={active}", f"SubState={sub}", f"Result={result}")
            return Ran(0, "\n".join([*lines, f"ExecMainStatus={status}"]), "")
        return Ran(0, "", "")

    def started(self) -> list[str]:
        found = [argv for argv in self.calls if argv[0] == "systemd-run"]
        return found[0] if found else []


ABSENT = ("inactive", "dead", "", 0)
RUNNING = ("active", "running", "success", 0)
DONE = ("active", "exited", "success", 0)
FAILED = ("failed", "failed", "exit-code", 1)


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., FakeSystemd]:
    monkeypatch.setattr(unitrun, "LOG_FOLDER", str(tmp_path))
    monkeypatch.setattr(unitrun, "_POLL_S", 0.0)

    def make(*states: tuple[str, str, str, int]) -> FakeSystemd:
        fake = FakeSystemd(*states)
        monkeypatch.setattr(unitrun, "run", fake)
        return fake

    return make


def test_a_command_becomes_a_unit_and_is_waited_for(systemd: Callable[..., FakeSystemd]) -> None:
    fake = systemd(ABSENT, RUNNING, RUNNING, DONE)
    ended = unitrun.run_unit("gpuctl-x", ["kubeadm", "init"], 5)
    assert ended.state.succeeded
    assert not ended.attached
    assert fake.started()[-2:] == ["kubeadm", "init"]


def test_the_unit_carries_the_run_it_belongs_to(
    systemd: Callable[..., FakeSystemd], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUCTL_RUN", "run-7")
    fake = systemd(ABSENT, DONE)
    unitrun.run_unit("gpuctl-x", ["true"], 5)
    assert "--setenv=GPUCTL_RUN=run-7" in fake.started()


def test_a_proxy_s_password_is_in_no_argument(
    systemd: Callable[..., FakeSystemd], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxy = 'http://ann:p$"`\\1w@proxy.example:3128'
    monkeypatch.setenv("https_proxy", proxy)
    fake = systemd(ABSENT, DONE)
    seen: list[tuple[str, int]] = []

    def look(argv: list[str], timeout_s: float = 60) -> Ran:
        for word in argv:
            if word.startswith("--property=EnvironmentFile="):
                path = Path(word.partition("EnvironmentFile=")[2])
                seen.append((path.read_text(), path.stat().st_mode & 0o777))
        return fake(argv, timeout_s)

    monkeypatch.setattr(unitrun, "run", look)
    unitrun.run_unit("gpuctl-x", ["true"], 5)
    assert not any("proxy.example" in word for argv in fake.calls for word in argv)
    assert seen == [(f"https_proxy={unitrun.quoted(proxy)}\n", 0o600)]
    assert not list(tmp_path.glob("*.env"))


def test_a_running_unit_is_waited_for_and_not_started_again(systemd: Callable[..., FakeSystemd]) -> None:
    fake = systemd(RUNNING, RUNNING, DONE)
    ended = unitrun.run_unit("gpuctl-x", ["kubeadm", "init"], 5)
    assert ended.attached
    assert fake.started() == []


@pytest.mark.parametrize("earlier", [FAILED, DONE])
def test_an_ended_unit_is_forgotten_first(
    systemd: Callable[..., FakeSystemd], earlier: tuple[str, str, str, int]
) -> None:
    fake = systemd(earlier, DONE)
    unitrun.run_unit("gpuctl-x", ["true"], 5)
    verbs = [argv[1] for argv in fake.calls if argv[0] == "systemctl"]
    assert verbs[:3] == ["show", "stop", "reset-failed"]
    assert fake.started()


def test_the_deadline_stops_the_unit_and_says_what_it_last_said(
    systemd: Callable[..., FakeSystemd], tmp_path: Path
) -> None:
    fake = systemd(RUNNING)
    (tmp_path / "gpuctl-x.log").write_text("one\nwaiting for etcd\n")
    with pytest.raises(HostError, match="waiting for etcd") as caught:
        unitrun.run_unit("gpuctl-x", ["true"], 0)
    assert caught.value.code == "unit-timeout"
    assert ["systemctl", "stop", "--", "gpuctl-x.service"] in fake.calls


def test_the_log_keeps_no_token_once_the_unit_has_ended(systemd: Callable[..., FakeSystemd], tmp_path: Path) -> None:
    systemd(RUNNING, DONE)
    log = tmp_path / "gpuctl-x.log"
    log.write_text(f"[bootstrap-token] Using token: {TOKEN}\n[upload-certs] Using certificate key:\n{KEY}\n")
    ended = unitrun.run_unit("gpuctl-x", ["true"], 5)
    for text in (log.read_text(), ended.log):
        assert TOKEN not in text
        assert KEY not in text
        assert "Using token: <token>" in text


def test_what_is_no_secret_stays() -> None:
    digest = f"sha256:{KEY} and /var/lib/ingest/{KEY}/data, registry.k8s.io/pause:3.10.2"
    assert unitrun.redact(digest) == digest


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "a\n\t[ERROR Swap]: swap is on\n\t[ERROR Port-6443]: in use\nerror: preflight failed",
            "[ERROR Swap]: swap is on",
        ),
        ("a\nerror: one\nTo see the stack trace of this error execute with --v=5 or higher", "error: one"),
        ("only a line", "only a line"),
        ("", "it said nothing"),
    ],
)
def test_a_failure_names_the_cause(library: Callable[[str], ModuleType], log: str, said: str) -> None:
    state = unitrun.UnitState("loaded", "failed", "failed", "exit-code", 1)
    found = library("gpuctl_unit_run").failure("u", unitrun.Ended(state, False, log), "kubeadm-failed", "do this")
    assert found.as_text() == f"[kubeadm-failed] u ended with status 1: {said}; fix: do this"
