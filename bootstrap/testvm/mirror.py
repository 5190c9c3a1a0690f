"""The lab's mirror over HTTPS: an authority and a certificate of the lab's own, and the server while the lab lives."""

from __future__ import annotations

import signal
import socket
import ssl
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import certificates, procs, state

if TYPE_CHECKING:
    from bootstrap.testvm.names import LabPaths
    from bootstrap.testvm.state import LabRecord

SERVER_MODULE = "bootstrap.testvm.components.serve"
_PORTS = range(8443, 8543)
_LOOKS = 3
_START_WAIT_S = 15.0


def current(lane: str = "kubeadm") -> tuple[Path, str]:
    """Root and apt key fingerprint of the complete mirror; raises GpuctlError `components-missing` without one.

    For hosts of the minikube lane it must have that lane's optional parts, too.
    """
    from bootstrap.testvm import components

    found = components.current()
    command = "gpuctl testvm components build"
    if found is None:
        problem = Problem("components-missing", "no complete mirror of the components is there", command)
    elif lane == "minikube" and not {"bundle", "program"} <= set(minikube_files(found.path)):
        what = "the mirror of the components has no parts for minikube"
        problem = Problem("components-missing", what, f"{command} --with minikube")
    else:
        return found.path, found.apt_key_fingerprint
    raise GpuctlError(ExitCode.PREFLIGHT, problem)


def minikube_files(root: Path) -> dict[str, tuple[str, str]]:
    """What a mirror has for the minikube lane: `program` and `bundle` → (path below the mirror's address, SHA-256)."""
    from bootstrap.testvm.components import mirror

    found = mirror.load(root)
    return {
        "bundle" if name.endswith(".tar") else "program": (f"{mirror.MINIKUBE}/{name}", digest)
        for name, digest in (found.minikube if found else {}).items()
    }


def image_digests(root: Path) -> dict[str, str]:
    """Of the images that gpuctl's own manifests name: name and tag → digest, as the build of this mirror noted it."""
    from bootstrap.plan.images import full_name, shipped_images
    from bootstrap.testvm.components import mirror

    found = mirror.load(root)
    named = {full_name(image) for image in shipped_images()}
    return {image: digest for image, digest in sorted(found.images.items()) if image in named} if found else {}


def manifests(root: Path) -> tuple[str, ...]:
    """The roles whose files of upstream a mirror has."""
    folder = root / "manifests"
    return tuple(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else ()


def ensure(paths: LabPaths, record: LabRecord) -> LabRecord:
    """Serve the current mirror on the lab's bridge; return the record that knows where (saved before the start)."""
    root, fingerprint = current(record.lane)
    address = str(record.subnet.gateway)
    certificates.make(paths.state / "mirror", record.name, address)
    alive = is_running(paths)
    if alive and record.mirror_root == str(root) and answers(paths, record):
        return record
    stop(paths)
    port = _free_port(address, record.mirror_port)
    new = replace(record, mirror_root=str(root), mirror_port=port, mirror_fingerprint=fingerprint)
    state.save(paths, new)
    _start(paths, new)
    return new


def _free_port(address: str, preferred: int) -> int:
    port: int
    for port in dict.fromkeys([preferred or _PORTS[0], *_PORTS]):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise GpuctlError(ExitCode.PREFLIGHT, Problem("mirror-failed", f"no free port on {address} in {_PORTS}"))


def _pid_file(paths: LabPaths) -> Path:
    return paths.runtime / "mirror.pid"


def _proof(paths: LabPaths) -> procs.Proof:
    return procs.has_arguments(SERVER_MODULE, str(_pid_file(paths)))


def is_running(paths: LabPaths) -> bool:
    """Whether the lab's mirror server is alive."""
    return bool(procs.find(_proof(paths)))


def stop(paths: LabPaths) -> None:
    """End the lab's mirror server; none is fine."""
    procs.end_all(_proof(paths), number=signal.SIGKILL)
    _pid_file(paths).unlink(missing_ok=True)


def answers(paths: LabPaths, record: LabRecord) -> bool:
    """Whether the server completes a TLS handshake that the lab's authority vouches for."""
    context = ssl.create_default_context(cafile=str(paths.ca))
    address = (str(record.subnet.gateway), record.mirror_port)
    try:
        with (
            socket.create_connection(address, timeout=2) as plain,
            context.wrap_socket(plain, server_hostname=address[0]),
        ):
            return True
    except OSError:
        return False


def _start(paths: LabPaths, record: LabRecord) -> None:
    log = paths.state / "mirror" / "server.log"
    package = str(Path(__file__).parents[2])
    certificate = paths.state / "mirror" / "server.pem"
    procs.detach(
        [sys.executable, "-m", SERVER_MODULE, "--root", record.mirror_root, "--address", str(record.subnet.gateway),
         "--port", str(record.mirror_port), "--cert", str(certificate),
         "--key", str(certificate.with_suffix(".key")), "--pid-file", str(_pid_file(paths))],
        log, PYTHONPATH=package,
    )  # fmt: skip
    until = time.monotonic() + _START_WAIT_S
    looks_without_it = 0  # one is no proof: a process has no command line in the moment of its exec
    while time.monotonic() < until and looks_without_it < _LOOKS:
        if answers(paths, record):
            return
        looks_without_it = 0 if is_running(paths) else looks_without_it + 1
        time.sleep(0.05)
    raise GpuctlError(
        ExitCode.STEP_FAILED,
        Problem(
            "mirror-failed",
            f"the mirror does not answer at {record.mirror_url}",
            f"look at {log}",
            details="\n".join(log.read_text(errors="replace").splitlines()[-10:]),
        ),
    )
