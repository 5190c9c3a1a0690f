"""Who holds a lock: asked of the kernel, so the test needs a second process that holds one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bootstrap.hostside.gpuctl_apt import lock_holder

HOLD = """
import fcntl, sys
handle = open(sys.argv[1], "r+")
fcntl.lockf(handle, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_the_process_that_holds_it_is_found(tmp_path: Path) -> None:
    lock = tmp_path / "lock-frontend"
    lock.touch()
    assert lock_holder(str(lock)) is None
    argv = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        found = lock_holder(str(lock))
        holder.stdin.close()
    assert found is not None
    assert f"(pid {holder.pid})" in found
    assert lock_holder(str(tmp_path / "absent")) is None
