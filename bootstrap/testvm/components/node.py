"""minikube's node image: a Debian with Docker, made by the recipe that minikube's module brings for its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.testvm.apt_sources import Sources
from bootstrap.testvm.components import aptrepo, dockerarchive, images, tools
from bootstrap.testvm.components.cache import digest_of, digest_tree
from bootstrap.testvm.components.catalog import Image
from bootstrap.testvm.components.images import Blob
from bootstrap.testvm.components.rootfs import proxy_options
from bootstrap.testvm.components.tarlayer import EPOCH
from bootstrap.testvm.rootfs import SHIELD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bootstrap.testvm.components.catalog import Node
    from bootstrap.testvm.components.signing import SigningKey

IMAGE = "node.tar"
OURS = Path(__file__).resolve().parent / "kicbase"
_DEADLINE_S = 1800
_SUITE = "docker"
_LEFT_OUT = ("man", "doc", "locale", "info", "lintian")
# minikube's own files: in its module → in the node, and whether they are programs
_KICBASE = {
    "entrypoint": ("usr/local/bin/entrypoint", True),
    "containerd.toml": ("etc/containerd/config.toml", False),
    "containerd_docker_io_hosts.toml": ("etc/containerd/certs.d/docker.io/hosts.toml", False),
    "10-network-security.conf": ("etc/sysctl.d/10-network-security.conf", False),
    "11-tcp-mtu-probing.conf": ("etc/sysctl.d/11-tcp-mtu-probing.conf", False),
    "automount/minikube-automount": ("usr/sbin/minikube-automount", True),
    "automount/minikube-automount.service": ("usr/lib/systemd/system/minikube-automount.service", False),
    "scheduled-stop/minikube-scheduled-stop": ("var/lib/minikube/scheduled-stop/minikube-scheduled-stop", True),
    "scheduled-stop/minikube-scheduled-stop.service": (
        "usr/lib/systemd/system/minikube-scheduled-stop.service",
        False,
    ),
}
_CRI_UNITS = ("cri-docker.service", "cri-docker.socket")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a node image is made of besides the catalogue: `entries` are components, the modules are folders."""

    entries: Mapping[str, Path]
    docker: Iterable[Path]
    minikube: Path
    version: str  # of minikube
    cri_dockerd: Path
    sources: Sources
    key: SigningKey


def digest(node: Node, sources: Sources, made_of: Iterable[str]) -> str:
    """What the image is; `made_of` are the digests of components."""
    here = Path(__file__)
    code = digest_tree(here, here.with_name("dockerarchive.py"), OURS)
    return digest_of([asdict(node), asdict(sources), code, *made_of])


def build(node: Node, inputs: Inputs, out: Path, log: Path) -> None:
    """Writes the image into `out` as a tar for `docker load`. GpuctlError "component-build-failed"."""
    work = out / "work"
    work.mkdir()
    _stage(node, inputs, work / "stage")
    aptrepo.write_repository(work / "apt", inputs.docker, inputs.key, datetime.now(UTC), _SUITE)
    layer = out / "layer.tar"
    _bootstrap(node, inputs, work, layer, log)
    shutil.rmtree(work)
    with layer.open("rb") as handle:
        layer_digest = f"sha256:{hashlib.file_digest(handle, 'sha256').hexdigest()}"
    dockerarchive.write(out / IMAGE, node.ref, config(node, layer_digest), [layer])
    layer.unlink()


def _stage(node: Node, inputs: Inputs, stage: Path) -> None:
    """Lays side by side what is copied over the fresh Debian."""
    shutil.copytree(OURS / "tree", stage)
    kicbase = inputs.minikube / "deploy" / "kicbase"
    for name, (target, is_program) in _KICBASE.items():
        _copy(kicbase / name, stage / target, 0o755 if is_program else 0o644)
    for name in _CRI_UNITS:
        _copy(inputs.cri_dockerd / "packaging" / "systemd" / name, stage / "usr/lib/systemd/system" / name, 0o644)
    for source, target in node.programs.items():
        component, program = source.split("/")
        _copy(inputs.entries[component] / program, stage / target.lstrip("/"), 0o755)
    # minikube compares it with its own.
    version = {"kicbase_version": node.ref.rpartition(":")[2], "minikube_version": inputs.version}
    (stage / "version.json").write_text(json.dumps(version) + "\n", encoding="ascii")
    # These become the modes of the node's own folders, whatever umask this machine has.
    for path in (stage, *stage.rglob("*")):
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _bootstrap(node: Node, inputs: Inputs, work: Path, layer: Path, log: Path) -> None:
    """Runs mmdebstrap, whose scripts all run: as root in namespaces of their own, so that nothing outlives us."""
    sources = inputs.sources
    (work / "docker.list").write_text(
        f"deb [signed-by={inputs.key.public}] copy:{work / 'apt'} {_SUITE} main\n", encoding="utf-8"
    )
    (work / "machine.sources").write_text(sources.deb822, encoding="utf-8")
    is_root = os.geteuid() == 0
    argv = [*(SHIELD if is_root else []), tools.need("mmdebstrap", "mmdebstrap"), "--variant=minbase", "--format=tar"]
    argv += [*(["--mode=root"] if is_root else []), *proxy_options(), "--skip=output/dev"]
    # Neither this folder nor the packages in it can be read by the user that apt would download as.
    argv += ['--aptopt=APT::Sandbox::User "root"', "--aptopt=Acquire::Languages none", "--dpkgopt=force-unsafe-io"]
    argv += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
    argv += [f"--include={','.join(node.packages)}", f"--customize-hook={OURS / 'customize'}"]
    argv += [sources.suite, str(layer), str(work / "machine.sources"), str(work / "docker.list")]
    env = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH), "LC_ALL": "C.UTF-8", "TMPDIR": str(work)}
    env |= {"NODE_STAGE": str(work / "stage")}
    tools.run("mmdebstrap", argv, log=log, timeout_s=_DEADLINE_S, env=env)


def config(node: Node, layer_digest: str) -> dict[str, Any]:
    """The image's configuration document."""
    image = Image(node.ref, {}, entrypoint=node.entrypoint, env=node.env)
    document = images.config(image, [Blob(layer_digest, 0)], os.uname().machine)
    document["config"] |= {"StopSignal": node.stop_signal, "ExposedPorts": {port: {} for port in node.ports}}
    return document
