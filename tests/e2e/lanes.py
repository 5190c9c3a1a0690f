"""python -m tests.e2e.lanes LANE...: run lanes of tests beside one another, in this order; tell of each when it ends.

A lane waits for more than half of its time: three at once take less time on two processors than one after the other.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from tests.e2e.building import built_groups

AT_ONCE = 3
_PAUSE_S = 0.2
# Lanes that want a group of components which is not built by itself: how their names begin → the group.
_WANTED = {"test_minikube": "minikube", "test_addons": "batch"}


class Lanes:
    """Lanes to come, and those under way: their process, its output and its begin."""

    def __init__(self, lanes: list[str]) -> None:
        self.waiting = lanes
        self.running: dict[str, tuple[subprocess.Popen[bytes], IO[bytes], float]] = {}
        self.failed: list[str] = []

    def run(self) -> int:
        """Run all; 1 if any failed."""
        try:
            while self.waiting or self.running:
                while self.waiting and len(self.running) < AT_ONCE:
                    self._begin(self.waiting.pop(0))
                time.sleep(_PAUSE_S)
                for lane in [name for name, (child, _, _) in self.running.items() if child.poll() is not None]:
                    self._tell(lane)
        finally:
            self._end()
        return int(bool(self.failed))

    def _begin(self, lane: str) -> None:
        said = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed when the lane has been told of
        command = [str(Path(sys.executable).with_name("pytest")), lane]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
        self.running[lane] = (child, said, time.monotonic())
        _say(f"e2e: {lane} begins")

    def _tell(self, lane: str) -> None:
        child, said, begun = self.running.pop(lane)
        said.seek(0)
        sys.stdout.buffer.write(said.read())
        said.close()
        code = child.wait()
        _say(f"e2e: {lane} ended with {code} after {time.monotonic() - begun:.0f} s")
        if code:
            self.failed.append(lane)

    def _end(self) -> None:
        """Have what still runs take its lab down."""
        for child, _, _ in self.running.values():
            child.terminate()
        for lane in list(self.running):
            self._tell(lane)


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def in_order(lanes: list[str], built: set[str]) -> list[str]:
    """Those that have much to build go last, while time may be short; the long ones go first where nothing is."""
    missing = tuple(name for name, group in _WANTED.items() if group not in built)
    return sorted(lanes, key=lambda lane: Path(lane).name.startswith(missing))


def main(lanes: list[str]) -> int:
    """Run them; ends like an interrupted program when it is told to end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return Lanes(in_order(lanes, built_groups())).run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
