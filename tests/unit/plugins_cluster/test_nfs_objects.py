"""Volumes, claims and the CSI driver as rendered, and what is seen to before they are applied."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import yaml

from bootstrap.hostside import gpuctl_applyset as applyset
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_kube import Api, KubeError
from tests.unit.plugins.test_role_files import compare

from .rendering import GOLDEN, render, value

SERVER = {"nfs_volumes_server_address": "10.0.0.9"}
EXPORT = {"nfs_volumes_server": "", "nfs_volumes_path": "/srv/nfs/kubedata", **SERVER}
MANY = [
    {"name": "nfs-kubedata", "namespaces": ["default", "wandb"], "capacity": "100Gi"},
    {"name": "datasets", "capacity": "2Ti", "folder": "sets/images"},
]
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "nfs_volumes/default.yaml": ("nfs_volumes", "nfs-volumes.yml.j2", SERVER),
    "nfs_volumes/own-server.yaml": (
        "nfs_volumes",
        "nfs-volumes.yml.j2",
        {**SERVER, "nfs_volumes_server": "nas.example", "nfs_volumes_path": "/export", "nfs_volumes_claims": MANY},
    ),
    "csi_driver_nfs/default.yaml": ("csi_driver_nfs", "csi-driver-nfs.yml.j2", EXPORT),
    "csi_driver_nfs/no-server.yaml": (
        "csi_driver_nfs",
        "csi-driver-nfs.yml.j2",
        {**EXPORT, "nfs_volumes_server_address": ""},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_objects_render_as_recorded(name: str) -> None:
    role, template, values = CASES[name]
    compare(GOLDEN / name, render(role, template, **values))


def objects(name: str) -> list[dict[str, Any]]:
    role, template, values = CASES[name]
    return [document for document in yaml.safe_load_all(render(role, template, **values)) if document]


def test_volume_and_claim_name_each_other() -> None:
    found = objects("nfs_volumes/own-server.yaml")
    volumes = {o["metadata"]["name"]: o["spec"] for o in found if o["kind"] == "PersistentVolume"}
    claims = [o for o in found if o["kind"] == "PersistentVolumeClaim"]
    assert len(volumes) == len(claims) == 3
    for claim in claims:
        volume = volumes[claim["spec"]["volumeName"]]
        assert volume["claimRef"] == {key: claim["metadata"][key] for key in ("namespace", "name")}
        assert volume["capacity"]["storage"] == claim["spec"]["resources"]["requests"]["storage"]
        assert volume["storageClassName"] == claim["spec"]["storageClassName"] == ""
        assert volume["persistentVolumeReclaimPolicy"] == "Retain"
    assert volumes["datasets.default"]["nfs"] == {"server": "nas.example", "path": "/export/sets/images"}


def test_what_is_waited_for_are_the_claims() -> None:
    found = value("nfs_volumes", "__nfs_volumes_waited", nfs_volumes_claims=MANY)
    claims = [o["metadata"] for o in objects("nfs_volumes/own-server.yaml") if o["kind"] == "PersistentVolumeClaim"]
    assert found == [f"v1/PersistentVolumeClaim/{c['namespace']}/{c['name']}" for c in claims]


@pytest.mark.parametrize(
    ("status", "lacks"),
    [({"phase": "Bound"}, ""), ({"phase": "Pending"}, "Pending, not Bound"), ({}, "without a phase, not Bound")],
)
def test_a_claim_is_waited_for_until_it_is_bound(status: dict[str, str], lacks: str) -> None:
    assert applyset.rollout_lacks({"kind": "PersistentVolumeClaim", "metadata": {}, "status": status}) == lacks


def test_every_part_of_the_driver_is_of_its_release() -> None:
    found = objects("csi_driver_nfs/default.yaml")
    pods = [o["spec"]["template"]["spec"] for o in found if o["kind"] in ("Deployment", "DaemonSet")]
    images = {c["name"]: c["image"] for pod in pods for c in pod["containers"]}
    assert images["nfs"].endswith(":v4.13.4")
    assert set(images) == {"csi-provisioner", "csi-resizer", "liveness-probe", "node-driver-registrar", "nfs"}
    for pod in pods:
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert all(mount["name"] in volumes for c in pod["containers"] for mount in c["volumeMounts"])
        assert [c["name"] for c in pod["containers"] if c["securityContext"].get("privileged")] == ["nfs"]
    accounts = {o["metadata"]["name"] for o in found if o["kind"] == "ServiceAccount"}
    assert accounts == {pod["serviceAccountName"] for pod in pods}


def test_every_object_has_a_field_that_tells_whose_it_is() -> None:
    """Server-side apply notes no owner of an object with nothing but a name: it would be left behind."""
    for name in CASES:
        for found in objects(name):
            content = set(found) - {"apiVersion", "kind", "metadata"}
            assert content or found["metadata"].get("labels"), found["metadata"]["name"]


def test_a_class_needs_a_server() -> None:
    assert [o["parameters"] for o in objects("csi_driver_nfs/default.yaml") if o["kind"] == "StorageClass"] == [
        {"server": "10.0.0.9", "share": "/srv/nfs/kubedata"}
    ]
    assert "StorageClass" not in {o["kind"] for o in objects("csi_driver_nfs/no-server.yaml")}


class Cluster(Api):
    """Objects in memory; keeps what was changed."""

    def __init__(self, *there: dict[str, Any]) -> None:
        self.objects = {
            f"v1/{o['kind']}/{o['metadata'].get('namespace', '')}/{o['metadata']['name']}": o for o in there
        }
        self.changes: list[Any] = []

    def get_id(self, identity: str) -> Any:
        if identity not in self.objects:
            raise KubeError(404, "not found")
        return self.objects[identity]

    def path_of(self, api_version: str, kind: str, namespace: str, name: str) -> str:
        return f"/{api_version}/{kind}/{namespace}/{name}"

    def request(self, method: str, path: str, body: Any = None, content_type: str = "") -> Any:
        del content_type
        self.changes.append((method, path, body))


WANTED = {
    "name": "data",
    "namespace": "jobs",
    "volume": "data.jobs",
    "capacity": "1024Mi",
    "server": "10.0.0.9",
    "path": "/srv/d",
}
JOBS = {"kind": "Namespace", "metadata": {"name": "jobs"}}


def volume(uid: str = "", path: str = "/srv/d", **metadata: str) -> dict[str, Any]:
    claim = {"namespace": "jobs", "name": "data", **({"uid": uid} if uid else {})}
    spec = {"nfs": {"server": "10.0.0.9", "path": path}, "claimRef": claim}
    return {"kind": "PersistentVolume", "metadata": {"name": "data.jobs", **metadata}, "spec": spec}


def claim(uid: str = "1", size: str = "1Gi", bound: str = "data.jobs", **metadata: str) -> dict[str, Any]:
    spec = {"volumeName": bound, "resources": {"requests": {"storage": size}}}
    meta = {"name": "data", "namespace": "jobs", "uid": uid, **metadata}
    return {"kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}


@pytest.fixture
def prepare(library: Callable[[str], ModuleType]) -> Callable[..., list[str]]:
    found = library("gpuctl_nfs_volumes").prepare
    return lambda api, check_mode=False: list(found(api, [WANTED], check_mode))


def test_a_namespace_is_made_where_it_lacks(prepare: Callable[..., list[str]]) -> None:
    api = Cluster()
    assert prepare(api, True) == ["make namespace jobs"]
    assert api.changes == []
    assert prepare(api) == ["make namespace jobs"]
    assert [(method, path, body["metadata"]["name"]) for method, path, body in api.changes] == [
        ("POST", "/api/v1/namespaces", "jobs")
    ]


def test_what_is_there_and_right_needs_nothing(prepare: Callable[..., list[str]]) -> None:
    api = Cluster(JOBS, volume("1"), claim("1"))
    assert prepare(api) == []
    assert api.changes == []


@pytest.mark.parametrize("there", [[volume("1")], [volume("1"), claim("2")]])
def test_a_volume_does_not_wait_for_a_claim_that_is_no_more(
    prepare: Callable[..., list[str]], there: list[dict[str, Any]]
) -> None:
    api = Cluster(JOBS, *there)
    assert prepare(api) == ["free volume data.jobs from a claim that was deleted"]
    [(method, path, body)] = api.changes
    assert (method, path) == ("PATCH", "/v1/PersistentVolume//data.jobs")
    assert json.dumps(body) == '{"spec": {"claimRef": {"uid": null, "resourceVersion": null}}}'


@pytest.mark.parametrize(
    ("there", "code", "words"),
    [
        ([volume(path="/srv/e")], "nfs-volume-fixed", "is 10.0.0.9:/srv/e, not 10.0.0.9:/srv/d"),
        ([claim(bound="pvc-7")], "nfs-volume-fixed", "is bound to volume pvc-7"),
        ([volume(), claim(size="2Gi")], "nfs-volume-fixed", "asks for 2Gi, not 1024Mi"),
        ([volume(deletionTimestamp="now")], "nfs-volume-leaving", "volume data.jobs is being deleted"),
        ([claim(deletionTimestamp="now")], "nfs-volume-leaving", "claim jobs/data is being deleted"),
    ],
)
def test_what_cannot_become_as_wanted_is_refused_before_anything_changes(
    prepare: Callable[..., list[str]], there: list[dict[str, Any]], code: str, words: str
) -> None:
    api = Cluster(*there)
    with pytest.raises(HostError, match=words) as caught:
        prepare(api)
    assert caught.value.code == code
    assert api.changes == []


@pytest.mark.parametrize(
    ("text", "size"),
    [("1Gi", 2**30), ("1024Mi", 2**30), ("1G", 10**9), ("5", 5), ("2k", 2000), ("x", -1), ("1.5Gi", -1)],
)
def test_sizes_are_compared_by_value(library: Callable[[str], ModuleType], text: str, size: int) -> None:
    assert library("gpuctl_nfs_volumes").quantity(text) == size
