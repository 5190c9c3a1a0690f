"""What a bundle brings, put where minikube and Docker look for it; what is there already is left alone."""

from __future__ import annotations

import json

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.minikube.options import Bundle
from bootstrap.probe.session import Session

_TIMEOUT_S = 600.0
_PROGRAM = r"""
import glob, json, os, shutil, subprocess, sys
bundle, image = sys.argv[1:3]
cache = os.path.join(os.path.expanduser("~"), ".minikube", "cache")
copied = []
for folder, _, names in os.walk(os.path.join(bundle, "cache")):
    for name in names:
        source = os.path.join(folder, name)
        target = os.path.join(cache, os.path.relpath(source, os.path.join(bundle, "cache")))
        if os.path.exists(target) and os.path.getsize(target) == os.path.getsize(source):
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target + ".part")
        shutil.copymode(source, target + ".part")
        os.replace(target + ".part", target)
        copied.append(os.path.relpath(target, cache))
def run(*argv):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
loaded = []
if image and run("docker", "image", "inspect", image).returncode:
    for archive in sorted(glob.glob(os.path.join(bundle, "node", "*.tar"))):
        done = run("docker", "load", "--input", archive)
        if done.returncode:
            sys.exit("docker load %s: %s" % (archive, done.stdout.decode("utf-8", "replace")))
        loaded.append(os.path.basename(archive))
print(json.dumps({"copied": copied, "loaded": loaded}))
"""


def seed(session: Session, bundle: Bundle, host: str) -> tuple[str, ...]:
    """Put the bundle's files into minikube's cache and its node image into Docker; what was put.

    Raises:
        ConnectFailure: the connection was lost.
        GpuctlError: a disk is full, or Docker refuses the image (exit 5).
    """
    argv = ["python3", "-I", "-c", _PROGRAM, bundle.path, bundle.base_image]
    done = session.run(argv, timeout_s=_TIMEOUT_S)
    if done.rc:
        last = (done.err.strip() or done.out.strip()).splitlines()
        words = f"the bundle in {bundle.path} cannot be put in place: {last[-1] if last else f'status {done.rc}'}"
        fix = "free space in the home directory and in /var/lib/docker, or make the bundle anew"
        raise GpuctlError(ExitCode.STEP_FAILED, Problem("minikube-bundle-invalid", words, fix, host, details=done.err))
    found = json.loads(done.out.splitlines()[-1])
    return (*found["copied"], *found["loaded"])


def load_addons(session: Session, bundle: Bundle, profile: str, minikube: str, host: str) -> Problem | None:
    """Load the bundle's addon images into the node; what failed. A kubelet that waits for one tries again by itself.

    Raises:
        ConnectFailure: the connection was lost.
    """
    listed = session.run(["find", f"{bundle.path}/addons", "-name", "*.tar", "-print0"])
    for archive in sorted(filter(None, listed.out.split("\0"))):
        argv = [minikube, "--profile", profile, "image", "load", archive]
        done = session.run(argv, timeout_s=_TIMEOUT_S)
        if done.rc:
            words = f"{archive} cannot be loaded into the node"
            fix = "look at what minikube said, below; make the bundle anew"
            return Problem("minikube-addon-image", words, fix, host, details=(done.err or done.out).strip()[-2000:])
    return None
