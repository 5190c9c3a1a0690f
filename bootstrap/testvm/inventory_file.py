"""The inventory of a lab: an ordinary Ansible INI file with the settings that such hosts need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import Problem, settings_error
from bootstrap.inventory.load import LAB_MARK
from bootstrap.testvm import mirror, ssh, state
from bootstrap.testvm.names import CONTROL_PLANE

if TYPE_CHECKING:
    from bootstrap.testvm.names import LabPaths
    from bootstrap.testvm.state import HostRecord, LabRecord

# The upstream registries whose images a cluster of these roles pulls.
REGISTRIES = ("registry.k8s.io", "ghcr.io", "nvcr.io", "docker.io")
APT_SOURCES = ("containerd", "kubeadm", "nvidia_container_toolkit", "nvidia_driver")
MINIKUBE_APT_SOURCES = ("nvidia_container_toolkit", "nvidia_driver")
MINIKUBE_SETTINGS = {
    "program": ("minikube_download_url", "minikube_sha256"),
    "bundle": ("minikube_bundle_url", "minikube_bundle_sha256"),
}
# Free space is that of the whole machine's disk, so the default (a share of it) says nothing about a host.
KUBELET = {
    "evictionHard": {
        "imagefs.available": "1Gi", "imagefs.inodesFree": "1%", "memory.available": "100Mi",
        "nodefs.available": "1Gi", "nodefs.inodesFree": "1%",
    },
    "imageGCHighThresholdPercent": 99,
    "imageGCLowThresholdPercent": 98,
}  # fmt: skip
KUBE_PROXY = {"conntrack": {"maxPerCore": 0, "min": 0}}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rendering depends on besides the record."""

    record: LabRecord
    key: str
    common_arguments: str
    ca: str
    cgroup_v1: bool
    wheels: bool = False  # whether the mirror has what W&B Launch needs
    minikube: tuple[tuple[str, tuple[str, str]], ...] = ()  # what the mirror has for minikube, as mirror.py says it
    manifests: tuple[str, ...] = ()  # roles whose files of upstream the mirror has
    digests: tuple[tuple[str, str], ...] = ()  # image → digest in the mirror


def render(facts: Facts) -> str:
    """The text of lab.ini; the same facts give the same bytes."""
    record = facts.record
    lines = [f"{LAB_MARK}{record.name}; an edited file is left alone."]
    for group, members in _groups(record).items():
        lines += ["", f"[{group}]", *(f"{host.name} ansible_host={host.address}" for host in members)]
    lines += ["", "[all:vars]", "ansible_user=root", f"ansible_ssh_private_key_file={facts.key}"]
    lines += ["# The lab's own host keys, and no others.", f"ansible_ssh_common_args={facts.common_arguments}"]
    lines += _minikube(facts) if record.lane == "minikube" else _kubeadm(facts)
    return "\n".join(lines) + "\n"


def _groups(record: LabRecord) -> dict[str, list[HostRecord]]:
    """Group → its hosts."""
    if record.lane == "minikube":
        return {"minikube": list(record.hosts)}
    first = [host for host in record.hosts if host.name == CONTROL_PLANE]
    return {"control_plane": first, "workers": [host for host in record.hosts if host.name != CONTROL_PLANE]}


def _kubeadm(facts: Facts) -> list[str]:
    """Settings of a cluster by kubeadm."""
    record = facts.record
    lines = ["", f"cluster_name={record.name}", f"cluster_endpoint={record.name}-api", ""]
    if facts.cgroup_v1:
        lines += [
            "# This machine has cgroup v1, which kubelet and kubeadm refuse unless told.",
            "kubeadm_allow_cgroup_v1=true",
        ]
    if record.backend == "nspawn":
        lines += _shared()
    return lines + (_mirror(facts) if record.mirror_url else [])


def _shared() -> list[str]:
    """Settings for hosts that have no disk and no kernel of their own."""
    lines = ["# All hosts share this machine's disk: shares of it say nothing about one host."]
    lines += [f"kubeadm_kubelet_config={json.dumps(KUBELET)}"]
    lines += ["# The connection table's size is fixed in a network namespace: kube-proxy leaves it as it is."]
    return [*lines, f"kubeadm_kube_proxy_config={json.dumps(KUBE_PROXY)}"]


def _minikube(facts: Facts) -> list[str]:
    """Settings of a minikube on the one host."""
    lines: list[str] = []
    if facts.cgroup_v1:
        lines += ["", "# This machine has cgroup v1, which kubelet refuses unless told."]
        lines += [f"minikube_extra_config={json.dumps(['kubelet.fail-cgroupv1=false'])}"]
    if not facts.record.mirror_url:
        return lines
    lines += _sources(facts, MINIKUBE_APT_SOURCES)
    lines += [
        "# Docker as Debian packages it, from a newer Debian: in a suite of its own.",
        "docker_source=distribution",
    ]
    lines += [f"docker_apt_source={json.dumps(_source(facts, 'docker'))}"]
    lines += _wheels(facts)
    for name, (path, checksum) in facts.minikube:
        url, sha256 = MINIKUBE_SETTINGS[name]
        lines += [f"{url}={facts.record.mirror_url}/{path}", f"{sha256}={checksum}"]
    return lines


def _source(facts: Facts, suite: str) -> dict[str, str]:
    """A suite of the mirror's apt repository, as roles take it."""
    url = facts.record.mirror_url
    return {
        "url": f"{url}/apt", "suite": suite, "components": "main",
        "key_url": f"{url}/keys/gpuctl-mirror.asc", "key_fingerprint": facts.record.mirror_fingerprint,
    }  # fmt: skip


def _sources(facts: Facts, components: tuple[str, ...]) -> list[str]:
    """The mirror as the place that components come from."""
    lines = ["", "# Components come from the lab's own mirror, as at a site without internet access."]
    lines += [f"cluster_ca_file={facts.ca}"]
    return lines + [f"{name}_apt_source={json.dumps(_source(facts, 'stable'))}" for name in components]


def _wheels(facts: Facts) -> list[str]:
    return [f"launch_agent_host_wheels_url={facts.record.mirror_url}/wheels/"] if facts.wheels else []


def _mirror(facts: Facts) -> list[str]:
    url = facts.record.mirror_url
    lines = _sources(facts, APT_SOURCES)
    lines += _wheels(facts)
    lines += [f"{role}_source={url}/manifests/{role}" for role in facts.manifests]
    lines += [f"containerd_registry_mirrors={json.dumps(dict.fromkeys(REGISTRIES, url))}"]
    if facts.digests:
        lines += ["# As the build of the mirror noted them: its images are not upstream's."]
        lines += [f"cluster_image_digests={json.dumps(dict(facts.digests))}"]
    return lines


def digest(text: str) -> str:
    """SHA-256 of a file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_free(path: Path, record: LabRecord | None) -> None:
    """Raise GpuctlError `inventory-taken` where a file is that this lab did not write."""
    if path.exists() and str(path) not in dict(record.inventories if record else ()):
        text = path.read_text(errors="replace") if path.is_file() else ""
        if record is None or not text.startswith(f"{LAB_MARK}{record.name};"):
            raise settings_error(
                Problem(
                    "inventory-taken",
                    f"{path} is there and is not this lab's inventory",
                    "move it away, or name another file with --inventory",
                    at=str(path),
                )
            )


def write(
    paths: LabPaths, record: LabRecord, path: Path, *, cgroup_v1: bool, report: Callable[[str, str], None]
) -> LabRecord:
    """Write the inventory, unless a person edited it; return the record that knows it (saved before the file is)."""
    wheels = bool(record.mirror_root) and (Path(record.mirror_root) / "wheels").is_dir()
    parts = mirror.minikube_files(Path(record.mirror_root)) if record.mirror_root else {}
    facts = Facts(
        record,
        str(paths.key),
        ssh.common_arguments(paths),
        str(paths.ca),
        cgroup_v1,
        wheels,
        tuple(sorted(parts.items())),
        mirror.manifests(Path(record.mirror_root)) if record.mirror_root else (),
        tuple(mirror.image_digests(Path(record.mirror_root)).items()) if record.mirror_root else (),
    )
    text = render(facts)
    known = dict(record.inventories)
    old = path.read_text(errors="replace") if path.is_file() else None
    if old is not None and str(path) in known and digest(old) not in {known[str(path)], digest(text)}:
        if (paths.state / "lab.ini").exists() and (paths.state / "lab.ini").read_text() == text:
            return record
        state.write(paths.state / "lab.ini", text, 0o644)
        report("lab", f"{path} was edited and is left as it is; what it would be now: {paths.state / 'lab.ini'}")
        return record
    known[str(path)] = digest(text)
    new = replace(record, inventory=str(path), inventories=tuple(sorted(known.items())))
    if new != record:
        state.save(paths, new)
    if old != text:
        state.write(path, text, 0o644)
    return new


def remove(record: LabRecord, report: Callable[[str, str], None]) -> None:
    """Remove the inventories that this lab wrote; one that a person edited stays."""
    for name, written in record.inventories:
        path = Path(name)
        path.with_name(path.name + ".part").unlink(missing_ok=True)
        if not path.is_file():
            continue
        if digest(path.read_text(errors="replace")) == written:
            path.unlink()
        else:
            report("lab", f"{path} was edited: left in place")
