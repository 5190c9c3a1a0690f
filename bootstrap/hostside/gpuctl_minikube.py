"""minikube's program on a host, and the bundle for sites without internet access. What minikube makes is not looked at.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import glob
import os
import re
import tempfile
from typing import List, Mapping

from . import gpuctl_receipts as receipts
from .gpuctl_bundle import unpack, unpacked_sum
from .gpuctl_deletion import delete_tree
from .gpuctl_fetch import fetch, sha256_of
from .gpuctl_hostio import HostError, Ran, run
from .gpuctl_programs import complaint_of_program

PROGRAM = "/usr/local/bin/minikube"
BUNDLE = "/var/lib/gpuctl/minikube-bundle"
_KNOWN = re.compile(r"v1\.(3[2-9]|[4-9]\d)\.\d+")  # what minikube_version may be: --gpus came with 1.32
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """How minikube calls this machine's."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def sum_for(version: str, sha256: str, sums: Mapping[str, str]) -> str:
    """The sum that the program must have: the one given, else that of the table; HostError variable-invalid."""
    found = sha256 or sums.get(architecture(), "")
    if not found:
        raise HostError(
            "variable-invalid",
            f"gpuctl knows no sha256 of minikube {version} for {architecture()}",
            "set minikube_sha256 to the one that the release publishes, or leave minikube_version as it is",
        )
    return found.lower()


def have_program(
    component: str, url: str, version: str, sha256: str, ca_path: str, *, adopt: bool, check: bool
) -> List[str]:
    """Have the program, by its sum; what was done. With `adopt` another one stays, if it is new enough.

    HostError minikube-foreign where it is somebody else's and may not, or is not.
    """
    there = sha256_of(PROGRAM)
    if there == sha256 and os.access(PROGRAM, os.X_OK):
        return []
    if there and there != sha256 and PROGRAM not in receipts.read_before(component)["files"]:
        theirs = _version_if_it_runs()
        if adopt and _KNOWN.fullmatch(theirs):
            return []  # it is root's, or its version would not be known
        raise _foreign(there, theirs, version)
    if not check:
        address = url.replace("{version}", version).replace("{arch}", architecture())
        folder = os.path.dirname(PROGRAM)
        _sweep(folder)
        arrived = fetch(address, sha256, folder, ca_path)
        try:
            receipts.remember_file(component, PROGRAM)
            os.chmod(arrived, 0o755)  # noqa: S103 - a program for everybody
            os.replace(arrived, PROGRAM)
        finally:
            if os.path.exists(arrived):
                os.unlink(arrived)
    return [f"minikube {version}"]


def _version_if_it_runs() -> str:
    complaint = complaint_of_program(PROGRAM, os.geteuid())
    if complaint:
        return "which is not run as root: %s" % complaint
    try:
        return version_of_program()
    except HostError:
        return "which does not run"


def _foreign(sha256: str, version: str, wanted: str) -> HostError:
    """Why another program stays, with the settings that keep it where it is new enough."""
    keep = ""
    if _KNOWN.fullmatch(version):
        settings = f"minikube_version={version[1:]} and minikube_sha256={sha256}"
        keep = f"to work with it set {settings} in the inventory; or "
    return HostError(
        "minikube-foreign",
        f"gpuctl did not install {PROGRAM} ({version}), so it does not replace it by {wanted}",
        f"{keep}move it away (mv {PROGRAM} {PROGRAM}.mine), and gpuctl installs its own",
    )


def have_bundle(url: str, sha256: str, ca_path: str, check: bool) -> List[str]:
    """Have the bundle unpacked, or none without an address; what was done."""
    if not url:
        return drop_bundle(check)
    if not sha256:
        fix = "set minikube_bundle_sha256 to the bundle's sha256"
        raise HostError("variable-invalid", "minikube_bundle_url has no minikube_bundle_sha256 beside it", fix)
    if unpacked_sum(BUNDLE) == sha256.lower():
        return []
    if not check:
        folder = os.path.dirname(BUNDLE)
        _sweep(folder)
        arrived = fetch(url, sha256, folder, ca_path)
        try:
            unpack(arrived, BUNDLE, sha256.lower())
        finally:
            os.unlink(arrived)
        # Users seed their caches from it; what is secret beside it has a mode of its own.
        os.chmod(folder, os.stat(folder).st_mode & 0o7777 | 0o111)  # noqa: S103 - to pass through
    return ["bundle"]


def _sweep(folder: str) -> None:
    """Remove what a run that was killed while it fetched has left: no other run of gpuctl is at work here."""
    for path in glob.glob(os.path.join(glob.escape(folder), ".gpuctl-*")):
        if os.path.isfile(path):
            os.unlink(path)


def drop_bundle(check: bool) -> List[str]:
    """Remove the unpacked bundle; what was done."""
    if not os.path.isdir(BUNDLE):
        return []
    if not check:
        delete_tree(BUNDLE)
    return ["bundle removed"]


def version_of_program() -> str:
    """What the program calls itself; HostError step-failed when it does not run on this machine."""
    with tempfile.TemporaryDirectory(prefix="gpuctl-") as home:  # it makes folders below it, even for this
        try:
            done = run([PROGRAM, "version", "--short"], 60, {"MINIKUBE_HOME": home, "HOME": home})
        except OSError as error:  # a program of another processor, or none at all
            done = Ran(126, "", error.strerror or str(error))
    if done.rc != 0:
        raise HostError(
            "step-failed",
            f"{PROGRAM} does not run: {done.tail(1)}",
            "give a minikube for this machine's processor (minikube_download_url, minikube_sha256)",
            done.tail(),
        )
    return done.out.strip()
