"""The child that runs Ansible ends with everything below it."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import os, subprocess, time
from bootstrap.apply.ansible_child import _Cancel, _descendants
cancel = _Cancel()
subprocess.Popen(["sh", "-c", "setsid sleep 61 & setsid sh -c 'sleep 62; true' & wait"])
end = time.monotonic() + 20
while len(_descendants(os.getpid())) < 4 and time.monotonic() < end:
    time.sleep(0.01)
print(len(_descendants(os.getpid())), cancel())
cancel.want()
print(len(_descendants(os.getpid())), cancel())
"""


def test_a_cancelled_run_ends_processes_that_lead_their_own_session() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout.split("\n")[:2] == ["4 False", "0 True"], done.stderr


def test_a_run_whose_parent_is_gone_is_cancelled() -> None:
    inner = (
        "import os, time\n"
        "from bootstrap.apply.ansible_child import _Cancel\n"
        "cancel, parent = _Cancel(), os.getppid()\n"
        "print(cancel(), flush=True)\n"
        "while os.getppid() == parent: time.sleep(0.01)\n"
        "print(cancel(), flush=True)\n"
    )
    outer = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdin=-3); input()"
    with subprocess.Popen(
        [sys.executable, "-c", outer, inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "False\n"
        process.stdin.write("\n")  # the parent ends
        process.stdin.flush()
        assert process.stdout.readline() == "True\n"
