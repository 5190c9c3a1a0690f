"""The apt repository, the Debian packages, the layers and the images: right, and the same every time."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import tarfile
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.testvm.components import aptrepo, catalog, debs, images, rootfs, signing
from bootstrap.testvm.components.catalog import Image, Layer, Package
from bootstrap.testvm.components.tarlayer import LayerWriter

CATALOG = catalog.load()
WHEN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="needs gpg")


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, Path]:
    """Small files in place of the real programs of every component."""
    entries = {}
    for name, component in CATALOG.go.items():
        folder = tmp_path / "programs" / name
        folder.mkdir(parents=True)
        for program in component.programs:
            (folder / program).write_bytes(f"#!{name}/{program}\n".encode())
        entries[name] = folder
    return entries


def build_deb(name: str, programs: dict[str, Path], where: Path) -> Path:
    (where / "work").mkdir(parents=True)
    return debs.build(CATALOG.packages[name], CATALOG.go, programs, where / "work", where, where / "log")


def member_names(deb: Path) -> dict[str, str]:
    listing = subprocess.run(["dpkg-deb", "-c", str(deb)], capture_output=True, text=True, check=True).stdout
    return {row.split()[5].removeprefix("."): row.split()[0] for row in listing.splitlines()}


@needs_dpkg
def test_packages_come_out_the_same(tmp_path: Path, programs: dict[str, Path]) -> None:
    first, second = (build_deb("kubelet", programs, tmp_path / side) for side in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert first.name == f"kubelet_1.36.3-1.1_{debs.architecture()}.deb"


@needs_dpkg
def test_kubelet_brings_its_unit_and_the_drop_in(tmp_path: Path, programs: dict[str, Path]) -> None:
    names = member_names(build_deb("kubelet", programs, tmp_path / "out"))
    assert names["/usr/bin/kubelet"] == "-rwxr-xr-x"
    assert names["/usr/lib/systemd/system/kubelet.service"] == "-rw-r--r--"
    assert "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf" in names


@needs_dpkg
def test_what_lies_under_etc_is_the_operators(tmp_path: Path, programs: dict[str, Path]) -> None:
    deb = build_deb("containerd.io", programs, tmp_path / "out")
    shown = subprocess.run(["dpkg-deb", "-I", str(deb), "conffiles"], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["/etc/containerd/config.toml"]
    assert debs.fields(deb)["Depends"] == "runc"


def test_control_leaves_out_what_is_empty() -> None:
    text = debs.control(Package("p", "1-1", "does p", {}), "amd64", 7)
    assert "Depends" not in text
    assert text.endswith(f"Description: does p\n {debs.SECTION}\n")


@pytest.fixture
def repository(tmp_path: Path, programs: dict[str, Path]) -> tuple[Path, signing.SigningKey, dict[str, str]]:
    found = [build_deb(name, programs, tmp_path / name) for name in ("kubectl", "kubeadm")]
    key = signing.ensure_key(tmp_path / "keys")
    return tmp_path / "apt", key, aptrepo.write_repository(tmp_path / "apt", found, key, WHEN)


@needs_dpkg
@needs_gpg
def test_repository_is_signed_and_its_sums_are_right(
    repository: tuple[Path, signing.SigningKey, dict[str, str]],
) -> None:
    root, key, versions = repository
    assert versions == {"kubeadm": "1.36.3-1.1", "kubectl": "1.36.3-1.1"}
    dist = root / "dists" / "stable"
    sums = [line.split() for line in (dist / "Release").read_text().partition("SHA256:\n")[2].splitlines()]
    assert len(sums) == 2
    for digest, size, name in sums:
        content = (dist / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (digest, int(size))
    index = next(dist.glob("main/binary-*"))
    assert gzip.decompress((index / "Packages.gz").read_bytes()) == (index / "Packages").read_bytes()
    for paragraph in (index / "Packages").read_text().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if not line.startswith(" "))
        content = (root / fields["Filename"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == fields["SHA256"]
    assert key.private.stat().st_mode & 0o777 == 0o600
    assert len(key.fingerprint) == 40


@needs_dpkg
@needs_gpg
def test_a_changed_release_does_not_pass(
    repository: tuple[Path, signing.SigningKey, dict[str, str]], tmp_path: Path
) -> None:
    root, key, _ = repository
    ring = tmp_path / "ring.gpg"
    home = tmp_path / "g"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--no-autostart"]
    subprocess.run([*gpg, "-o", str(ring), "--dearmor", str(key.public)], check=True, capture_output=True)
    signed = root / "dists" / "stable" / "InRelease"
    check = ["gpgv", "--keyring", str(ring), str(signed)]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0
    signed.write_text(signed.read_text().replace("gpuctl", "someone", 1))
    assert subprocess.run(check, capture_output=True, check=False).returncode != 0


@needs_gpg
def test_the_key_is_made_once(tmp_path: Path) -> None:
    first = signing.ensure_key(tmp_path)
    assert signing.ensure_key(tmp_path) == first


@needs_dpkg
@needs_gpg
def test_a_package_that_is_there_twice_is_refused(tmp_path: Path, programs: dict[str, Path]) -> None:
    first = build_deb("kubectl", programs, tmp_path / "one")
    second = first.with_name("kubectl_copy.deb")
    shutil.copy(first, second)
    with pytest.raises(GpuctlError, match=r"kubectl \S+ is there twice"):
        aptrepo.write_repository(tmp_path / "apt", [first, second], signing.ensure_key(tmp_path / "keys"), WHEN)


def test_layers_do_not_depend_on_order_or_time(tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"content")
    for name, order in (("a", ("usr/bin/x", "etc/y")), ("b", ("etc/y", "usr/bin/x"))):
        source.touch()
        with LayerWriter(tmp_path / name) as layer:
            for path in order:
                layer.file(path, source, 0o755)
            layer.link("bin", "usr/bin")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with tarfile.open(tmp_path / "a") as tar:
        assert tar.getnames() == ["bin", "etc", "etc/y", "usr", "usr/bin", "usr/bin/x"]


def test_an_image_has_the_same_digest_twice_and_a_consistent_manifest(
    tmp_path: Path, programs: dict[str, Path]
) -> None:
    image = CATALOG.images["registry.k8s.io/etcd:3.6.8-0"]
    digests = []
    for side in ("a", "b"):
        layout = images.Layout(tmp_path / side)
        layout.start()
        images.write_top_layer(image, CATALOG.go, programs, tmp_path / f"{side}.tar")
        blob = images.add_image(layout, image, [], tmp_path / f"{side}.tar")
        layout.finish({image.ref: blob})
        digests.append(blob.digest)
    assert digests[0] == digests[1]
    assert images.references(layout.root) == {image.ref: digests[0]}
    for path in layout.blobs.iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    manifest = json.loads((layout.blobs / digests[0].removeprefix("sha256:")).read_text())
    settings = json.loads((layout.blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
    assert settings["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert settings["config"]["Entrypoint"] == ["/usr/local/bin/etcd"]


def test_another_program_is_another_image(tmp_path: Path, programs: dict[str, Path]) -> None:
    image = Image("a/b:1", {"etcd/etcd": "/etcd"})
    layout = images.Layout(tmp_path / "oci")
    layout.start()
    seen = set()
    for content in (b"1", b"2"):
        (programs["etcd"] / "etcd").write_bytes(content)
        top = tmp_path / "top.tar"
        images.write_top_layer(image, CATALOG.go, programs, top)
        seen.add(images.add_image(layout, image, [], top).digest)
        top.unlink()
    assert len(seen) == 2


def make_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mode, info.mtime = len(content), 0o644, 5
            tar.addfile(info, BytesIO(content))


def test_a_layer_holds_only_what_is_new(tmp_path: Path) -> None:
    below = {"usr/lib/libc.so": b"c", "usr/share/ca-certificates/x.crt": b"CERT\n"}
    make_tar(tmp_path / "below.tar", below)
    make_tar(
        tmp_path / "full.tar",
        below | {"usr/sbin/nft": b"n", "usr/share/doc/nft/readme": b"d", "var/lib/dpkg/status": b"s"},
    )
    layer = Layer("network", ("nftables",), "base", {"/usr/sbin/iptables": "xtables-nft-multi"})
    rootfs.write_layer(tmp_path / "full.tar", tmp_path / "below.tar", layer, tmp_path / "layer.tar")
    with tarfile.open(tmp_path / "layer.tar") as tar:
        assert {m.name for m in tar if not m.isdir()} == {"usr/sbin/nft", "usr/sbin/iptables"}


def test_the_lowest_layer_has_accounts_and_certificates(tmp_path: Path) -> None:
    make_tar(tmp_path / "full.tar", {"usr/share/ca-certificates/x.crt": b"CERT\n"})
    rootfs.write_layer(tmp_path / "full.tar", None, Layer("base", ("libc6",)), tmp_path / "layer.tar")
    with tarfile.open(tmp_path / "layer.tar") as tar:
        bundle = tar.extractfile("etc/ssl/certs/ca-certificates.crt")
        assert bundle is not None
        assert bundle.read() == b"CERT\n"
        assert "etc/passwd" in tar.getnames()


@needs_dpkg
@needs_gpg
def test_the_newest_of_several_versions_is_named(tmp_path: Path) -> None:
    found = []
    for version in ("1.9-1", "1.10-1", "1.10~rc1-1"):
        (tmp_path / version / "work").mkdir(parents=True)
        package = Package("p", version, "p", {})
        found.append(debs.build(package, {}, {}, tmp_path / version / "work", tmp_path / version, tmp_path / "log"))
    key = signing.ensure_key(tmp_path / "keys")
    assert aptrepo.write_repository(tmp_path / "apt", found, key, WHEN) == {"p": "1.10-1"}
    text = next(tmp_path.glob("apt/dists/stable/main/binary-*/Packages")).read_text()
    assert text.count("Package: p\n") == 3


@needs_dpkg
@needs_gpg
def test_suites_share_a_pool_and_nothing_else(tmp_path: Path, programs: dict[str, Path]) -> None:
    key = signing.ensure_key(tmp_path / "keys")
    for name, suite in (("kubectl", "stable"), ("kubeadm", "docker")):
        deb = build_deb(name, programs, tmp_path / name)
        assert list(aptrepo.write_repository(tmp_path / "apt", [deb], key, WHEN, suite)) == [name]
    assert len(list((tmp_path / "apt" / "pool").iterdir())) == 2
    for name, suite in (("kubectl", "stable"), ("kubeadm", "docker")):
        dist = tmp_path / "apt" / "dists" / suite
        assert next(dist.glob("main/binary-*/Packages")).read_text().count("Package: ") == 1
        assert f"Package: {name}\n" in next(dist.glob("main/binary-*/Packages")).read_text()
        assert f"Suite: {suite}\n" in (dist / "InRelease").read_text()
