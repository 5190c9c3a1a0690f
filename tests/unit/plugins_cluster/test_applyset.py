from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from bootstrap.hostside import gpuctl_applyset as applyset
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_kube import Api, KubeError, object_id
from bootstrap.hostside.gpuctl_namespaces import with_level


class FakeApi(Api):
    """An API server with objects in memory: enough of apply, conflicts and ownership for these tests."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.held: dict[str, str] = {}
        self.log: list[str] = []
        self.down = 0

    def get_id(self, identity: str) -> Any:
        if self.down:
            self.down -= 1
            raise KubeError(0, "connection refused")
        if identity not in self.objects:
            raise KubeError(404, "not found")
        return self.objects[identity]

    def apply(self, obj: Mapping[str, Any], force: bool = False) -> Any:
        identity = object_id(obj)
        if identity in self.held and not force:
            cause = {"field": ".spec.x", "message": f'conflict with "{self.held[identity]}" using apps/v1'}
            raise KubeError(409, "conflict", {"details": {"causes": [cause]}})
        old = self.objects.get(identity)
        content = json.loads(json.dumps(obj))
        version = old["metadata"]["resourceVersion"] if old else 0
        if old is None or old["data"] != content.get("data"):
            version += 1
        owner = {"manager": "gpuctl", "operation": "Apply", "fieldsV1": {"f:data": {}}}
        content["metadata"].update(resourceVersion=version, managedFields=[owner])
        content.setdefault("data", None)
        self.objects[identity] = content
        self.log.append("apply " + identity)
        return content

    def path_of(self, api_version: str, kind: str, namespace: str, name: str) -> str:
        return "/".join((api_version, kind, namespace, name))

    def get(self, path: str) -> Any:
        """A list: all objects whose path begins with what is asked for."""
        _, _, namespace, plural = path.rsplit("/", 3)
        kind = {"persistentvolumeclaims": "PersistentVolumeClaim", "jobs": "Job"}[plural]
        return {"items": [o for i, o in self.objects.items() if f"/{kind}/{namespace}/" in i]}

    def request(self, method: str, path: str, body: Any = None, content_type: str = "") -> Any:
        del body, content_type
        identity = path.split("?", maxsplit=1)[0]
        assert method == "DELETE"
        self.log.append("delete " + identity)
        del self.objects[identity]


def thing(name: str, kind: str = "ConfigMap", **data: str) -> dict[str, Any]:
    meta = {"name": name} if kind == "Namespace" else {"name": name, "namespace": "n"}
    return {"apiVersion": "v1", "kind": kind, "metadata": meta, "data": data}


RECEIPT = "v1/ConfigMap/kube-system/gpuctl-receipt-my-part"


def receipt_of(api: FakeApi) -> dict[str, Any]:
    return dict(json.loads(api.objects[RECEIPT]["data"]["receipt"]))


def install(api: FakeApi, *objects: dict[str, Any], force: bool = False) -> applyset.Change:
    receipt = applyset.begin(api, {"component": "my_part", "revision": 1}, objects)
    change = applyset.apply_objects(api, receipt, objects, force)
    applyset.complete(api, receipt, objects)
    return change


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applyset, "_POLL_S", 0.0)


def test_a_namespace_comes_before_what_lives_in_it() -> None:
    api = FakeApi()
    install(api, thing("a"), thing("n", "Namespace"))
    assert [line for line in api.log if "receipt" not in line] == ["apply v1/Namespace//n", "apply v1/ConfigMap/n/a"]


def test_the_receipt_is_complete_and_has_a_digest_of_each_object() -> None:
    api = FakeApi()
    install(api, thing("a", x="1"), thing("b"))
    receipt = receipt_of(api)
    assert receipt["state"] == "complete"
    assert set(receipt["objects"]) == {"v1/ConfigMap/n/a", "v1/ConfigMap/n/b"}
    assert all(digest.startswith("sha256:") for digest in receipt["objects"].values())


def test_a_second_run_changes_nothing() -> None:
    api = FakeApi()
    install(api, thing("a", x="1"))
    assert install(api, thing("a", x="1")) == ([], [])


def test_what_is_not_rendered_any_more_is_deleted_and_nothing_else() -> None:
    api = FakeApi()
    install(api, thing("a"), thing("b"))
    api.objects["v1/ConfigMap/n/foreign"] = {**thing("foreign"), "metadata": {"managedFields": []}}
    change = install(api, thing("a"))
    assert change.deleted == ["v1/ConfigMap/n/b"]
    assert "v1/ConfigMap/n/foreign" in api.objects


def test_a_killed_run_forgets_no_object() -> None:
    api = FakeApi()
    install(api, thing("a"), thing("b"))
    applyset.begin(api, {"component": "my_part"}, [thing("a"), thing("c")])  # and killed
    assert receipt_of(api)["state"] == "begun"
    assert install(api, thing("a")).deleted == ["v1/ConfigMap/n/b"]


def test_an_object_that_others_took_over_is_not_deleted() -> None:
    api = FakeApi()
    install(api, thing("a"), thing("b"))
    api.objects["v1/ConfigMap/n/b"]["metadata"]["managedFields"] = [{"manager": "helm", "operation": "Update"}]
    assert install(api, thing("a")).deleted == []


def test_all_conflicts_are_named_together_with_object_field_and_manager() -> None:
    api = FakeApi()
    install(api, thing("a"), thing("b"))
    api.held = {"v1/ConfigMap/n/a": "kubectl-edit", "v1/ConfigMap/n/b": "helm"}
    with pytest.raises(HostError) as caught:
        install(api, thing("a", x="2"), thing("b", x="2"))
    assert caught.value.code == "object-conflict"
    assert "ConfigMap n/a: field .spec.x is held by kubectl-edit" in caught.value.message
    assert "ConfigMap n/b: field .spec.x is held by helm" in caught.value.message
    assert "--force-conflicts" in caught.value.fix
    assert receipt_of(api)["state"] == "begun"


def test_conflicts_are_taken_over_when_told() -> None:
    api = FakeApi()
    install(api, thing("a"))
    api.held = {"v1/ConfigMap/n/a": "kubectl-edit"}
    assert install(api, thing("a", x="2"), force=True).applied == ["v1/ConfigMap/n/a"]


def test_removal_deletes_the_receipts_objects_the_namespace_last_and_the_receipt() -> None:
    api = FakeApi()
    install(api, thing("n", "Namespace"), thing("a"))
    assert applyset.remove(api, "my_part") == ["v1/ConfigMap/n/a", "v1/Namespace//n"]
    assert api.objects == {}
    assert applyset.remove(api, "my_part") == []


def test_a_damaged_receipt_is_none_that_counts() -> None:
    api = FakeApi()
    install(api, thing("a"))
    api.objects[RECEIPT]["data"]["receipt"] = "{"
    found = applyset.read(api, "my_part")
    assert found is not None
    assert found["state"] == "damaged"
    install(api, thing("a"))
    assert receipt_of(api)["state"] == "complete"


def test_an_api_that_comes_back_is_waited_for() -> None:
    api = FakeApi()
    api.down = 3
    install(api, thing("a"))
    assert "v1/ConfigMap/n/a" in api.objects


def test_an_api_that_stays_away_is_an_error_with_its_words() -> None:
    api = FakeApi()
    api.down = 10**9
    with pytest.raises(HostError, match="connection refused") as caught:
        applyset.patiently(lambda: api.get_id("v1/ConfigMap/n/a"), wait_s=0.0)
    assert caught.value.code == "api-unreachable"


@pytest.mark.parametrize(
    ("status", "lacks"),
    [
        ({"observedGeneration": 1, "desiredNumberScheduled": 2, "numberReady": 2, "updatedNumberScheduled": 2}, ""),
        (
            {"observedGeneration": 1, "desiredNumberScheduled": 2, "numberReady": 2, "updatedNumberScheduled": 1},
            "1 of 2 pods ready",
        ),
        ({"observedGeneration": 0}, "not yet seen by its controller"),
    ],
)
def test_a_daemonset_is_rolled_out_when_all_its_pods_are_new_and_ready(status: dict[str, int], lacks: str) -> None:
    assert applyset.rollout_lacks({"kind": "DaemonSet", "metadata": {"generation": 1}, "status": status}) == lacks


@pytest.mark.parametrize(
    ("status", "lacks"),
    [
        ({"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}, ""),
        ({"replicas": 1, "updatedReplicas": 1}, "0 of 1 pods ready"),
        # What is ready is the old pod: the new one may never be.
        ({"replicas": 2, "updatedReplicas": 1, "readyReplicas": 1}, "new pods not ready yet, 1 of before still there"),
        ({"replicas": 4, "updatedReplicas": 1, "readyReplicas": 4}, "new pods not ready yet, 3 of before still there"),
    ],
)
def test_a_deployment_is_rolled_out_when_no_pod_of_before_is_left(status: dict[str, int], lacks: str) -> None:
    found = {"kind": "Deployment", "metadata": {"generation": 1}, "spec": {"replicas": 1}}
    assert applyset.rollout_lacks({**found, "status": {"observedGeneration": 1, **status}}) == lacks


def test_a_killed_run_does_not_forget_what_is_installed() -> None:
    api = FakeApi()
    old, new = {"v": {"digest": "1", "value": "1"}}, {"v": {"digest": "2", "value": "2"}}
    first = applyset.begin(api, {"component": "my_part", "arguments": old}, [])
    applyset.complete(api, first, [])
    assert "installed" not in receipt_of(api)
    for _ in range(2):  # killed, begun again, killed
        receipt = applyset.begin(api, {"component": "my_part", "arguments": new}, [])
        assert receipt_of(api)["installed"] == old
    assert applyset.complete(api, receipt, [])["arguments"] == new
    assert "installed" not in receipt_of(api)


def shared_namespace(name: str = "team") -> dict[str, Any]:
    found = thing(name, "Namespace")
    found["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "gpuctl"}
    return found


def test_a_namespace_of_somebody_else_is_neither_changed_nor_deleted() -> None:
    api = FakeApi()
    theirs = {"metadata": {"name": "team", "resourceVersion": 7, "managedFields": [{"manager": "kubectl-create"}]}}
    api.objects["v1/Namespace//team"] = theirs
    assert install(api, shared_namespace(), thing("a")).applied == ["v1/ConfigMap/n/a"]
    assert receipt_of(api)["state"] == "complete"
    assert install(api, thing("a")).deleted == []  # not wanted any more
    install(api, shared_namespace())
    assert applyset.remove(api, "my_part") == []
    assert api.objects == {"v1/Namespace//team": theirs}


def test_a_namespace_that_we_made_for_others_stays_with_whatever_is_in_it() -> None:
    api = FakeApi()
    assert install(api, shared_namespace()).applied == ["v1/Namespace//team"]
    assert install(api, shared_namespace()).applied == []
    assert install(api).deleted == []
    install(api, shared_namespace())
    assert applyset.remove(api, "my_part") == []
    assert "v1/Namespace//team" in api.objects


LEVEL = "pod-security.kubernetes.io/enforce"


def labels_of(api: FakeApi, name: str = "team") -> dict[str, str]:
    return dict(api.objects[f"v1/Namespace//{name}"]["metadata"]["labels"])


def test_a_namespace_that_is_made_has_its_level_and_may_get_another() -> None:
    api = FakeApi()
    install(api, with_level(shared_namespace(), "baseline"))
    assert labels_of(api)[LEVEL] == "baseline"
    install(api, with_level(shared_namespace(), "privileged"))
    assert labels_of(api)[LEVEL] == "privileged"


def test_a_namespace_that_is_there_is_not_labelled() -> None:
    api = FakeApi()
    install(api, shared_namespace())  # by an older release
    install(api, with_level(shared_namespace(), "baseline"))
    assert labels_of(api) == {"app.kubernetes.io/managed-by": "gpuctl"}


def test_only_namespaces_without_a_level_of_their_own_get_one() -> None:
    own = shared_namespace()
    own["metadata"]["labels"][LEVEL] = "privileged"
    assert with_level(own, "baseline") is own
    assert with_level(thing("a"), "baseline") == thing("a")
    assert with_level(shared_namespace(), "") == shared_namespace()


def test_what_is_to_be_kept_is_not_deleted() -> None:
    api = FakeApi()
    install(api, thing("a"), thing("old"))
    receipt = applyset.begin(api, {"component": "my_part", "revision": 2}, [thing("a")])
    assert applyset.apply_objects(api, receipt, [thing("a")], False, ["v1/ConfigMap/n/old"]).deleted == []
    assert "v1/ConfigMap/n/old" in api.objects


def test_the_end_of_a_namespace_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi()
    install(api, shared_namespace())
    api.objects["v1/Namespace//team"]["metadata"]["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    monkeypatch.setattr(applyset.time, "sleep", lambda _s: api.objects.pop("v1/Namespace//team", None))
    assert install(api, shared_namespace()).applied == ["v1/Namespace//team"]
    api.objects["v1/Namespace//team"]["metadata"]["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    with pytest.raises(HostError, match="has not ended within 0 s") as caught:
        applyset._settled(api, "v1/Namespace//team", wait_s=0.0)
    assert caught.value.code == "object-refused"
