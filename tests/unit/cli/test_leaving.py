"""A host that never answers keeps a thread waiting: the process ends with its code all the same."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import atexit, sys, threading, time
from bootstrap.cli import main as entry
def body(words):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    print("told")
    atexit.register(print, "and tidied")
    return 4
entry._run = body
sys.argv = ["gpuctl", "plan"]
sys.exit(entry.main())
"""


def test_a_thread_that_waits_does_not_change_how_it_ends() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (4, "told\nand tidied\n", "")
