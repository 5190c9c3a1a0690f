"""What the Launch agent asks the Kubernetes API for where jobs run, and what becomes of runs without it.

Found with client 0.31.0 by granting one right after the other; the role launch_agent grants just these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bootstrap.kube.client import Cluster

_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_HANGS = "runs hang silently: their item stays CLAIMED, and its slot is taken for good"
_NO_KEY = "runs fail, for they get no API key"
_NO_LOG = "runs that fail come without their log"
_RUNS_ON = "a run that is stopped goes on"


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one kind of object. `without` says what happens where the right is missing."""

    group: str
    resource: str
    verb: str
    without: str

    @property
    def kind(self) -> str:
        """The kind as kubectl names it: pods/log, jobs.batch."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


RIGHTS = (
    Right("", "secrets", "create", _NO_KEY),
    Right("", "secrets", "get", _NO_KEY),
    Right("", "secrets", "delete", "each run leaves a Secret with the API key behind"),
    Right("", "pods", "list", _NO_LOG),
    Right("", "pods", "watch", _HANGS),
    Right("", "pods/log", "get", _NO_LOG),
    Right("batch", "jobs", "create", "every run fails"),
    Right("batch", "jobs", "watch", _HANGS),
    Right("batch", "jobs", "delete", _RUNS_ON),
    Right("batch.volcano.sh", "jobs", "create", "every Volcano job fails"),
    Right("batch.volcano.sh", "jobs", "watch", _HANGS),
    Right("batch.volcano.sh", "jobs", "delete", _RUNS_ON),
    Right("kubeflow.org", "pytorchjobs", "create", "every PyTorchJob fails"),
    Right("kubeflow.org", "pytorchjobs", "watch", _HANGS),
    Right("kubeflow.org", "pytorchjobs", "delete", _RUNS_ON),
)
KINDS = tuple(dict.fromkeys(right.kind for right in RIGHTS))


def missing_rights(
    cluster: Cluster, account_namespace: str, account: str, namespaces: Sequence[str], secret: str = ""
) -> Mapping[str, tuple[Right, ...]]:
    """Namespace → what the service account may not do there, in the order of RIGHTS.

    `secret`: the one that it has to get and delete; empty where their names are not known before.

    Raises:
        ApiError: the API did not answer, or the admin may not ask.
    """
    return {
        namespace: tuple(r for r in RIGHTS if not _allowed(cluster, account_namespace, account, namespace, r, secret))
        for namespace in namespaces
    }


def _allowed(cluster: Cluster, account_namespace: str, account: str, namespace: str, right: Right, secret: str) -> bool:
    resource, _, subresource = right.resource.partition("/")
    asked = {"namespace": namespace, "group": right.group, "resource": resource, "verb": right.verb}
    if secret and right.resource == "secrets" and right.verb != "create":
        asked["name"] = secret
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{account_namespace}", "system:authenticated"]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{account_namespace}:{account}",
            "groups": groups,
            "resourceAttributes": asked | ({"subresource": subresource} if subresource else {}),
        },
    }
    answer = cluster.call("POST", _REVIEWS, body=review) or {}
    return bool(answer.get("status", {}).get("allowed"))
