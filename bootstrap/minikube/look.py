"""All that has to be known of a profile, in one round trip, as the user whose profile it is; nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.minikube.options import Bundle, parse_bundle
from bootstrap.probe.session import Session
from bootstrap.probe.ssh_errors import ConnectFailure

BUNDLE = "/var/lib/gpuctl/minikube-bundle"
_TIMEOUT_S = 60.0
# Standard library only, Python 3.8 and later. What asks other programs is asked side by side.
_PROGRAM = r"""
import concurrent.futures, glob, json, os, subprocess, sys
profile, bundle = sys.argv[1:3]
home = os.path.expanduser("~")
folder = os.path.join(home, ".minikube", "profiles", profile)
def read(path, limit=1 << 20):
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(limit)
    except OSError:
        return None
def run(*argv):
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=40)
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        return {"rc": done.returncode, "out": out, "err": err}
    except FileNotFoundError as error:
        return {"rc": 127, "out": "", "err": str(error)}
    except subprocess.TimeoutExpired:
        return {"rc": -1, "out": "", "err": "%s did not answer within 40 s" % argv[0]}
config = read(os.path.join(folder, "config.json"))
try:
    version = json.loads(config)["KubernetesConfig"]["KubernetesVersion"]
except (TypeError, ValueError, KeyError):
    version = ""
kubectl = "/var/lib/minikube/binaries/%s/kubectl" % version
asked = {
    "status": ["minikube", "status", "--profile", profile, "--output", "json"],
    "version": ["minikube", "version", "--short"],
    "docker": ["docker", "version", "--format", "{{json .Server}}"],
    "container": ["docker", "container", "inspect", "--format", "{{json .State.Status}}", profile],
}
if version:
    asked["node"] = ["docker", "exec", profile, kubectl, "--kubeconfig=/var/lib/minikube/kubeconfig",
                     "--request-timeout=5s", "get", "nodes", "-o", "json"]
os.environ["PATH"] = "/usr/local/bin:" + os.environ.get("PATH", "/usr/bin:/bin")
with concurrent.futures.ThreadPoolExecutor() as pool:
    found = dict(zip(asked, pool.map(lambda argv: run(*argv), asked.values())))
def is_gpu(device):
    kind, vendor = ((read(os.path.join(device, name)) or "").strip() for name in ("class", "vendor"))
    driver = os.path.basename(os.path.realpath(os.path.join(device, "driver")))
    return vendor == "0x10de" and kind.startswith("0x03") and driver != "vfio-pci"
gpus = sum(map(is_gpu, glob.glob("/sys/bus/pci/devices/*")))
found.update(uid=os.getuid(), home=home, config=config, folder=os.path.isdir(folder), gpus=gpus,
             bundle=read(os.path.join(bundle, "bundle.json")), kubeconfig=read(os.path.join(home, ".kube", "config")))
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What a program answered."""

    rc: int = 127
    out: str = ""
    err: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """The profile's node as its API has it."""

    name: str
    ready: bool
    gpus: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a profile. `config` is minikube's own record of it; `node` is None while the API does not answer.

    `kubeconfig` is the text of the user's file there; it holds secrets, and is in no repr.
    """

    root: bool
    home: str
    folder: bool = False
    config: Mapping[str, Any] | None = None
    status: Said = field(default_factory=Said)
    version: str = ""
    docker: Said = field(default_factory=Said)
    container: str = ""
    node: Node | None = None
    pci_gpus: int = 0
    bundle: Bundle = field(default_factory=Bundle)
    kubeconfig: str = field(default="", repr=False)

    @property
    def docker_version(self) -> str:
        """Of the engine; empty while it does not answer."""
        try:
            return str(json.loads(self.docker.out).get("Version") or "")
        except (ValueError, AttributeError):
            return ""


def look(session: Session, host: str, profile: str) -> Seen:
    """Look at a profile.

    Raises:
        GpuctlError: the host cannot be asked (exit 4), or its bundle is broken (exit 3).
    """
    try:
        argv = ["python3", "-I", "-c", _PROGRAM, profile, BUNDLE]
        done = session.run(argv, timeout_s=_TIMEOUT_S)
        found: dict[str, Any] = json.loads(done.out.splitlines()[-1]) if done.rc == 0 else {}
    except ConnectFailure as failure:
        raise GpuctlError(ExitCode.PREFLIGHT, Problem(failure.code, str(failure), failure.fix, host)) from failure
    except (ValueError, IndexError):
        found = {}
    if not found:
        words = f"the look at profile {profile} failed: {(done.err or done.out).strip()[-300:]}"
        raise GpuctlError(
            ExitCode.PREFLIGHT, Problem("probe-failed", words, "run again; the log has the details", host)
        )
    return read_look(found)


def read_look(found: Mapping[str, Any]) -> Seen:
    """The typed form of what the program printed."""
    said = {name: Said(**found[name]) for name in ("status", "version", "docker", "container", "node") if name in found}
    text = found.get("bundle")
    return Seen(
        root=found["uid"] == 0,
        home=str(found["home"]),
        folder=bool(found.get("folder")),
        config=_object(found.get("config")),
        status=said["status"],
        version=said["version"].out.strip() if said["version"].rc == 0 else "",
        docker=said["docker"],
        container=said["container"].out.strip().strip('"') if said["container"].rc == 0 else "",
        node=_node(said.get("node", Said())),
        pci_gpus=int(found.get("gpus") or 0),
        bundle=parse_bundle(BUNDLE, text) if text else Bundle(),
        kubeconfig=str(found.get("kubeconfig") or ""),
    )


def _object(text: Any) -> Mapping[str, Any] | None:
    try:
        parsed = json.loads(text or "")
    except (TypeError, ValueError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _node(said: Said) -> Node | None:
    nodes = (_object(said.out) or {}).get("items") or []
    if said.rc or not nodes:
        return None
    status = nodes[0].get("status") or {}
    conditions = {str(c.get("type")): str(c.get("status")) for c in status.get("conditions") or []}
    gpus = str((status.get("allocatable") or {}).get("nvidia.com/gpu") or "0")
    name = str((nodes[0].get("metadata") or {}).get("name") or "")
    return Node(name, conditions.get("Ready") == "True", int(gpus) if gpus.isdecimal() else 0)
