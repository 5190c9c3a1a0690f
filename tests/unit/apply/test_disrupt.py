"""A node is emptied and given back as it was, also when a run before was cut off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bootstrap.access import Access
from bootstrap.apply import disrupt
from bootstrap.errors import GpuctlError
from bootstrap.inventory.model import Connection, Host
from bootstrap.kube.client import ApiError
from bootstrap.plan.cluster_view import ClusterView
from bootstrap.probe.facts import KubeFacts
from bootstrap.progress import Silent
from tests.unit.factories import node

SEED = Host("cp1", frozenset({"control_plane"}), Connection("192.0.2.1"), {})
VIEW = ClusterView("cp1", True, KubeFacts(nodes=(node("gpu1"),)))


class Api:
    """A recorded API: one node, and the pods on it."""

    def __init__(
        self, *, cordoned: bool = False, marked: bool = False, pods: list[dict[str, Any]] | None = None
    ) -> None:
        annotations = {disrupt.MARK: "true"} if marked else {}
        ready = [{"type": "Ready", "status": "True"}]
        self.node = {
            "metadata": {"annotations": annotations},
            "spec": {"unschedulable": cordoned},
            "status": {"conditions": ready},
        }
        self.pods = pods or []
        self.patches: list[dict[str, Any]] = []
        self.evicted: list[str] = []

    def get(self, path: str, _query: dict[str, str] | None = None) -> dict[str, Any]:
        return {"items": self.pods} if path.endswith("/pods") else self.node

    def call(self, method: str, path: str, *, body: Any = None, **_: Any) -> dict[str, Any]:
        if method == "PATCH":
            self.patches.append(body)
        else:
            self.evicted.append(path)
            self.pods = [pod for pod in self.pods if f"/{pod['metadata']['name']}/" not in path]
        return {}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Api:
    made = Api(**getattr(request, "param", {}))

    @contextmanager
    def reach(_seed: Host, _access: Access) -> Iterator[Api]:
        yield made

    monkeypatch.setattr(disrupt, "cluster_api", reach)
    monkeypatch.setattr(disrupt, "_PAUSE_S", 0.0)
    return made


def pod(name: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "team", **metadata}, "status": {"phase": "Running"}}


def empty(*, succeeded: bool) -> None:
    with disrupt.drained(SEED, "gpu1", VIEW, Access(), Silent()) as emptied:
        emptied.succeeded = succeeded


def test_a_node_is_cordoned_and_given_back(api: Api) -> None:
    empty(succeeded=True)
    assert [patch["spec"]["unschedulable"] for patch in api.patches] == [True, None]


def test_a_node_whose_step_failed_stays_cordoned_and_marked(api: Api) -> None:
    empty(succeeded=False)
    assert api.patches == [{"metadata": {"annotations": {disrupt.MARK: "true"}}, "spec": {"unschedulable": True}}]


@pytest.mark.parametrize("api", [{"cordoned": True}], indirect=True)
def test_somebody_elses_cordon_stays(api: Api) -> None:
    empty(succeeded=True)
    assert [patch["spec"]["unschedulable"] for patch in api.patches] == [True]
    assert disrupt.MARK not in api.patches[0]["metadata"]["annotations"]


@pytest.mark.parametrize("api", [{"cordoned": True, "marked": True}], indirect=True)
def test_the_cordon_of_an_interrupted_run_is_lifted(api: Api) -> None:
    empty(succeeded=True)
    assert [patch["spec"]["unschedulable"] for patch in api.patches] == [True, None]


DAEMON = [{"kind": "DaemonSet", "name": "d"}]


@pytest.mark.parametrize("api", [{"pods": [pod("train"), pod("plugin", ownerReferences=DAEMON)]}], indirect=True)
def test_pods_leave_but_those_of_daemonsets(api: Api) -> None:
    empty(succeeded=True)
    assert api.evicted == ["/api/v1/namespaces/team/pods/train/eviction"]


def test_a_refusing_api_is_a_problem_of_the_node(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ApiError(403, "forbidden")

    monkeypatch.setattr(api, "call", refuse)
    with pytest.raises(GpuctlError) as caught:
        empty(succeeded=True)
    assert (caught.value.problems[0].code, caught.value.problems[0].host) == ("drain-refused", "gpu1")


def test_a_host_that_is_no_node_needs_no_emptying(api: Api) -> None:
    with disrupt.drained(SEED, "gpu9", VIEW, Access(), Silent()):
        pass
    assert api.patches == []
