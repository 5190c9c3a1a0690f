"""Where containerd, Docker and the kubelet keep their data, as people configure them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.hostside import gpuctl_facts_runtime as runtime
from bootstrap.hostside import gpuctl_toml
from bootstrap.probe.facts_json import from_json

OF_THE_CASE = 'version = 2\nroot = "/data/containerd"\ndisabled_plugins = ["cri"]\n'


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtime, "_flags", lambda _unit: [])
    for name in ("CONTAINERD_CONFIG", "DOCKER_CONFIG", "ETCD_MANIFEST"):
        monkeypatch.setattr(runtime, name, str(tmp_path / name))
    monkeypatch.setattr(runtime, "KUBELET_FILES", (str(tmp_path / "kubelet"),))


def configured(text: str, path: Path) -> dict[str, Any]:
    (path / "CONTAINERD_CONFIG").write_text(text)
    found = runtime.containerd()
    assert found is not None
    return found


@pytest.mark.parametrize("toml", [None, gpuctl_toml.parse], ids=["tomllib", "own"])
def test_the_root_of_a_containerd_is_read(toml: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if toml:
        monkeypatch.setattr(runtime, "toml", toml)
    found = configured(OF_THE_CASE, tmp_path)

    assert (found["root"], found["state"], found["error"], found["settings"]) == ("/data/containerd", None, None, [])
    facts = from_json("a", {"containerd": found})
    assert facts.containerd is not None
    assert (facts.containerd.root, facts.malformed) == ("/data/containerd", ())


def test_imports_and_flags_win_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "root.toml").write_text('root = "/data/imported/"\nstate = "/data/run"\n')
    text = 'root = "/data/main" # ours\nimports = ["site/*.toml", "/etc/containerd/conf.d/*.toml"]\n'
    text += '[debug]\nlevel = "info"\n'
    found = configured(text, tmp_path)

    assert (found["root"], found["state"]) == ("/data/imported", "/data/run")
    assert found["imports"] == [f"{tmp_path}/site/*.toml"]
    assert found["settings"] == ["debug.level"]
    monkeypatch.setattr(runtime, "PROGRAMS", (str(tmp_path),))
    monkeypatch.setattr(runtime, "_flags", lambda _unit: ["--root=/data/flag", "-c", "/opt/containerd.toml"])
    (tmp_path / "CONTAINERD_CONFIG").unlink()
    other = runtime.containerd()
    assert other is not None
    assert (other["root"], other["config"]) == ("/data/flag", "/opt/containerd.toml")
    monkeypatch.setattr(runtime, "RECEIPT", str(tmp_path))
    assert runtime.containerd() is None


def test_what_a_plugin_is_told_is_named(tmp_path: Path) -> None:
    text = """\
oom_score = -999
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.example.com/pause:3.9"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
"""
    assert configured(text, tmp_path)["settings"] == [
        "oom_score",
        'plugins."io.containerd.grpc.v1.cri".registry',
        'plugins."io.containerd.grpc.v1.cri".sandbox_image',
    ]


@pytest.mark.parametrize("text", ["root = ", "[[[", "root = 3", "root = []\nimports = 7", "imports = [1]", "\0"])
def test_a_damaged_file_is_no_root(text: str, tmp_path: Path) -> None:
    assert configured(text, tmp_path)["root"] is None


@given(st.text(max_size=60))
def test_no_text_is_too_odd(text: str) -> None:
    try:
        runtime.read_containerd(text)
    except ValueError:
        return


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ('{"data-root": "/data/docker"}', "/data/docker"),
        ('{"graph": "/data/docker/"}', "/data/docker"),
        ("{}", None),
        ("", None),
        ("[]", None),
        ('{"data-root": 7}', None),
        ("{", None),
    ],
)
def test_dockers_data_root(text: str, root: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "DOCKER_CONFIG").write_text(text)
    assert runtime.docker_root() == root
    monkeypatch.setattr(runtime.os.path, "exists", lambda _path: True)
    monkeypatch.setattr(runtime, "_flags", lambda _unit: ["-H", "fd://", "--data-root", "/data/flag"])
    assert runtime.docker_root() == "/data/flag"


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ('KUBELET_EXTRA_ARGS="--v=2 --root-dir=/data/kubelet"\n', "/data/kubelet"),
        ("KUBELET_EXTRA_ARGS=--v=2 --root-dir /data/kubelet/\n", "/data/kubelet"),
        ('# KUBELET_EXTRA_ARGS="--root-dir=/x"\n', None),
        ('KUBELET_EXTRA_ARGS="\n', None),
    ],
)
def test_the_kubelets_root(text: str, root: str | None, tmp_path: Path) -> None:
    (tmp_path / "kubelet").write_text(text)
    assert runtime.kubelet_root() == root


def test_only_what_is_configured_is_said(tmp_path: Path) -> None:
    assert runtime.data_roots(None) == {}
    (tmp_path / "ETCD_MANIFEST").write_text("    - --data-dir=/data/etcd\n")
    (tmp_path / "DOCKER_CONFIG").write_text(json.dumps({"data-root": "/data/docker"}))
    assert runtime.data_roots({"root": "/data/c"}) == {
        "containerd": "/data/c",
        "docker": "/data/docker",
        "etcd": "/data/etcd",
    }


def test_an_import_that_switches_kubernetes_interface_off_is_named(tmp_path: Path) -> None:
    """It would be imported by gpuctl's file as well; in the main file, which is replaced, it is the packages' own."""
    (tmp_path / "site.toml").write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    found = configured('imports = ["site.toml"]\n', tmp_path)
    assert found["error"] == f"{tmp_path}/site.toml disables the plugin cri"
