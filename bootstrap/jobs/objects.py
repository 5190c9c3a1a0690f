"""Where the API has the objects of jobs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bootstrap.jobs.spec import Launcher


class Kind(NamedTuple):
    """Group and version, and the name of the kind in paths; `addon` brings it, empty where Kubernetes does."""

    api: str
    plural: str
    title: str
    addon: str = ""


MAKERS: Mapping[Launcher, Kind] = {
    Launcher.JOB: Kind("apis/batch/v1", "jobs", "Job"),
    Launcher.VOLCANO: Kind("apis/batch.volcano.sh/v1alpha1", "jobs", "Volcano Job", "volcano"),
    Launcher.PYTORCHJOB: Kind("apis/kubeflow.org/v1", "pytorchjobs", "PyTorchJob", "kubeflow-training-operator"),
    Launcher.JOBSET: Kind("apis/jobset.x-k8s.io/v1alpha2", "jobsets", "JobSet", "jobset"),
}


def folder_of(document: Mapping[str, Any]) -> str:
    """The path to which an object is sent."""
    version = document["apiVersion"]
    api = f"apis/{version}" if "/" in version else f"api/{version}"
    return f"/{api}/namespaces/{document['metadata']['namespace']}/{document['kind'].lower()}s"


def path_of(document: Mapping[str, Any]) -> str:
    """The path of an object."""
    return f"{folder_of(document)}/{document['metadata']['name']}"


def kubectl_name(document: Mapping[str, Any]) -> str:
    """What kubectl calls an object, also where another group has a kind of that name."""
    group = document["apiVersion"].rpartition("/")[0]
    kind = f"{document['kind'].lower()}s"
    return f"{kind}.{group}/{document['metadata']['name']}" if group else f"{kind}/{document['metadata']['name']}"
