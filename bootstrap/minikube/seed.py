"""What a bundle brings, put where minikube and Docker look for it; what is there already is left alone."""

from __future__ import annotations

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.minikube.look import USUAL
from bootstrap.minikube.options import Bundle
from bootstrap.probe.remote import last_object
from bootstrap.probe.session import Session

_TIMEOUT_S = 600.0
_PROGRAM = r"""
import glob, json, os, shutil, subprocess, sys
bundle, image = sys.argv[1:3]
cache = os.path.join(os.path.expanduser("~"), ".minikube", "cache")
copied = []
record = os.path.join(os.path.expanduser("~"), ".minikube", "gpuctl-seeded.json")
try:
    with open(record) as handle:
        known = json.load(handle)
except (OSError, ValueError):
    known = {}
for folder, _, names in os.walk(os.path.join(bundle, "cache")):
    for file in names:
        source = os.path.join(folder, file)
        target = os.path.join(cache, os.path.relpath(source, os.path.join(bundle, "cache")))
        if os.path.exists(target) and os.path.getsize(target) == os.path.getsize(source):
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        name = os.path.relpath(target, cache)
        if name in known or not os.path.exists(target):  # what somebody else had there is not ours to take away
            known[name] = os.path.getsize(source)
            with open(record, "w") as handle:
                json.dump(known, handle)
        shutil.copyfile(source, target + ".part")
        shutil.copymode(source, target + ".part")
        os.replace(target + ".part", target)
        copied.append(name)
os.environ["DOCKER_CONTEXT"] = "default"
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

_PURGE = r"""
import json, os, sys
home = os.path.join(os.path.expanduser("~"), ".minikube")
cache, profiles = os.path.join(home, "cache"), os.path.join(home, "profiles")
others = sorted(name for name in (os.listdir(profiles) if os.path.isdir(profiles) else ()) if name != sys.argv[1])
removed = []
record = os.path.join(home, "gpuctl-seeded.json")
try:
    with open(record) as handle:
        known = json.load(handle)
except (OSError, ValueError):
    known = {}
for name in sorted(known) if not others else ():
    target = os.path.join(cache, name)
    if os.path.isfile(target) and os.path.getsize(target) == known[name]:
        os.remove(target)
        removed.append(name)
if os.path.exists(record) and not others:
    os.remove(record)
for folder, _, _ in os.walk(cache, topdown=False) if removed else ():
    if not os.listdir(folder):
        os.rmdir(folder)
print(json.dumps({"removed": removed, "others": others}))
"""


def seed(session: Session, bundle: Bundle, host: str) -> tuple[str, ...]:
    """Put the bundle's files into minikube's cache and its node image into Docker; what was put.

    Raises:
        ConnectFailure: the connection was lost.
        GpuctlError: a disk is full, or Docker refuses the image (exit 5).
    """
    argv = [*session.python, "-I", "-c", _PROGRAM, bundle.path, bundle.base_image]
    done = session.run(argv, timeout_s=_TIMEOUT_S)
    if done.rc:
        last = (done.err.strip() or done.out.strip()).splitlines()
        words = f"the bundle in {bundle.path} cannot be put in place: {last[-1] if last else f'status {done.rc}'}"
        fix = "free space in the home directory and in /var/lib/docker, or make the bundle anew"
        raise GpuctlError(ExitCode.STEP_FAILED, Problem("minikube-bundle-invalid", words, fix, host, details=done.err))
    found = last_object(done, copied=list, loaded=list)
    return tuple(map(str, (*found["copied"], *found["loaded"])))


def purge(session: Session, profile: str, host: str) -> tuple[int, tuple[str, ...]]:
    """Take what `seed` put into minikube's cache out again: (how many, the other profiles for which they stay).

    A profile without internet access needs them to be started again; what is not from a bundle is not touched.

    Raises:
        ConnectFailure: the connection was lost.
        GpuctlError: a file cannot be removed (exit 5).
    """
    done = session.run([*session.python, "-I", "-c", _PURGE, profile], timeout_s=_TIMEOUT_S)
    if done.rc:
        last = (done.err.strip() or done.out.strip()).splitlines()
        words = f"minikube's cache cannot be cleared: {last[-1] if last else f'status {done.rc}'}"
        problem = Problem("minikube-failed", words, "look at who owns ~/.minikube/cache", host, details=done.err)
        raise GpuctlError(ExitCode.STEP_FAILED, problem)
    found = last_object(done, removed=list, others=list)
    return len(found["removed"]), tuple(map(str, found["others"]))


def load_addons(session: Session, bundle: Bundle, profile: str, minikube: str, host: str) -> Problem | None:
    """Load the bundle's addon images into the node; what failed. A kubelet that waits for one tries again by itself.

    Raises:
        ConnectFailure: the connection was lost.
    """
    listed = session.run(["find", f"{bundle.path}/addons", "-name", "*.tar", "-print0"])
    for archive in sorted(filter(None, listed.out.split("\0"))):
        argv = [*USUAL, minikube, "--profile", profile, "image", "load", archive]
        done = session.run(argv, timeout_s=_TIMEOUT_S)
        if done.rc:
            words = f"{archive} cannot be loaded into the node"
            fix = "look at what minikube said, below; make the bundle anew"
            return Problem("minikube-addon-image", words, fix, host, details=(done.err or done.out).strip()[-2000:])
    return None
