"""What addons of upstream's files are made of: what is rendered here, and what the hosts do with it."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from bootstrap.hostside import gpuctl_serving as serving
from bootstrap.hostside import gpuctl_upstream as upstream
from bootstrap.hostside import gpuctl_webhookcert as webhookcert
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_kube import Api, KubeError, object_id
from bootstrap.hostside.gpuctl_module import HostModule
from tests.unit.plugins.test_role_files import compare

from .rendering import GOLDEN, render, value

IMAGE = {"cluster_python_image": "docker.io/library/python:3.11-slim-bookworm"}
ROLES = ("volcano", "jobset", "kubeflow_training_operator")
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{f"{role}/{name}.yaml": (role, f"{name}.yml.j2", IMAGE) for role in ROLES for name in ("kustomization", "trial")},
    "kubeflow_training_operator/gang.yaml": (
        "kubeflow_training_operator",
        "kustomization.yml.j2",
        {**IMAGE, "kubeflow_training_operator_gang": True},
    ),
    "kubeflow_training_operator/init-container.yaml": ("kubeflow_training_operator", "init-container.yml.j2", IMAGE),
}
KUBECTL = """#!/bin/sh
# Stands for kubectl: `kustomize` joins the files, `create` prints them as they are.
if [ "$1" = kustomize ]; then cat "$2"/some/*.json "$2"/kustomization.yaml > "$4"; else cat "${8}"; fi
"""


@pytest.mark.parametrize("name", CASES)
def test_what_is_rendered_is_as_recorded(name: str) -> None:
    role, template, values = CASES[name]
    compare(GOLDEN / name, render(role, template, **values))


@pytest.mark.parametrize("role", ROLES)
def test_every_file_that_is_put_together_has_a_sum(role: str) -> None:
    files = value(role, f"__{role}_upstream")["files"]
    overlay = yaml.safe_load(render(role, "kustomization.yml.j2", **IMAGE))
    for resource in overlay["resources"]:
        assert resource in files or f"{resource}/kustomization.yaml" in files
    assert all(len(sha256) == 64 for sha256 in files.values())


@pytest.mark.parametrize("role", ROLES)
def test_another_release_has_no_sums_until_they_are_given(role: str) -> None:
    other = {f"{role}_version": "9.9.9"}
    assert value(role, f"__{role}_upstream", **other)["files"] == {}
    given = {"some/file.yaml": "0" * 64}
    assert value(role, f"__{role}_upstream", **other, **{f"{role}_source_files": given})["files"] == given
    assert "9.9.9" in value(role, f"__{role}_upstream", **other)["url"]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, str]]:
    """Upstream's address and files; kubectl is a stand-in that joins documents."""
    folder, programs = tmp_path / "upstream" / "some", tmp_path / "bin"
    folder.mkdir(parents=True)
    programs.mkdir()
    (programs / "kubectl").write_text(KUBECTL)
    (programs / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    thing = {"kind": "Thing", "metadata": {"name": "a", "creationTimestamp": None}, "status": {"x": 1}}
    (folder / "a.json").write_text(json.dumps({"kind": "List", "items": [thing]}))
    return f"file://{tmp_path / 'upstream'}", {"some/a.json": sum_of(folder / "a.json")}


def sum_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_upstreams_files_and_ours_become_objects(source: tuple[str, dict[str, str]]) -> None:
    url, files = source
    ours = json.dumps({"kind": "Thing", "metadata": {"name": "b"}})
    found = upstream.objects(url, files, ours)
    assert found == [{"kind": "Thing", "metadata": {"name": name}} for name in ("a", "b")]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"some/a.json": "0" * 64}, "manifest-checksum"),
        ({"some/b.json": "0" * 64}, "manifest-download-failed"),
        ({"../a.json": "0" * 64}, "manifest-invalid"),
    ],
)
def test_files_that_are_not_those_are_refused(
    source: tuple[str, dict[str, str]], change: dict[str, str], code: str
) -> None:
    with pytest.raises(HostError) as caught:
        upstream.objects(source[0], change, "{}")
    assert (caught.value.code, bool(caught.value.fix)) == (code, True)


def test_what_kubectl_says_is_told(source: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    (tmp_path / "bin" / "kubectl").write_text("#!/bin/sh\necho 'no such field: specc' >&2\nexit 1\n")
    with pytest.raises(HostError, match="no such field: specc") as caught:
        upstream.objects(*source, "{}")
    assert caught.value.code == "manifest-invalid"
    with pytest.raises(HostError, match="no JSON"):
        upstream.parsed('{"kind": "A"} nonsense')


class Cluster(Api):
    """Objects in memory. `refusals` are what it says before it takes anything, one after the other."""

    def __init__(self, *refusals: KubeError) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.refusals = list(refusals)
        self.forgotten = 0
        self.asked: list[str] = []

    def path_of(self, api_version: str, kind: str, namespace: str, name: str) -> str:
        return "/".join((api_version, kind, namespace, name))

    def forget_kinds(self) -> None:
        self.forgotten += 1

    def get_id(self, identity: str) -> Any:
        if identity not in self.objects:
            raise KubeError(404, "not found")
        return self.objects[identity]

    def apply(self, obj: Mapping[str, Any], force: bool = False) -> Any:
        del force
        self._refuse()
        self.objects[object_id(obj)] = {**obj, "status": {"state": {"phase": "Completed"}}}
        return obj

    def request(self, method: str, path: str, body: Any = None, content_type: str = "") -> Any:
        del body, content_type
        self.asked.append(f"{method} {path}")
        if method == "PATCH":
            self._refuse()
        elif self.objects.pop(path.partition("?")[0], None) is None:
            raise KubeError(404, "not found")

    def _refuse(self) -> None:
        if self.refusals:
            raise self.refusals.pop(0)


JOB = {"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "metadata": {"name": "t", "namespace": "default"}}
DONE = {"/status/state/phase": "Completed"}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_POLL_S", 0.0)


def test_an_object_is_asked_for_until_webhooks_let_it_pass() -> None:
    api = Cluster(KubeError(404, "no kind"), KubeError(500, "failed calling webhook"))
    serving.wait_admitted(api, JOB, 5)
    assert api.forgotten == 2
    assert all("dryRun=All" in asked for asked in api.asked)
    assert api.objects == {}


def test_what_a_webhook_refuses_is_not_asked_again() -> None:
    with pytest.raises(HostError, match="queue not found") as caught:
        serving.wait_admitted(Cluster(KubeError(403, "queue not found")), JOB, 5)
    assert caught.value.code == "object-refused"


def test_who_never_answers_is_told_with_what_was_said() -> None:
    with pytest.raises(HostError, match="failed calling webhook") as caught:
        serving.wait_admitted(Cluster(KubeError(500, "failed calling webhook")), JOB, 0)
    assert caught.value.code == "rollout-timeout"


def test_a_queue_is_waited_for_until_it_is_open() -> None:
    api, queue = Cluster(), "scheduling.volcano.sh/v1beta1/Queue//default"
    with pytest.raises(HostError, match="Queue default is not as it has to be after 0 s: not found"):
        serving.wait_there(api, queue, {"/status/state": "Open"}, 0)
    api.objects[queue] = {}
    with pytest.raises(HostError, match="/status/state is empty"):
        serving.wait_there(api, queue, {"/status/state": "Open"}, 0)
    api.objects[queue] = {"status": {"state": "Open"}}
    serving.wait_there(api, queue, {"/status/state": "Open"}, 0)


def test_a_trial_is_made_followed_and_taken_away() -> None:
    api = Cluster(KubeError(500, "not yet"))
    api.objects[object_id(JOB)] = {**JOB, "left": "by an earlier trial"}
    serving.try_out(api, JOB, DONE, 5)
    assert api.objects == {}


def test_a_trial_that_ends_otherwise_is_told_and_taken_away() -> None:
    api = Cluster()
    with pytest.raises(HostError, match="did not end well within 0 s: Completed") as caught:
        serving.try_out(api, JOB, {"/status/state/phase": "Running"}, 0.0)
    assert caught.value.code == "trial-failed"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="SKIPPED webhook certificates: no openssl here")
def test_a_webhooks_certificate_is_made_once(tmp_path: Path) -> None:
    api = Cluster()
    made = webhookcert.secret(api, "volcano-system", "cert", "hook")
    for key in ("ca.crt", "tls.crt"):
        (tmp_path / key).write_bytes(base64.b64decode(made["data"][key]))
    checked = subprocess.run(
        ["openssl", "verify", "-CAfile", "ca.crt", "-verify_hostname", "hook.volcano-system.svc", "tls.crt"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    api.objects[object_id(made)] = made
    assert webhookcert.secret(api, "volcano-system", "cert", "hook") == made
    made["data"].pop("tls.key")
    assert webhookcert.secret(api, "volcano-system", "cert", "hook")["data"]["ca.crt"] != made["data"]["ca.crt"]


def test_without_openssl_its_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="openssl: not installed") as caught:
        webhookcert.secret(Cluster(), "volcano-system", "cert", "hook")
    assert "openssl" in caught.value.fix


def test_without_changes_nothing_is_fetched_and_nothing_forgotten(
    library: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check mode: what comes of upstream's files is what the receipt has."""
    module, api = library("gpuctl_objects"), Cluster()
    api.objects["v1/Thing//a"] = {}
    receipt = {"objects": {"v1/Thing//a": "", "v1/Thing//gone": ""}}
    monkeypatch.setattr(module.applyset, "connect", lambda: api)
    monkeypatch.setattr(module.applyset, "read", lambda _api, _component: receipt)
    given: dict[str, Any] = {
        "component": "volcano", "state": "present", "objects": [JOB], "trial": "trial.yml.j2", "keep": [],
        "upstream": {"url": "https://nowhere.invalid", "files": {}, "overlay": ""},
    }  # fmt: skip
    found = module.act(HostModule(given, check_mode=True))
    assert found == {"changed": True, "applied": ["v1/Thing//gone"], "deleted": []}
    found = module.act(HostModule({**given, "state": "tried", "objects": [JOB]}, check_mode=True))
    assert not found["changed"]
