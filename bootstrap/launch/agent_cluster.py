"""What the cluster has of the Launch agent: its objects, and, where it runs there, its pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootstrap.errors import Problem
from bootstrap.kube.client import ApiError, Cluster
from bootstrap.launch.agent_model import CLUSTER_MODE, TOKEN_SECRET, Fact, Seen, State, Target
from bootstrap.launch.rights import RIGHTS, Right

_POLICIES = "/apis/admissionregistration.k8s.io/v1/"
_GUARDS = (
    ("ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
    ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
)
_AGAIN = "run `gpuctl bootstrap` again: it applies what is missing"
_RIGHTS_FIX = "run `gpuctl bootstrap` again: it applies the rights (ClusterRole {}, bound in each namespace)"


def objects_seen(cluster: Cluster, target: Target) -> Seen:
    """Whether everything is there that the role makes, besides the rights.

    Raises:
        ApiError: the API did not answer.
    """
    core, own = "/api/v1/namespaces/", target.namespace
    every = tuple(dict.fromkeys((own, *target.namespaces)))
    wanted = [("Namespace", "", name, f"{core}{name}") for name in every]
    wanted.append(("ServiceAccount", own, target.account, f"{core}{own}/serviceaccounts/{target.account}"))
    if target.mode == CLUSTER_MODE:
        key = target.key_secret
        wanted += [("Secret", name, key, f"{core}{name}/secrets/{key}") for name in every]
        wanted.append(("ConfigMap", own, target.config_map, f"{core}{own}/configmaps/{target.config_map}"))
    if not target.older:
        wanted += [
            (kind, "", target.policy_name, f"{_POLICIES}{plural}/{target.policy_name}") for kind, plural in _GUARDS
        ]
    seen = _cautions(target) + _endless(cluster, target)
    for kind, namespace, name, path in wanted:
        seen += _object(kind, f"{namespace}/{name}" if namespace else name, cluster.get(path))
    return seen


def _cautions(target: Target) -> Seen:
    """What works, and could be safer."""
    found = []
    if target.older:
        told = "an older release set it up, with a token that never ends: `gpuctl bootstrap` makes one that does"
        found.append(Fact("the agent", State.WARNING, told))
    elif target.policy != "enforce":
        told = "jobs that reach for the node are not refused, only named: set launch_agent_policy=enforce"
        found.append(Fact(f"ValidatingAdmissionPolicy {target.policy_name}", State.WARNING, told))
    if "default" in target.namespaces:
        told = (
            "jobs may run in it, and it enforces no Pod Security level: set launch_agent_target_namespaces="
            '["launch-jobs"], and that namespace in the queues'
        )
        found.append(Fact("Namespace default", State.WARNING, told))
    return Seen(tuple(found))


def _endless(cluster: Cluster, target: Target) -> Seen:
    """The token of an older release that was to be deleted."""
    found = None if target.older else cluster.get(f"/api/v1/namespaces/{target.namespace}/secrets/{TOKEN_SECRET}")
    if found is None or found.get("type") != "kubernetes.io/service-account-token":
        return Seen()
    words = f"Secret {target.namespace}/{TOKEN_SECRET} still holds a token of the agent's account that never ends"
    fix = f"kubectl delete secret --namespace {target.namespace} {TOKEN_SECRET}"
    return Seen(problems=(Problem("launch-token-endless", words, fix),))


def _object(kind: str, name: str, found: Mapping[str, Any] | None) -> Seen:
    lack = "it is not there" if found is None else _lack(kind, found)
    if not lack:
        return Seen((Fact(f"{kind} {name}", State.OK),))
    problem = Problem("launch-object-missing", f"{kind} {name}: {lack}", _AGAIN)
    return Seen((Fact(f"{kind} {name}", State.BAD, lack),), (problem,))


def _lack(kind: str, found: Mapping[str, Any]) -> str:
    """What an object lacks that is there, or nothing."""
    data = found.get("data") or {}
    if kind == "Secret":
        return "" if data.get("password") else "it has no key `password`"
    return "it is being deleted" if found.get("metadata", {}).get("deletionTimestamp") else ""


def rights_problems(target: Target, missing: Mapping[str, tuple[Right, ...]]) -> tuple[Problem, ...]:
    """One problem for each right, with the namespaces that lack it; one alone for a namespace without any."""
    fix = _RIGHTS_FIX.format(target.cluster_role)
    problems = []
    for namespace in (name for name, lacking in missing.items() if len(lacking) == len(RIGHTS)):
        words = f"the agent may do nothing in namespace {namespace}: no run gets there, or it hangs silently"
        problems.append(Problem("launch-right-missing", words, fix))
    for right in RIGHTS:
        where = [name for name, lacking in missing.items() if right in lacking and len(lacking) < len(RIGHTS)]
        if where:
            words = f"the agent may not {right.verb} {right.kind} in {', '.join(where)}: {right.without}"
            problems.append(Problem("launch-right-missing", words, fix))
    return tuple(problems)


def deployment_seen(cluster: Cluster, target: Target) -> Seen:
    """Whether the agent's pod is there and ready, and what it is waiting for.

    Raises:
        ApiError: the API did not answer.
    """
    name = f"{target.namespace}/{target.deployment}"
    base = f"/apis/apps/v1/namespaces/{target.namespace}/deployments/{target.deployment}"
    found = cluster.get(base)
    if found is None:
        problem = Problem("launch-object-missing", f"Deployment {name}: it is not there", _AGAIN)
        return Seen((Fact(f"Deployment {name}", State.BAD, "it is not there"),), (problem,))
    wanted = int((found.get("spec") or {}).get("replicas", 1))
    ready = int((found.get("status") or {}).get("readyReplicas", 0))
    if wanted and ready >= wanted:
        again = _restarts(cluster, target)
        detail = f"{ready} of {wanted} pods ready" + (f", started again {again} times" if again else "")
        return Seen((Fact(f"Deployment {name}", State.OK, detail),))
    reason = "scaled to no pods" if not wanted else _pod_reason(cluster, target)
    detail = f"{ready} of {wanted} pods ready" + (f"; {reason}" if reason else "")
    fix = f"look at `kubectl --namespace {target.namespace} describe pods --selector app={target.deployment}`"
    if not wanted:
        fix = f"`kubectl --namespace {target.namespace} scale deployment {target.deployment} --replicas 1`"
    problem = Problem("launch-agent-down", f"Deployment {name}: {detail}", fix, details=_log(cluster, target))
    return Seen((Fact(f"Deployment {name}", State.BAD, detail),), (problem,))


def _pods(cluster: Cluster, target: Target) -> list[dict[str, Any]]:
    path = f"/api/v1/namespaces/{target.namespace}/pods"
    found = cluster.get(path, {"labelSelector": f"app={target.deployment}"}) or {}
    return sorted(found.get("items") or [], key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))


def _restarts(cluster: Cluster, target: Target) -> int:
    """How often the newest pod's agent has ended and was started again."""
    containers = [
        c for pod in _pods(cluster, target)[-1:] for c in pod.get("status", {}).get("containerStatuses") or []
    ]
    return sum(int(container.get("restartCount", 0)) for container in containers)


def _pod_reason(cluster: Cluster, target: Target) -> str:
    """Why the newest pod is not ready, in the words of who knows."""
    pods = _pods(cluster, target)
    if not pods:
        return "it has no pod"
    status = pods[-1].get("status") or {}
    for container in status.get("containerStatuses") or []:
        for state in ("waiting", "terminated"):
            if said := (container.get("state") or {}).get(state):
                code = f" (exit status {said['exitCode']})" if "exitCode" in said else ""
                return f"{said.get('reason', state)}{code}: {said.get('message', '')}".rstrip(": ")
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason"))
    return str(status.get("phase", ""))


def _log(cluster: Cluster, target: Target) -> str:
    """The last lines of the newest pod, of its last try where the present one has said nothing."""
    for pod in _pods(cluster, target)[-1:]:
        path = f"/api/v1/namespaces/{target.namespace}/pods/{pod['metadata']['name']}/log"
        for previous in ("false", "true"):
            try:
                said = cluster.text(path, {"tailLines": "6", "previous": previous}).strip()
            except ApiError:  # there is none yet, or none any more
                continue
            if said:
                return said
    return ""
