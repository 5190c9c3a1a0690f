"""An all-reduce over the GPU nodes: pods on all of them find one another, and add up what they should."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.hostside.gpuctl_strictjson import misshapen, parse
from bootstrap.jobs.pods import FILES
from bootstrap.jobs.ranks import Rank, culprit
from bootstrap.jobs.run import Following, run_job
from bootstrap.jobs.spec import JobSpec, Launcher
from bootstrap.kube.client import ApiError, Cluster
from bootstrap.probe.forms import number
from bootstrap.progress import Progress
from bootstrap.verify.compute import LIVES

_PAYLOAD = Path(__file__).parents[1] / "jobs" / "payload"
_PROGRAM, _TORCH, _MODULE = "collective.py", "torch_collective.py", "ranks.py"
_MARK = "gpuctl_collective"  # key of each rank's report
_REPORT = {"bytes_per_s": lambda value: number(value) is not None}
_STEP = "all-reduce"
PULL_S = 1800.0  # images with PyTorch have up to 10 GB: 14 minutes at 100 Mbit/s, and a slow disk takes as long again
_SLACK_S = 60  # by which the cluster ends a job later than gpuctl does
_CONSEQUENCES = frozenset({"collective-rank-lost", "collective-rank-silent", ""})
RING_FIX = "look at the pod network between the nodes: flannel's pods, and firewalls in between"
_FIXES: Mapping[str, str] = {
    "collective-rank-missing": RING_FIX,
    "collective-rank-lost": RING_FIX,
    "collective-rank-silent": RING_FIX,
    "collective-sum-wrong": "look at memory and network of the nodes",
    "job-runtime-class-unknown": "correct nvidia_device_plugin_runtime_class in the inventory, or `gpuctl bootstrap`",
    "job-too-large": "look at the GPUs of the nodes, which have become fewer, then run again",
}
_OTHER_FIX = "look at what it says"


@dataclass(frozen=True, slots=True)
class RankReport:
    """What one node's pod reports. `bytes_per_s` went out of it while as many came in; None on a single node.

    By PyTorch it is the bus bandwidth.
    """

    node: str
    rank: int
    sum_right: bool
    bytes_per_s: float | None


@dataclass(frozen=True, slots=True)
class Collective:
    """The all-reduce over all GPU nodes. `code` and `error` are empty when every rank had the right sum.

    `fix` is what mends the error, `details` the last lines of a program that said no more.
    """

    nodes: tuple[str, ...]
    transport: str = "tcp"
    ranks: tuple[RankReport, ...] = ()
    code: str = ""
    error: str = ""
    fix: str = ""
    details: str = ""

    @property
    def slowest(self) -> float | None:
        """Bytes per second of the slowest link; None where none was measured."""
        return min((rank.bytes_per_s for rank in self.ranks if rank.bytes_per_s), default=None)


def all_reduce(
    cluster: Cluster,
    nodes: Sequence[str],
    *,
    run_id: str,
    image: str,
    runtime_class: str,
    timeout_s: float,
    progress: Progress,
    torch_gpus: int = 0,
) -> Collective:
    """One pod on each node, in a namespace that is deleted at the end.

    Plain TCP, whatever the nodes have: what the usual image holds is Python, and no NCCL; the pods take no GPU from
    anybody. With `torch_gpus` the image has PyTorch: each pod takes so many GPUs, and adds up between all of them.
    Pulling that image takes none of `timeout_s`.
    """
    begun = time.monotonic()
    namespace = "gpuctl-verify-" + re.sub(r"[^a-z0-9]+", "-", f"{run_id}-ring".lower()).strip("-")
    for node in nodes:
        progress.started(node, _STEP)
    try:
        spec = _ring(nodes, namespace, image, runtime_class, torch_gpus, timeout_s)
        pull = _pull(spec, timeout_s)
        _make_namespace(cluster, namespace, spec.deadline_s + pull.deadline_s)
        problem = _follow_pull(cluster, pull, timeout_s, progress) if torch_gpus else None
        found = _lacking(nodes, problem, torch_gpus) if problem else _follow(cluster, spec, timeout_s, progress)
    except ApiError as error:
        found = Collective(tuple(nodes), code="collective-failed", error=error.message, fix="look at the control plane")
    except GpuctlError as error:
        found = _lacking(nodes, error.problems[0], torch_gpus)
    finally:
        with suppress(ApiError):
            cluster.delete(f"/api/v1/namespaces/{namespace}")
    for node in nodes:
        if found.code:
            progress.failed(node, _STEP, found.error)
        else:
            progress.done(node, _STEP, time.monotonic() - begun)
    return found


def _make_namespace(cluster: Cluster, namespace: str, lives_s: int) -> None:
    labels = {"app.kubernetes.io/managed-by": "gpuctl", "app.kubernetes.io/name": "gpuctl-verify"}
    metadata = {"name": namespace, "labels": labels, "annotations": {LIVES: str(lives_s)}}
    cluster.call("POST", "/api/v1/namespaces", body={"metadata": metadata})


def _ring(
    nodes: Sequence[str], namespace: str, image: str, runtime_class: str, torch_gpus: int, timeout_s: float
) -> JobSpec:
    """The job. Raises GpuctlError: the image has no name that could be one."""
    program = _TORCH if torch_gpus else _PROGRAM
    return JobSpec(
        name="all-reduce",
        launcher=Launcher.JOB,
        image=image,
        command=("python3", f"{FILES}/{program}", "--timeout", str(int(timeout_s))),
        nodes=len(nodes),
        gpus=torch_gpus,
        namespace=namespace,
        runtime_class=runtime_class,
        files={name: (_PAYLOAD / name).read_text(encoding="utf-8") for name in (program, _MODULE)},
        deadline_s=int(2 * timeout_s) + 2 * _SLACK_S,
        on_nodes=tuple(nodes),
        restricted=True,
    )


def _pull(ring: JobSpec, timeout_s: float) -> JobSpec:
    """A job that needs no more than the image, on the same nodes.

    Where one node has it and another does not, the ranks would miss one another, and hold GPUs meanwhile.
    """
    deadline_s = int(max(timeout_s, PULL_S)) + 2 * _SLACK_S
    return replace(ring, name="pull", command=("python3", "-c", ""), gpus=0, files={}, deadline_s=deadline_s)


def _follow_pull(cluster: Cluster, spec: JobSpec, timeout_s: float, progress: Progress) -> Problem | None:
    """Why a node has not the image. What keeps it from being pulled has `timeout_s` to pass."""
    for node in spec.on_nodes:
        progress.task(node, _STEP, f"pull {spec.image}")
    how = Following(timeout_s, max(timeout_s, PULL_S) + _SLACK_S, keep=True, pull_s=PULL_S)
    result = run_job(cluster, spec, how, progress)
    return result.problems[0] if result.problems else None


def _follow(cluster: Cluster, spec: JobSpec, timeout_s: float, progress: Progress) -> Collective:
    """Run the job. A rank that ended without a report is told by its pod, and not by what its neighbours miss."""
    reports: dict[int, Mapping[str, Any]] = {}

    def said(rank: Rank, line: str) -> None:
        with suppress(ValueError):
            found = parse(line)
            if isinstance(found, dict) and _MARK in found and not misshapen(_REPORT, found):
                reports[rank.rank] = {**found, "node": rank.node}

    for node in spec.on_nodes:
        progress.task(node, _STEP, "add up")
    how = Following(timeout_s, 2 * timeout_s + _SLACK_S, keep=True, said=said)  # first to begin, then to run
    result = run_job(cluster, spec, how, progress)
    problem = result.problems[0] if result.problems else None
    first = culprit(result.ranks, ())
    if problem and (first is None or first.rank not in reports):
        return _lacking(spec.on_nodes, problem, spec.gpus)
    return judge(spec.on_nodes, reports, problem)


def _lacking(nodes: Sequence[str], problem: Problem, torch_gpus: int) -> Collective:
    """What kept the job from its end, in its own words: the ring is not to blame.

    But for words that name options of `gpuctl job run`.
    """
    fix = _FIXES.get(problem.code, problem.fix)
    if "--image" in fix:
        fix = "name a --collective-image that has it" if torch_gpus else "set cluster_python_image to one that has it"
    return Collective(tuple(nodes), code=problem.code, error=problem.message, fix=fix, details=problem.details)


def judge(nodes: Sequence[str], reports: Mapping[int, Mapping[str, Any]], problem: Problem | None) -> Collective:
    """What the ranks' reports come to; `problem` is that of their job, None when it ended well.

    Of several reports the one that names a cause counts: a rank that ends takes its neighbours with it.
    """
    ranks = tuple(
        RankReport(str(report["node"]), number, bool(report.get("sum_right")), report.get("bytes_per_s"))
        for number, report in sorted(reports.items())
    )
    transport = next((str(report["transport"]) for report in reports.values() if report.get("transport")), "tcp")
    failed = [report for _, report in sorted(reports.items()) if report.get("error")]
    failed.sort(key=lambda report: str(report.get("code") or "") in _CONSEQUENCES)
    missing = len(nodes) - len(ranks)
    code, words, fix, details = "", "", "", ""
    if failed:
        code = str(failed[0].get("code") or "collective-failed")
        words = f"{failed[0]['node']}: {failed[0]['error']}"
        fix = str(failed[0].get("fix") or _FIXES.get(code, _OTHER_FIX))
    elif problem:
        code, words, fix, details = problem.code, problem.message, problem.fix, problem.details
    elif missing or not all(rank.sum_right for rank in ranks):
        code = "collective-failed"
        words = f"{missing} ranks did not report" if missing else "a rank has not the right sum"
        fix = _OTHER_FIX
    return Collective(tuple(nodes), transport, ranks, code, words, fix, details)
