"""How a pod that computes ended, or why it does not come to its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bootstrap.hostside.gpuctl_strictjson import misshapen, parse
from bootstrap.kube.client import ApiError, Cluster
from bootstrap.verify.pods import UNASKED, Assignment, Holder
from bootstrap.verify.refusals import refusal
from bootstrap.verify.stuck import start_failure

NOT_ADMITTED = "allocatable-short"
_ONE_SHARE = "maximum request size for shared resources"  # the words of NVIDIA's device plugin


@dataclass(frozen=True, slots=True)
class Computed:
    """What one node's pod came to.

    `devices` are the payload's reports; `code` and `error` are set when there are none; `held` are pods that hold
    GPUs which could not be tried. `unasked` counts the GPUs that a container saw which asked
    for none; None where that was not looked at. `of_cluster`: the error's cause is the cluster's, not the node's.
    """

    node: str
    devices: tuple[Mapping[str, Any], ...] = ()
    code: str = ""
    error: str = ""
    held: tuple[Holder, ...] = ()
    unasked: int | None = None
    fix: str = ""
    of_cluster: bool = False


def refused(node: str, error: ApiError, held: tuple[Holder, ...] = ()) -> Computed:
    """Of a pod that the API server did not take."""
    why = refusal(error.status, error.message)
    return Computed(node, code=why.code, error=why.error, held=held, fix=why.fix, of_cluster=why.of_cluster)


def finished(cluster: Cluster, namespace: str, pod: Mapping[str, Any], assignment: Assignment) -> Computed:
    """Of a pod that is through: what its log reports, or that the kubelet did not let it run."""
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and not status.get("containerStatuses"):
        words = str(status.get("message") or status.get("reason") or "the kubelet did not admit the pod")
        if _ONE_SHARE in words:
            fix = "switch sharing off for a test: each pod may have one share, so that not all GPUs can be tried"
            return Computed(assignment.node, code="gpu-shared", error=words, held=assignment.held, fix=fix)
        return Computed(assignment.node, code=NOT_ADMITTED, error=words, held=assignment.held)
    if words := _never_started(status):
        why = start_failure(words)
        return Computed(assignment.node, code=why.code, error=words, held=assignment.held, fix=why.fix)
    path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}/log"
    names = [container.get("name") for container in pod.get("spec", {}).get("containers", [])]
    try:
        report = parse_report(cluster.text(path, {"container": "compute"}), assignment)
        beside = cluster.text(path, {"container": UNASKED}) if UNASKED in names else ""
    except ApiError as error:
        return Computed(assignment.node, code="compute-failed", error=error.message, held=assignment.held)
    return replace(report, unasked=_counted(beside))


def _never_started(status: Mapping[str, Any]) -> str:
    """The runtime's words where it could not start a container; empty where all began."""
    for container in status.get("containerStatuses") or []:
        ended = container.get("state", {}).get("terminated") or {}
        if ended.get("reason") in ("StartError", "ContainerCannotRun"):
            return str(ended.get("message") or ended["reason"])
    return ""


def _counted(log: str) -> int | None:
    """What the container without GPUs has counted; None where it said nothing of the kind."""
    try:
        found = parse(log.strip().splitlines()[-1])["gpus"]
    except (ValueError, LookupError, TypeError):
        return None
    return found if isinstance(found, int) else None


def parse_report(log: str, assignment: Assignment) -> Computed:
    """The payload's JSON document, the last line of its log that is one."""
    for line in reversed(log.strip().splitlines()):
        try:
            report = parse(line)
        except ValueError:
            continue
        if isinstance(report, dict) and not misshapen({"devices!": [dict]}, report):
            error = str(report.get("error") or "")
            code = str(report.get("code") or ("compute-failed" if error else ""))
            return Computed(assignment.node, tuple(report["devices"]), code, error, assignment.held)
    last = log.strip().splitlines()[-1:] or ["its pod said nothing"]
    return Computed(assignment.node, code="compute-failed", error=last[0][:300], held=assignment.held)
