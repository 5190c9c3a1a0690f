"""The parts for the minikube lane: made when asked for, taken when they are there, laid out as minikube looks."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.testvm.apt_sources import Sources
from bootstrap.testvm.components import (
    assemble,
    builder,
    catalog,
    debian,
    dockerarchive,
    golang,
    images,
    minikube,
    mirror,
    node,
    optional,
    parts,
    signing,
    tools,
)
from bootstrap.testvm.components.cache import Store
from bootstrap.testvm.components.catalog import Image
from bootstrap.testvm.components.parts import Progress
from bootstrap.testvm.components.tarlayer import LayerWriter

CATALOG = catalog.load()
KNOWN = CATALOG.minikube
CHAIN = golang.Toolchain("go", "go1.26.8")
ARCHIVE = """\
Types: deb
URIs: http://mirror/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://mirror/debian
Suites: bookworm bookworm-updates
Components: main
"""
SOURCES = Sources("bookworm", ARCHIVE, ("http://mirror/debian-security", "http://mirror/debian"), "")


def layout(root: Path, refs: set[str]) -> Path:
    made = images.Layout(root)
    made.start()
    manifests = {}
    for ref in sorted(refs):
        with LayerWriter(root / "top.tar") as writer:
            writer.file("program", ref.encode())
        manifests[ref] = images.add_image(made, Image(ref, {}, entrypoint=("/program",)), [], root / "top.tar")
        (root / "top.tar").unlink()
    made.finish(manifests)
    return root


def load(archive: Path, program: str = "program") -> dict[str, bytes]:
    """What `docker load` would make of it: image name → the program in its only layer."""
    with tarfile.open(archive) as tar:
        manifest = json.loads(read(tar, "manifest.json"))
        found = {}
        for image in manifest:
            config = json.loads(read(tar, image["Config"]))
            [name], [digest] = image["Layers"], config["rootfs"]["diff_ids"]
            content = read(tar, name)
            assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
            layer = archive.with_name("unpacked.tar")
            layer.write_bytes(content)
            with tarfile.open(layer) as inner:
                found |= {ref: read(inner, program) for ref in image["RepoTags"]}
    return found


def read(tar: tarfile.TarFile, name: str) -> bytes:
    handle = tar.extractfile(name)
    assert handle is not None
    return handle.read()


@pytest.fixture
def entries(tmp_path: Path) -> dict[str, Path]:
    for name in ("kubeadm", "kubectl", "kubelet"):
        place = tmp_path / "in" / "kubernetes" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name)
    (tmp_path / "in" / "node").mkdir()
    (tmp_path / "in" / "node" / node.IMAGE).write_text("the node")
    layout(tmp_path / "in" / "images", {*KNOWN.images, *KNOWN.addons.values(), *KNOWN.jobs})
    (tmp_path / "in" / "pause").mkdir()
    (tmp_path / "in" / "pause" / "pause").write_text("does nothing")
    places = {"kubernetes": "kubernetes", "pause": "pause", minikube.NODE: "node", assemble.IMAGES: "images"}
    return {name: tmp_path / "in" / folder for name, folder in places.items()}


def test_the_bundle_has_what_minikube_looks_for(tmp_path: Path, entries: dict[str, Path]) -> None:
    (tmp_path / "out").mkdir()
    minikube.write_bundle(CATALOG, entries, entries[assemble.IMAGES], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [minikube.FILE]
    arch = minikube.architecture()
    with tarfile.open(tmp_path / "out" / minikube.FILE) as tar:
        modes = {member.name: member.mode for member in tar}
        assert modes[f"cache/linux/{arch}/v1.36.3/kubelet"] == 0o755
        assert modes[f"cache/images/{arch}/registry.k8s.io/kube-proxy_v1.36.3"] == 0o644
        assert read(tar, "node/kicbase.tar") == b"the node"
        assert json.loads(read(tar, "bundle.json")) == {
            "addon_images": {"NvidiaDevicePlugin": "nvcr.io/nvidia/k8s-device-plugin:v0.18.0"},
            "base_image": "local/kicbase:v0.0.50",
            "cni": "bridge",
            "kubernetes_version": "v1.36.3",
        }
        for name in ("storage-provisioner_v5", "NvidiaDevicePlugin.tar"):
            [member] = [each for each in modes if each.endswith(f"/{name}")]
            (tmp_path / name).write_bytes(read(tar, member))
    provisioner = load(tmp_path / "storage-provisioner_v5", "storage-provisioner")
    assert provisioner == {"gcr.io/k8s-minikube/storage-provisioner:v5": b"does nothing"}
    assert list(load(tmp_path / "NvidiaDevicePlugin.tar")) == ["nvcr.io/nvidia/k8s-device-plugin:v0.18.0"]


def test_everything_in_the_bundle_is_in_the_catalogue() -> None:
    assert set(KNOWN.addons.values()) <= set(CATALOG.images)
    assert set(KNOWN.images) == {ref for ref in CATALOG.images if ref.startswith("registry.k8s.io/")}
    assert not set(KNOWN.stand_ins) & set(CATALOG.images)
    for source in KNOWN.node.programs:
        component, program = source.split("/")
        assert program in CATALOG.go[component].programs
    assert set(KNOWN.docker_packages) & set(KNOWN.node.packages) == {"containerd", "docker-cli", "docker.io"}


def test_an_image_comes_out_the_same_twice(tmp_path: Path) -> None:
    source = layout(tmp_path / "oci", {"x.io/a:1"})
    for side in ("a", "b"):
        dockerarchive.of_layout(tmp_path / side, source, "x.io/a:1")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert load(tmp_path / "a") == {"x.io/a:1": b"x.io/a:1"}


def test_the_node_says_how_it_starts_and_ends() -> None:
    config = node.config(KNOWN.node, "sha256:1")
    assert config["config"]["Entrypoint"] == ["/usr/local/bin/entrypoint", "/sbin/init"]
    assert config["config"]["StopSignal"] == "SIGRTMIN+3"
    assert "container=docker" in config["config"]["Env"]
    assert config["rootfs"]["diff_ids"] == ["sha256:1"]


def test_what_is_served_has_its_sums(tmp_path: Path) -> None:
    assert minikube.lay({}, tmp_path / "none") == {}
    assert not (tmp_path / "none").exists()
    for name, file in (("program", "minikube"), ("bundle", minikube.FILE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(name)
    sums = minikube.lay({"minikube": tmp_path / "program", minikube.BUNDLE: tmp_path / "bundle"}, tmp_path / "out")
    assert sums[minikube.FILE] == hashlib.sha256(b"bundle").hexdigest()
    checked = subprocess.run(["sha256sum", "-c", mirror.SUMS], cwd=tmp_path / "out", check=False, capture_output=True)
    assert checked.returncode == 0
    assert len(checked.stdout.splitlines()) == 2


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was made, by the steps whose work is replaced by an empty file."""
    made: list[str] = []

    def download(_sources: Sources, _suite: str, _packages: object, out: Path, _log: Path) -> None:
        made.append(minikube.DOCKER)
        (out / "docker.io.deb").touch()

    def build(_node: object, inputs: node.Inputs, out: Path, _log: Path) -> None:
        made.append(minikube.NODE)
        assert [path.name for path in inputs.docker] == ["docker.io.deb"]
        (out / node.IMAGE).write_text("the node")

    monkeypatch.setattr(debian, "download", download)
    monkeypatch.setattr(node, "build", build)
    monkeypatch.setattr(golang, "source", lambda item, _chain: Path("/module") / item.name)
    monkeypatch.setattr(signing, "ensure_key", lambda folder: signing.SigningKey(folder, folder, "AB" * 20))
    monkeypatch.setattr("bootstrap.testvm.apt_sources.machine_sources", lambda: SOURCES)
    return made


def make(tmp_path: Path, entries: dict[str, Path], said: list[Progress], groups: frozenset[str]) -> parts.Builder:
    build = parts.Builder(CATALOG, Store(tmp_path / "cache"), said.append, frozenset(), groups)
    build.entries |= {name: path for name, path in entries.items() if name != minikube.NODE}
    build.entries |= dict.fromkeys({source.partition("/")[0] for source in KNOWN.node.programs}, tmp_path)
    build.entries["minikube"] = tmp_path
    build.digests |= {name: name for name in build.entries}
    return build


def test_the_parts_are_made_when_asked_for_and_then_taken(
    tmp_path: Path, entries: dict[str, Path], made: list[str]
) -> None:
    said: list[Progress] = []
    optional.add_minikube(make(tmp_path, entries, said, frozenset()), CHAIN)
    assert (made, said) == ([], [])
    asked = make(tmp_path, entries, said, frozenset({minikube.GROUP}))
    optional.add_minikube(asked, CHAIN)
    assert made == [minikube.DOCKER, minikube.NODE]
    assert set(minikube.PARTS) <= set(asked.entries)
    said.clear()
    unasked = make(tmp_path, entries, said, frozenset())
    optional.add_minikube(unasked, CHAIN)
    assert [(one.component, one.state) for one in said] == [(name, "cached") for name in minikube.PARTS]
    assert unasked.entries == asked.entries


def test_a_part_of_which_something_changed_is_not_taken(
    tmp_path: Path, entries: dict[str, Path], made: list[str]
) -> None:
    optional.add_minikube(make(tmp_path, entries, [], frozenset({minikube.GROUP})), CHAIN)
    later = make(tmp_path, entries, [], frozenset())
    later.digests[assemble.IMAGES] = "others"
    optional.add_minikube(later, CHAIN)
    assert minikube.NODE in later.entries
    assert minikube.BUNDLE not in later.entries
    assert len(made) == 2


def test_a_group_that_is_not_there_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(GpuctlError, match="unknown group of parts kind") as caught:
        builder.build(lambda _: None, groups=["kind"])
    assert caught.value.problems[0].fix == "one of: minikube, batch, torch"


def test_packages_come_checked_from_the_archive_of_this_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(_tool: str, argv: list[str], **_: object) -> None:
        asked.append(argv)
        [source] = [part.partition("=")[2] for part in argv if part.startswith("Dir::Etc::SourceList=")]
        text = Path(source).read_text()
        assert "URIs: http://mirror/debian\nSuites: sid\n" in text
        assert "Signed-By: /usr/share/keyrings/" in text

    monkeypatch.setattr(tools, "run", run)
    monkeypatch.setattr(tools, "need", lambda tool, _package: tool)
    debian.download(SOURCES, "sid", ["docker.io"], tmp_path, tmp_path / "log")
    assert [argv[-1] for argv in asked] == ["update", "docker.io"]
    for argv in asked:
        assert "Acquire::AllowInsecureRepositories=false" in argv
        places = {part.partition("=")[2] for part in argv if part.startswith("Dir::")}
        assert all(place.startswith(str(tmp_path)) or place == "/dev/null" for place in places)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(GpuctlError, match="name no archive"):
        debian.download(Sources("", "", (), ""), "sid", ["docker.io"], tmp_path, tmp_path / "log")


@pytest.mark.parametrize("option", [["--bundle", "{}"], ["--bundle={}"], ["-b", "{}"]])
def test_the_double_of_runc_asks_for_no_more_than_is_allowed(tmp_path: Path, option: list[str]) -> None:
    real = tmp_path / "runc.real"
    real.write_text('#!/bin/sh\necho "$@"\n')
    double = tmp_path / "runc"
    double.write_text((node.OURS / "tree/usr/sbin/runc").read_text().replace("/usr/sbin/runc.real", str(real)))
    for file in (real, double):
        file.chmod(0o755)
    config = tmp_path / "config.json"
    config.write_text(
        '{"process":{"rlimits":[{"type":"RLIMIT_NOFILE","hard":99999999,"soft":99999998}],"oomScoreAdj":-998},"x":-1}'
    )
    arguments = ["--root", "/run", "create", *(part.format(tmp_path) for part in option), "id"]
    limited = ["sh", "-c", 'ulimit -n 1000 && exec "$@"', "sh", str(double), *arguments]
    assert subprocess.run(limited, capture_output=True, text=True, check=True).stdout.split() == arguments
    assert json.loads(config.read_text()) == {
        "process": {"rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1000, "soft": 1000}], "oomScoreAdj": 0},
        "x": -1,
    }


def test_what_is_laid_over_the_node_has_fixed_modes(tmp_path: Path) -> None:
    kicbase, units = tmp_path / "minikube/deploy/kicbase", tmp_path / "cri/packaging/systemd"
    for place in (*(kicbase / name for name in node._KICBASE), *(units / name for name in node._CRI_UNITS)):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(place.name)
        place.chmod(0o400)
    entries = {}
    for source in KNOWN.node.programs:
        component, program = source.split("/")
        entries[component] = tmp_path / component
        entries[component].mkdir(exist_ok=True)
        (entries[component] / program).touch(0o700)
    key = signing.SigningKey(tmp_path, tmp_path, "AB" * 20)
    old = os.umask(0o077)
    try:
        node._stage(
            KNOWN.node,
            node.Inputs(entries, [], tmp_path / "minikube", "v1.38.1", tmp_path / "cri", SOURCES, key),
            tmp_path / "stage",
        )
    finally:
        os.umask(old)
    modes = {
        str(path.relative_to(tmp_path / "stage")): path.stat().st_mode & 0o777
        for path in (tmp_path / "stage").rglob("*")
    }
    assert modes["usr"] == modes["usr/sbin/runc"] == modes["usr/bin/cri-dockerd"] == 0o755
    assert modes["usr/local/bin/entrypoint"] == 0o755
    assert modes["etc/containerd/config.toml"] == modes["usr/lib/systemd/system/cri-docker.socket"] == 0o644
    assert set(modes.values()) == {0o755, 0o644}
    assert json.loads((tmp_path / "stage/version.json").read_text())["minikube_version"] == "v1.38.1"
