"""What is left of a job that did not pass, by name, with the command that removes it."""

from __future__ import annotations

import shlex

from bootstrap.launch.trial_model import OPEN_STATES, Asked, Leftover, Sight

_FINISHED = frozenset({"Succeeded", "Failed"})


def left_over(asked: Asked, item_id: str, sight: Sight, *, withdrawn: bool) -> tuple[Leftover, ...]:
    """The item, if it is still open and was not withdrawn, and the object in the cluster that has not ended."""
    left = []
    if sight.item is not None and not withdrawn and sight.item.state in OPEN_STATES:
        left.append(Leftover("item", item_id, sight.item.state, withdraw_command(asked, item_id)))
    job, pod = sight.job, sight.pod
    if job is not None and not (job.ended or job.gone):
        left.append(Leftover("Job", f"{job.namespace}/{job.name}", "runs on", _delete("job", job.namespace, job.name)))
    elif job is None and pod is not None and not pod.gone and pod.phase not in _FINISHED:
        kind, name = pod.owner
        left.append(Leftover(kind, f"{pod.namespace}/{name}", "runs on", _delete(kind.lower(), pod.namespace, name)))
    return tuple(left)


def withdraw_command(asked: Asked, item_id: str) -> str:
    """The command that takes an item out of its queue."""
    return shlex.join(["gpuctl", "launch", "test", "-q", asked.queue, "-e", asked.entity, "--withdraw", item_id])


def _delete(kind: str, namespace: str, name: str) -> str:
    return shlex.join(["kubectl", "delete", kind, "-n", namespace, name])
