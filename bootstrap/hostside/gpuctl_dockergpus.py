"""Give all GPUs to a container of Docker's and count what it got, without an image from anywhere.

The image is empty: what runs in it is the host's own `ls`, seen through a folder that is mounted read-only.
Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
from typing import Any, Dict, List

from .gpuctl_hostio import HostError, Ran, run

HOST = "/host"  # where the container sees the host's /usr
LISTER = "/usr/bin/ls"
GPUS = "/proc/driver/nvidia/gpus"
WAYS = (("--gpus", "all"), ("--device", "nvidia.com/gpu=all"))
TIMEOUT_S = 120
_FOLDERS = ("dev", "etc", "host", "proc", "run", "sys", "tmp", "usr/bin", "usr/lib")
_PT_INTERP = 3


def interpreter(program: str) -> str:
    """The loader that a program names (ELF's PT_INTERP); empty for one that needs none."""
    with open(program, "rb") as stream:
        head = stream.read(64)
        if head[:5] != b"\x7fELF\x02":
            raise HostError("step-failed", f"{program} is no 64-bit program")
        order = "<" if head[5] == 1 else ">"
        (offset,) = struct.unpack_from(order + "Q", head, 32)
        size, count = struct.unpack_from(order + "HH", head, 54)
        for number in range(count):
            stream.seek(offset + number * size)
            kind, _flags, place, _address, _physical, length = struct.unpack(order + "IIQQQQ", stream.read(40))
            if kind == _PT_INTERP:
                stream.seek(place)
                return stream.read(length).rstrip(b"\0").decode()
    return ""


def command() -> List[str]:
    """The host's `ls -1 /dev` as the container has to call it: by the host's own loader and libraries."""
    loader = interpreter(LISTER)
    program = HOST + LISTER[len("/usr") :]
    if not loader:
        return [program, "-1", "/dev"]
    real = os.path.realpath(loader)
    if not real.startswith("/usr/"):
        raise HostError("step-failed", f"{loader} is not below /usr", "see whether /lib is a link to /usr/lib")
    inside = HOST + real[len("/usr") :]
    libraries = ":".join(dict.fromkeys([os.path.dirname(inside), f"{HOST}/lib", f"{HOST}/lib64"]))
    return [inside, "--library-path", libraries, program, "-1", "/dev"]


def layer() -> bytes:
    """The tar of the empty image."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in _FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
    return out.getvalue()


def use_the_machines_docker() -> None:
    """Whatever the environment or root's own settings say: it is the one that gives nodes their GPUs."""
    os.environ.pop("DOCKER_HOST", None)
    os.environ["DOCKER_CONTEXT"] = "default"


def made_image() -> str:
    """Make an image and return its ID, which no other run has; HostError service-failed when Docker does not."""
    done = subprocess.run(["docker", "import", "-"], input=layer(), capture_output=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise HostError("service-failed", f"docker import failed: {(said or ['it said nothing'])[-1]}")
    return done.stdout.decode("ascii", "replace").strip()


def count(listing: str) -> int:
    """How many GPUs a listing of /dev names."""
    return len(re.findall(r"^nvidia\d+$", listing, re.MULTILINE))


def on_host() -> int:
    """How many GPUs the host's driver has."""
    return len(os.listdir(GPUS)) if os.path.isdir(GPUS) else count("\n".join(os.listdir("/dev")))


def look() -> List[str]:
    """One sentence for each way of giving a container all GPUs.

    HostError docker-gpus-missing when one gives fewer than the driver has.
    """
    use_the_machines_docker()
    have = on_host()
    image = made_image()
    try:
        return [_one(list(way), have, image) for way in WAYS]
    finally:
        run(["docker", "image", "rm", "--force", image], TIMEOUT_S)


def _one(way: List[str], have: int, image: str) -> str:
    done = _container(way, image)
    got = count(done.out)
    words = f"docker run {' '.join(way)}: "
    if done.rc != 0 or got < have:
        said = done.tail(1) if done.rc != 0 else f"the container sees {got} of {have} GPUs"
        raise HostError(
            "docker-gpus-missing",
            words + said,
            "run `gpuctl minikube up`; see `journalctl -u docker` on the host",
            done.tail(),
        )
    return words + f"{got} of {have} GPUs"


def _container(way: List[str], image: str) -> Ran:
    """Run it; nothing is pulled in its place, and one that does not end is ended."""
    name = f"gpuctl-trial-{os.getpid()}"
    options = ["--rm", f"--name={name}", "--pull=never", "--network=none", "--volume=/usr:/host:ro"]
    done = run(["docker", "run", *options, *way, image, *command()], TIMEOUT_S)
    if done.rc != 0:
        run(["docker", "rm", "--force", name], TIMEOUT_S)
    return done


def tried(way: List[str]) -> Dict[str, Any]:
    """How one way ended: how many GPUs the host has and a container got, Docker's exit status and last words.

    Only `error` where it could not be tried at all.
    """
    use_the_machines_docker()
    try:
        have = on_host()
        image = made_image()
        try:
            done = _container(way, image)
        finally:
            run(["docker", "image", "rm", "--force", image], TIMEOUT_S)
    except (HostError, OSError, struct.error, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}
    return {"have": have, "got": count(done.out), "rc": done.rc, "said": done.tail()}


def main(*way: str) -> None:
    """Print that on one line of standard output."""
    sys.stdout.write(json.dumps(tried(list(way))) + "\n")
