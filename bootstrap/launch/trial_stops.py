"""Why a job goes no further: per stage, what stops it at once, and what it is when the stage's time is over."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from bootstrap.errors import Problem
from bootstrap.launch.trial_model import FAILED, RUN_FAILED, STOPPED, Agent, Asked, Item, Limits, Pod, Sight, Stage

# (sight, asked, limits, seconds in this stage, whether the whole time is over) → what stops the job
Check = Callable[[Sight, Asked, Limits, float, bool], Problem | None]

_PULL_GIVEN_UP = frozenset({"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG_ERRORS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_NEVER_RAN = frozenset({"ContainerCannotRun", "StartError"})
_REFUSED = re.compile(r"Unsafe resource_args\S* option '([^']+)'")
_STATUS = "`gpuctl launch agent status` names what is wrong with it"


def _agent(sight: Sight, asked: Asked, limits: Limits, waited: float, late: bool) -> Problem | None:
    if sight.item is None:
        if waited <= limits.gone_s:
            return None
        words = f"the item is no longer in queue {asked.queue}, and no run came of it"
        return Problem("launch-item-gone", words, "somebody removed it: run the same command again")
    fresh = [a for a in sight.agents or () if a.fresh(limits.fresh_s)]
    long = late or waited > limits.not_taken_s
    if sight.item.state == "LEASED":
        return _not_claimed(asked, waited) if long else None
    if sight.agents is None:
        words = f"no agent took the item from queue {asked.queue} in {waited:.0f} s; the server does not tell who polls"
        return Problem("launch-item-not-taken", words, _STATUS) if long else None
    if not fresh:
        return _nobody(sight.agents, asked) if late or waited > limits.no_agent_s else None
    busy = all(a.status == "RUNNING" for a in fresh)
    if not late and (busy or waited <= limits.not_taken_s):
        return None  # a busy agent takes the item when a job of its ends
    if busy:
        words = f"{_names(fresh)} runs as many jobs as it may; the item is still PENDING after {waited:.0f} s"
        fix = (
            "`kubectl get pods -A -l wandb.ai/monitor=true` shows its jobs: delete a Job that will never run, wait for "
            "the others (--timeout), or raise `launch_agent_max_jobs`"
        )
        return Problem("launch-agent-busy", words, fix)
    words = f"{_names(fresh)} polls queue {asked.queue}, but the item is still PENDING after {waited:.0f} s"
    return Problem("launch-item-not-taken", words, _STATUS)


def _not_claimed(asked: Asked, waited: float) -> Problem:
    words = f"an agent took the item from queue {asked.queue}, but has not claimed it after {waited:.0f} s"
    return Problem("launch-item-not-taken", words, _STATUS)


def _nobody(agents: tuple[Agent, ...], asked: Asked) -> Problem:
    if not agents:
        return Problem(
            "launch-agent-unseen",
            f"no agent polls queue {asked.queue} of {asked.entity}",
            f"put {asked.queue} into `launch_agent_queues` and run `gpuctl bootstrap`; {_STATUS}",
        )
    last = min(agents, key=lambda a: a.age_s if a.age_s is not None else float("inf"))
    heard = "has never been heard of" if last.age_s is None else f"was last heard of {_ago(last.age_s)} ago"
    said = "stopped" if last.status in STOPPED else heard
    return Problem("launch-agent-silent", f"{name_of(last)} {said}", _STATUS)


def _job(sight: Sight, asked: Asked, limits: Limits, waited: float, late: bool) -> Problem | None:
    if failed := _item_failed(sight.item, asked):
        return failed
    if not late and waited <= limits.no_job_s:
        return None
    run = sight.item.run_id if sight.item else "?"
    words = f"the agent claimed the item, but the cluster has no Job with the label wandb.ai/run-id={run}"
    return Problem("launch-job-missing", words, f"see that the agent's kubeconfig leads to this cluster; {_STATUS}")


def _pod(sight: Sight, asked: Asked, limits: Limits, waited: float, late: bool) -> Problem | None:
    pod = sight.pod
    if pod is None:
        return _item_failed(sight.item, asked) or _no_pod(sight, limits, waited, late)
    if pod.gone:
        return _vanished(pod)
    if pod.waiting in _PULL_GIVEN_UP:
        return _image(pod)
    if pod.no_place:
        return _no_place(sight, asked, pod) or (
            _pending(pod, asked) if late or waited > limits.no_place_s else _item_failed(sight.item, asked)
        )
    if pod.phase == "Failed":
        words = pod.words or pod.reason or "the kubelet did not admit it"
        return Problem("launch-pod-not-started", f"pod {pod.name} failed before it ran: {words}", _describe(pod))
    if failed := _item_failed(sight.item, asked):
        return failed
    if late or (pod.waiting in _CONFIG_ERRORS and waited > limits.config_error_s):
        return _image(pod) if "Pull" in pod.waiting else _not_started(pod, waited)
    return None


def _no_pod(sight: Sight, limits: Limits, waited: float, late: bool) -> Problem | None:
    job = sight.job
    if job is None or job.gone:
        name = f"Job {job.namespace}/{job.name}" if job else "the Job"
        return Problem("launch-job-gone", f"{name} was deleted before it had a pod", "run the same command again")
    place = f"{job.namespace}/{job.name}"
    if late or job.failed or waited > limits.no_pod_s:
        words = job.words or job.failed or "no event says why"
        fix = f"kubectl describe job -n {job.namespace} {job.name}"
        return Problem("launch-pod-missing", f"Job {place} has no pod: {words}", fix)
    return None


def _no_place(sight: Sight, asked: Asked, pod: Pod) -> Problem | None:
    """More GPUs than any node has: no waiting helps."""
    if not sight.nodes:
        return None
    name, most = max(sight.nodes, key=lambda node: node[1])
    if pod.gpus <= most:
        return None
    if most == 0:
        words = f"the Job asks for {_gpus(pod.gpus)}, and no node has any allocatable"
        return Problem("launch-gpus-too-many", words, "gpuctl verify-gpus names the first broken layer")
    words = f"the Job asks for {_gpus(pod.gpus)}; the largest node, {name}, has {most} allocatable"
    fix = f"ask for at most {most}, and set that as the maximum of `gpus` in queue {asked.queue}"
    return Problem("launch-gpus-too-many", words, fix, details=pod.no_place)


def _pending(pod: Pod, asked: Asked) -> Problem:
    taken = "nvidia.com/gpu" in pod.no_place
    fix = (
        "wait until GPUs are free, or ask for fewer (--gpus)"
        if taken
        else f"mend what the scheduler names, in queue {asked.queue} or on the nodes"
    )
    return Problem("pod-pending", f"no node takes pod {pod.name}: {pod.no_place}", fix)


def _image(pod: Pod) -> Problem:
    words = f"image {pod.image} is not pulled: {pod.waiting}"
    fix = "correct the image (--image), the registry, or the imagePullSecrets of the namespace's default ServiceAccount"
    return Problem("image-pull-failed", words, fix, pod.node or None, details=pod.words)


def _not_started(pod: Pod, waited: float) -> Problem:
    why = f"{pod.waiting or pod.phase}{f': {pod.words}' if pod.words else ''}"
    words = f"pod {pod.name} has not started after {waited:.0f} s: {why}"
    return Problem("launch-pod-not-started", words, _describe(pod), pod.node or None)


def _vanished(pod: Pod) -> Problem:
    words = f"pod {pod.name} was deleted before it had said what it sees"
    return Problem("launch-pod-gone", words, "run the same command again; the agent's log says whether it did that")


def _gpu(sight: Sight, asked: Asked, limits: Limits, waited: float, late: bool) -> Problem | None:
    pod, hello = sight.pod, sight.hello
    if hello is not None:
        return _miscount(sight, asked)
    if pod is None:
        return None
    if pod.gone:
        return _vanished(pod)
    if pod.exit_code is not None:
        reason = f" ({pod.reason})" if pod.reason and pod.reason not in {"Error", "Completed"} else ""
        words = f"pod {pod.name} ended with exit code {pod.exit_code}{reason} and no report"
        fix = "the image must have python3, and room in its memory limit"
        if pod.reason in _NEVER_RAN:  # what the runtime refused is not the image's fault
            fix = "correct in the queue what the container runtime refuses, below"
        return Problem("launch-pod-crashed", words, fix, pod.node or None, details=pod.log_tail or pod.words)
    if late or waited > limits.no_report_s:
        words = f"pod {pod.name} runs for {waited:.0f} s and has not said what it sees"
        return Problem("launch-no-report", words, _describe(pod), pod.node or None, details=pod.log_tail)
    return None


def _miscount(sight: Sight, asked: Asked) -> Problem:
    """The program saw another number of GPUs than it should."""
    pod, hello = sight.pod, sight.hello
    seen, asks, node = (hello.gpus if hello else 0), (pod.gpus if pod else 0), (pod.node or None) if pod else None
    wanted = asks if asked.gpus is None else asked.gpus
    words = f"the job sees {_gpus(seen)}, {wanted} {'was' if wanted == 1 else 'were'} asked"
    shown = f"devices: {' '.join(hello.devices) or 'none'}; NVIDIA_VISIBLE_DEVICES={hello.visible}" if hello else ""
    if pod is not None and asks != wanted:
        words += f", and its pod asks for {asks}"
        fix = f"let the GPU limit in queue {asked.queue} be the template variable {{{{gpus}}}}"
    else:
        fix = "gpuctl verify-gpus names the first broken layer; a queue without runtimeClassName may be the cause"
    return Problem("launch-gpus-wrong", words, fix, node, details=shown)


def _result(sight: Sight, asked: Asked, limits: Limits, waited: float, late: bool) -> Problem | None:
    hello, item = sight.hello, sight.item
    run = item.run_id if item and item.run_id else "of the job"
    if hello is not None and hello.registered not in {"", "registered"}:
        words = f"the job could not register run {run} with the W&B server: {hello.registered}"
        return Problem(
            "launch-run-unregistered", words, "the agent's base URL must be reached from pods, and its CA known"
        )
    if failed := _item_failed(item, asked):
        return failed
    if sight.run in RUN_FAILED:
        return Problem("launch-run-failed", f"run {run} is {sight.run}", "look at the run's page on the W&B server")
    if not sight.run and (late or waited > limits.no_run_s):
        words = f"the W&B server knows no run {run} in project {asked.project} of {asked.entity}"
        return Problem("launch-run-unregistered", words, "see that agent and command use the same W&B server")
    if late or waited > limits.not_closed_s:
        state = item.state if item else "gone"
        words = f"the program has ended, but after {waited:.0f} s its run is {sight.run} and the item {state}"
        return Problem("launch-item-open", words, f"an agent without the right to watch Jobs hangs so: {_STATUS}")
    return None


def _item_failed(item: Item | None, asked: Asked) -> Problem | None:
    """The agent gave the item up: its own words."""
    if item is None or item.state != FAILED:
        return None
    said = item.error or "it said nothing"
    if refused := _REFUSED.search(said):
        fix = f"take {refused[1]} out of queue {asked.queue}: `gpuctl launch queue apply` names what to use instead"
        return Problem("launch-item-refused", f"the agent refused the queue's configuration: {_first(said)}", fix)
    if "403" in said or "orbidden" in said:
        words = f"the agent may not do what the job needs: {_first(said)}"
        return Problem(
            "launch-right-missing", words, "`gpuctl launch agent status` names the right", details=_rest(said)
        )
    words = f"the agent gave the item up: {_first(said)}"
    return Problem("launch-item-failed", words, "look at the agent's log", details=_rest(said))


def _first(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:400]


def _rest(text: str) -> str:
    return "\n".join(text.strip().splitlines()[1:])


def _describe(pod: Pod) -> str:
    return f"kubectl describe pod -n {pod.namespace} {pod.name}"


def _gpus(number: int) -> str:
    return f"{number} GPU{'' if number == 1 else 's'}"


def name_of(agent: Agent) -> str:
    """How an agent is called in sentences."""
    return f"agent {agent.name}{f' on {agent.host}' if agent.host else ''}"


def _names(agents: list[Agent]) -> str:
    return ", ".join(name_of(agent) for agent in agents)


def _ago(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
    )


CHECKS: Mapping[Stage, Check] = {
    Stage.AGENT: _agent,
    Stage.JOB: _job,
    Stage.POD: _pod,
    Stage.GPU: _gpu,
    Stage.RESULT: _result,
}
