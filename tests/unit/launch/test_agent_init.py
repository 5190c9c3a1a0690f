"""The first process of the agent's container, as a first process: in a namespace of process ids of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from bootstrap.content import roles_path

INIT = roles_path() / "launch_agent" / "files" / "init.py"
# An agent as the client's is: ends in order on SIGINT, says what it has heard.
AGENT = """
import signal, sys, time
def hear(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number == signal.{ends}:
        sys.exit(3)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, hear)
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""
# Leaves a process behind, waits until that has ended, and says whether anybody has taken it in.
PARENT = """
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        print(os.getpid(), flush=True)
    os._exit(0)
os.wait()
time.sleep(0.3)
print([name for name in os.listdir('/proc') if name.isdigit() and int(name) > 2], flush=True)
"""


def isolated() -> list[str]:
    found = shutil.which("unshare")
    argv = [found or "", "--user", "--map-root-user", "--pid", "--mount-proc", "--fork", "--kill-child"]
    if not found or subprocess.run([*argv, "true"], capture_output=True, timeout=20, check=False).returncode != 0:
        pytest.skip("this machine lets nobody make a namespace of process ids")
    return argv


@contextmanager
def init(program: str, *before: str) -> Iterator[subprocess.Popen[str]]:
    argv = [*before, sys.executable, str(INIT), sys.executable, "-c", program]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # the agent ends with its init, which cannot end it any more once killed
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        if process.stdout:
            process.stdout.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_end_of_a_pod_is_an_orderly_end_of_the_agent() -> None:
    with init(AGENT.format(ends="SIGINT")) as process:
        assert line(process) == "ready"
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert line(process) == "SIGINT"
        assert process.wait(10) == 3
        assert time.monotonic() - begun < 5


def test_an_agent_that_does_not_end_is_told_again() -> None:
    with init(AGENT.format(ends="SIGTERM")) as process:
        assert line(process) == "ready"
        process.send_signal(signal.SIGTERM)
        assert line(process) == "SIGINT"
        process.send_signal(signal.SIGALRM)  # as its patience ends
        assert line(process) == "SIGINT"  # which the client's agent ends at while it follows a job
        process.send_signal(signal.SIGALRM)
        assert line(process) == "SIGTERM"
        assert process.wait(10) == 3


@pytest.mark.parametrize(
    ("program", "status"),
    [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137), ("", 0)],
)
def test_the_agent_s_end_is_the_container_s(program: str, status: int) -> None:
    with init(program) as process:
        assert process.wait(10) == status


def test_what_the_agent_leaves_behind_is_taken_in() -> None:
    with init(PARENT, *isolated()) as process:
        assert line(process).isdigit()
        assert line(process) == "[]"
        assert process.wait(10) == 0
