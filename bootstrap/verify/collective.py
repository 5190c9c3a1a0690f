"""An all-reduce over the GPU nodes: pods on all of them find one another, and add up what they should."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.errors import GpuctlError
from bootstrap.jobs.pods import FILES
from bootstrap.jobs.ranks import Rank
from bootstrap.jobs.run import Following, run_job
from bootstrap.jobs.spec import JobSpec, Launcher
from bootstrap.kube.client import ApiError, Cluster
from bootstrap.progress import Progress, Silent

_PAYLOAD = Path(__file__).parents[1] / "jobs" / "payload"
_PROGRAM, _TORCH, _MODULE = "collective.py", "torch_collective.py", "ranks.py"
_MARK = "gpuctl_collective"  # key of each rank's report
_CONSEQUENCES = frozenset({"collective-rank-lost", "collective-rank-silent", ""})


@dataclass(frozen=True, slots=True)
class RankReport:
    """What one node's pod reports. `bytes_per_s` went out of it while as many came in; None on a single node."""

    node: str
    rank: int
    sum_right: bool
    bytes_per_s: float | None


@dataclass(frozen=True, slots=True)
class Collective:
    """The all-reduce over all GPU nodes. `code` and `error` are empty when every rank had the right sum."""

    nodes: tuple[str, ...]
    transport: str = "tcp"
    ranks: tuple[RankReport, ...] = ()
    code: str = ""
    error: str = ""

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
    timeout_s: float,
    progress: Progress,
    torch_gpus: int = 0,
) -> Collective:
    """One pod on each node, in a namespace that is deleted at the end.

    Plain TCP, whatever the nodes have: what the usual image holds is Python, and no NCCL; the pods take no GPU from
    anybody. With `torch_gpus` the image has PyTorch: each pod takes so many GPUs, and adds up between all of them.
    """
    program = _TORCH if torch_gpus else _PROGRAM
    namespace = "gpuctl-verify-" + re.sub(r"[^a-z0-9]+", "-", f"{run_id}-ring".lower()).strip("-")
    spec = JobSpec(
        name="all-reduce",
        launcher=Launcher.JOB,
        image=image,
        command=("python3", f"{FILES}/{program}", "--timeout", str(int(timeout_s))),
        nodes=len(nodes),
        gpus=torch_gpus,
        namespace=namespace,
        files={name: (_PAYLOAD / name).read_text(encoding="utf-8") for name in (program, _MODULE)},
        deadline_s=int(timeout_s) + 60,
        on_nodes=tuple(nodes),
        restricted=True,
    )
    reports: dict[int, Mapping[str, Any]] = {}

    def said(rank: Rank, line: str) -> None:
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict) and _MARK in found:
                reports[rank.rank] = {**found, "node": rank.node}

    labels = {"app.kubernetes.io/managed-by": "gpuctl", "app.kubernetes.io/name": "gpuctl-verify"}
    try:
        cluster.call("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace, "labels": labels}})
        for node in nodes:
            progress.started(node, "all-reduce")
        result = run_job(cluster, spec, Following(timeout_s, keep=True, said=said), Silent())
        for node in nodes:
            progress.done(node, "all-reduce", result.elapsed_s)
        problem = result.problems[0] if result.problems else None
        return judge(nodes, reports, problem.code if problem else "", problem.message if problem else "")
    except ApiError as error:
        return Collective(tuple(nodes), code="collective-failed", error=error.message)
    except GpuctlError as error:
        return Collective(tuple(nodes), code=error.problems[0].code, error=error.problems[0].message)
    finally:
        with suppress(ApiError):
            cluster.delete(f"/api/v1/namespaces/{namespace}")


def judge(nodes: Sequence[str], reports: Mapping[int, Mapping[str, Any]], code: str, words: str) -> Collective:
    """What the ranks' reports come to; `code` and `words` are those of their job, empty when it ended well.

    Of several reports the one that names a cause counts: a rank that ends takes its neighbours with it.
    """
    ranks = tuple(
        RankReport(str(report["node"]), number, bool(report.get("sum_right")), report.get("bytes_per_s"))
        for number, report in sorted(reports.items())
    )
    transport = next((str(report["transport"]) for report in reports.values() if report.get("transport")), "tcp")
    failed = [report for _, report in sorted(reports.items()) if report.get("error")]
    failed.sort(key=lambda report: str(report.get("code") or "") in _CONSEQUENCES)
    if failed:
        first = failed[0]
        return Collective(
            tuple(nodes),
            transport,
            ranks,
            str(first.get("code") or "collective-failed"),
            f"{first['node']}: {first['error']}",
        )
    if code:
        return Collective(tuple(nodes), transport, ranks, code, words)
    missing = len(nodes) - len(ranks)
    if missing or not all(rank.sum_right for rank in ranks):
        words = f"{missing} ranks did not report" if missing else "a rank has not the right sum"
        return Collective(tuple(nodes), transport, ranks, "collective-failed", words)
    return Collective(tuple(nodes), transport, ranks)
