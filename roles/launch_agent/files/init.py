"""The first process of the agent's container: has the agent end well, and takes in what it leaves.

The kernel delivers no signal to a first process that has not asked for it, so the agent alone would go on to take runs
for the whole grace period when its pod is to end. It ends in order on SIGINT only.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

# An idle agent closes its own run and ends within a second, one that follows a job at the second SIGINT. Three times
# this is less than the 30 s after which Kubernetes kills.
PATIENCE_S = 5
_STOPPING = (signal.SIGTERM, signal.SIGINT)


def main(command: list[str]) -> int:
    """Run the command until it ends; its exit status, 128 and the number where a signal ended it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)  # none is lost before there is somebody to tell
    agent = os.fork()
    if agent == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        os.execvp(command[0], command)  # noqa: S606 - the container's own command
    asked: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        signal.alarm(PATIENCE_S)
        os.kill(agent, signal.SIGINT if len(asked) < 3 else signal.SIGTERM)

    for number in (*_STOPPING, signal.SIGALRM):
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    while True:
        ended, status = os.wait()  # also what the agent has left behind
        if ended == agent:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
