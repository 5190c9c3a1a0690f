"""What is left of a job that did not pass, by name, with the command that removes it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.launch.trial_model import OPEN_STATES, Asked, Job, Leftover, Pod, Sight

if TYPE_CHECKING:
    from bootstrap.launch.trial import ServerSide

_FINISHED = frozenset({"Succeeded", "Failed"})


def left_over(asked: Asked, item_id: str, sight: Sight, *, withdrawn: bool) -> tuple[Leftover, ...]:
    """The object in the cluster that has not ended, and the item, if it is still open and was not withdrawn."""
    running = _running(sight.job, sight.pod)
    item = sight.item
    if item is None or withdrawn or item.state not in OPEN_STATES:
        return running
    if running:
        return (*running, Leftover("item", item_id, f"{item.state}, the agent closes it when that has ended", ""))
    taken = f"{item.state}{f' as run {item.run_id}' if item.run_id else ''}, the agent should close it"
    state = item.state if item.state == "PENDING" else taken
    return (Leftover("item", item_id, state, withdraw_command(asked, item_id)),)


def _running(job: Job | None, pod: Pod | None) -> tuple[Leftover, ...]:
    if pod is not None and (pod.exit_code is not None or pod.phase in _FINISHED):
        return ()  # what made it ends by itself now
    if job is not None:
        kind, namespace, name, over = "Job", job.namespace, job.name, job.ended or job.gone
    elif pod is not None:
        (kind, name), namespace, over = pod.owner, pod.namespace, pod.gone
    else:
        return ()
    remove = shlex.join(["kubectl", "delete", kind.lower(), "-n", namespace, name])
    return () if over else (Leftover(kind, f"{namespace}/{name}", "runs on", remove),)


def withdraw_command(asked: Asked, item_id: str) -> str:
    """The command that takes an item out of its queue."""
    return shlex.join(["gpuctl", "launch", "test", "-q", asked.queue, "-e", asked.entity, "--withdraw", item_id])


def withdraw_item(server: ServerSide, asked: Asked, item_id: str) -> str:
    """Take an item out of its queue; the state that it had, empty when the queue did not have it.

    Raises:
        GpuctlError: the server refuses or does not answer (exit 4), or it keeps the item (exit 6).
    """
    server.queue()  # a wrong name of a queue is not the same as an item that is gone
    before = server.item(item_id)
    if before is None:
        return ""
    server.withdraw(item_id)
    after = server.item(item_id)
    if after is not None and after.state in OPEN_STATES:
        words = f"queue {asked.queue} keeps item {item_id}: it is {after.state}"
        fix = "end its Job in the cluster: the agent then closes the item"
        raise GpuctlError(ExitCode.NOT_READY, Problem("launch-item-kept", words, fix))
    return before.state
