"""All that has to be known of a profile, in one round trip, as the user whose profile it is; nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside import gpuctl_programs
from bootstrap.hostside.gpuctl_kube import PROFILE_ACCESS
from bootstrap.hostside.gpuctl_minikube import PROGRAM
from bootstrap.hostside.gpuctl_strictjson import misshapen, parse_object
from bootstrap.kube.plain_yaml import parse_plain
from bootstrap.minikube.options import Bundle, parse_bundle
from bootstrap.minikube.surroundings import other_home
from bootstrap.probe.session import Session
from bootstrap.probe.ssh_errors import ConnectFailure

BUNDLE = "/var/lib/gpuctl/minikube-bundle"
_TIMEOUT_S = 60.0
# Variables that would lead minikube and Docker elsewhere than where gpuctl looks.
CLEARED = ("MINIKUBE_HOME", "KUBECONFIG", "DOCKER_HOST")
# The machine's Docker, which the roles set up: not a rootless one or Docker Desktop, which a user's context may name.
DOCKER = ("docker", "--context", "default")
USUAL = ("env", *(word for name in CLEARED for word in ("-u", name)), "DOCKER_CONTEXT=default")
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOT_THERE = re.compile(r"no such|not found", re.IGNORECASE)
_KINDS = ("container", "volume", "network")  # what Docker has under a profile's name
_ASKED = ("version", "docker", "kubelet", "node", *_KINDS)
# Minikube labels all that it makes with the name of the profile.
LABEL = "name.minikube.sigs.k8s.io"
# Standard library only, Python 3.8 and later. What asks other programs is asked side by side. In front stands the one
# function of the hosts' code that it needs.
_PROGRAM = (
    Path(gpuctl_programs.__file__).read_text(encoding="utf-8")
    + r"""
import concurrent.futures, glob, grp, json, os, pwd, subprocess, sys
profile, bundle, access = sys.argv[1:4]
for name in ("MINIKUBE_HOME", "KUBECONFIG", "DOCKER_HOST"):
    os.environ.pop(name, None)  # what is looked at, and called, is at the usual places
os.environ["DOCKER_CONTEXT"] = "default"
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
complaint = complaint_of_program("/usr/local/bin/minikube", os.getuid())
asked = {
    "version": ["false"] if complaint else ["minikube", "version", "--short"],
    "docker": ["docker", "version", "--format", "{{json .Server}}"],
    "container": ["docker", "container", "inspect", "--format",
                  '{"name": {{json .Name}}, "status": {{json .State.Status}}, "network": {{json .NetworkSettings}}, '
                  '"labels": {{json .Config.Labels}}}', profile],
    "volume": ["docker", "volume", "inspect", "--format", '{"name": {{json .Name}}, "labels": {{json .Labels}}}',
               profile],
    "network": ["docker", "network", "inspect", "--format", '{"name": {{json .Name}}, "labels": {{json .Labels}}}',
                profile],
}
if version:
    asked["kubelet"] = ["docker", "exec", profile, "systemctl", "is-active", "kubelet"]
    asked["node"] = ["docker", "exec", profile, kubectl, "--kubeconfig=/var/lib/minikube/kubeconfig",
                     "--request-timeout=5s", "get", "nodes", "-o", "json"]
os.environ["PATH"] = "/usr/local/bin:" + os.environ.get("PATH", "/usr/bin:/bin")
with concurrent.futures.ThreadPoolExecutor() as pool:
    found = dict(zip(asked, pool.map(lambda argv: run(*argv), asked.values())))
def is_gpu(device):
    kind, vendor = ((read(os.path.join(device, name)) or "").strip() for name in ("class", "vendor"))
    driver = os.path.basename(os.path.realpath(os.path.join(device, "driver")))
    return vendor == "0x10de" and kind.startswith("0x03") and driver != "vfio-pci"
try:
    docker = grp.getgrnam("docker")
    joined = docker.gr_gid in os.getgroups() or pwd.getpwuid(os.getuid()).pw_name in docker.gr_mem
except (KeyError, OSError):
    joined = False
gpus = sum(map(is_gpu, glob.glob("/sys/bus/pci/devices/*")))
try:
    others = sorted(name[:-5] for name in os.listdir(access) if name.endswith(".conf") and name[:-5] != profile)
except OSError:
    others = []
def is_gone(name):  # what one of which Docker has no container left is nobody's
    said = run("docker", "container", "inspect", "--format", "-", name)
    return said["rc"] == 127 or "no such" in said["err"].lower()
others = [name for name in others if not is_gone(name)]
found.update(uid=os.getuid(), joined=joined, home=home, config=config, folder=os.path.isdir(folder), gpus=gpus,
             served=os.path.exists(os.path.join(access, profile + ".conf")), profile=profile, others=others,
             program=complaint,
             bundle=read(os.path.join(bundle, "bundle.json")), kubeconfig=read(os.path.join(home, ".kube", "config")))
print(json.dumps(found))
"""
)


# The form of what the program prints, and of what is in its texts (see hostside.gpuctl_strictjson.misshapen).
_ANSWER = {"rc!": int, "out!": str, "err!": str}
_LOOK = {
    "uid!": int,
    "home!": str,
    "profile!": str,
    **{f"{name}!": _ANSWER for name in ("version", "docker", *_KINDS)},
    **dict.fromkeys(("kubelet", "node"), _ANSWER),
    **dict.fromkeys(("config", "bundle", "kubeconfig", "program"), str),
    **dict.fromkeys(("folder", "served", "joined"), bool),
    "gpus": int,
    "others": [str],
}
_NAMED = {"name": str, "labels": dict, "status": str, "network": dict}
_CONDITIONS = [{"type": str, "status": str}]
_NODES = {"items": [{"metadata": {"name": str}, "status": {"conditions": _CONDITIONS, "allocatable": dict}}]}
_MOST_DIGITS = 6  # of a number of GPUs


@dataclass(frozen=True, slots=True)
class Said:
    """What a program answered."""

    rc: int = 127
    out: str = ""
    err: str = ""


# What `minikube status` says of a profile that runs and that its context leads to (pkg/minikube/cluster, Status).
_RUNS = Said(0, '{"Host": "Running", "Kubelet": "Running", "APIServer": "Running", "Kubeconfig": "Configured"}')


@dataclass(frozen=True, slots=True)
class Node:
    """The profile's node as its API has it."""

    name: str
    ready: bool
    gpus: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a profile. `config` is minikube's own record of it; `node` is None while the API does not answer.

    `served` is whether root has access to its API (bootstrap/minikube/access.py): an agent may live by it. `others` are
    the profiles of the host that root has access to in place of this one. `joined` is whether the user is a member of
    the group docker. `kubeconfig` is the text of the user's file there; it holds secrets, and is in no repr. `taken` is
    what bears the profile's name in Docker and is not minikube's, `remains` what is, beside the container; of `unclear`
    Docker did not say whether it is there. `minikube_home` is the folder to which the user's MINIKUBE_HOME leads
    minikube by hand, where that is another than gpuctl's.
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
    served: bool = False
    others: tuple[str, ...] = ()
    joined: bool = False
    taken: tuple[str, ...] = ()
    remains: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    minikube_home: str = ""
    kubeconfig: str = field(default="", repr=False)

    @property
    def docker_version(self) -> str:
        """Of the engine; empty while it does not answer."""
        return str((_object(self.docker.out) or {}).get("Version") or "")


def look(session: Session, host: str, profile: str) -> Seen:
    """Look at a profile.

    Raises:
        GpuctlError: the host cannot be asked (exit 4), or its bundle is broken (exit 3).
    """
    try:
        argv = [*session.python, "-I", "-c", _PROGRAM, profile, BUNDLE, PROFILE_ACCESS]
        done = session.run(argv, timeout_s=_TIMEOUT_S)
        found = _document(done.out) if done.rc == 0 else {}
    except ConnectFailure as failure:
        raise GpuctlError(ExitCode.PREFLIGHT, Problem(failure.code, str(failure), failure.fix, host)) from failure
    if not found:
        # Not what it printed: the kubeconfig is in that.
        words = f"the look at profile {profile} failed with status {done.rc}: {done.err.strip()[-300:]}"
        raise GpuctlError(
            ExitCode.PREFLIGHT, Problem("probe-failed", words, "run again; the log has the details", host)
        )
    if found.get("program"):
        words = f"the minikube there is not run: {str(found['program'])[:200]}"
        fix = f"give it to root (`sudo chown root:root {PROGRAM}; sudo chmod 755 {PROGRAM}`), or move it away"
        raise GpuctlError(ExitCode.PREFLIGHT, Problem("minikube-foreign", words, fix, host))
    seen = replace(read_look(found), minikube_home=other_home(session, str(found["home"])))
    if seen.status == _RUNS or (seen.config is None and not seen.container and not seen.folder):
        return seen
    argv = [*USUAL, f"PATH={_PATH}", "minikube", "status", "--profile", profile, "--output", "json"]
    try:
        done = session.run(argv, timeout_s=_TIMEOUT_S)
    except ConnectFailure as failure:
        raise GpuctlError(ExitCode.PREFLIGHT, Problem(failure.code, str(failure), failure.fix, host)) from failure
    return replace(seen, status=Said(done.rc, done.out, done.err))


def _document(out: str) -> dict[str, Any]:
    """The line that is the program's; a login shell, or what wraps it, may say something before and after."""
    for line in out.splitlines():
        try:
            found = parse_object(line)
        except ValueError:
            continue
        if "uid" in found:
            return {} if misshapen(_LOOK, found) else found
    return {}


def read_look(found: Mapping[str, Any]) -> Seen:
    """The typed form of what the program printed.

    Its `status` is known where the node itself has answered: `minikube status` takes longer than all else together.
    """
    said = {name: Said(*(found[name][part] for part in ("rc", "out", "err"))) for name in _ASKED if name in found}
    text = found.get("bundle")
    config, kubeconfig = _record(found.get("config")), str(found.get("kubeconfig") or "")
    node = _node(said.get("node", Said()))
    named = {kind: _object(said[kind].out, _NAMED) or {} for kind in _KINDS if said[kind].rc == 0}
    # Docker takes the beginning of an ID for a name, too.
    named = {kind: one for kind, one in named.items() if one.get("name") in {found["profile"], f"/{found['profile']}"}}
    unclear = [kind for kind in _KINDS if said[kind].rc and not _NOT_THERE.search(said[kind].err)]
    own = {kind: one for kind, one in named.items() if (one.get("labels") or {}).get(LABEL) == found["profile"]}
    container = own.get("container", {})
    runs = container.get("status") == "running" and said.get("kubelet", Said()).out.strip() == "active"
    leads = reaches(kubeconfig, str((config or {}).get("Name") or ""), container.get("network") or {})
    return Seen(
        root=found["uid"] == 0,
        home=str(found["home"]),
        folder=bool(found.get("folder")),
        config=config,
        status=_RUNS if runs and node and leads else Said(),
        version=said["version"].out.strip() if said["version"].rc == 0 else "",
        docker=said["docker"],
        container=str(container.get("status") or ""),
        node=node,
        pci_gpus=int(found.get("gpus") or 0),
        bundle=parse_bundle(BUNDLE, text) if text else Bundle(),
        served=found.get("served") is True,
        others=tuple(map(str, found.get("others") or ())),
        joined=found.get("joined") is True,
        taken=tuple(kind for kind in named if kind not in own),
        unclear=tuple(unclear),
        remains=tuple(kind for kind in own if kind != "container"),
        kubeconfig=kubeconfig,
    )


def reaches(kubeconfig: str, profile: str, network: Mapping[str, Any]) -> bool:
    """Whether the context of that name leads to the API server of the container with these network settings."""
    try:
        loaded = parse_plain(kubeconfig) or {}
        contexts = {item["name"]: item["context"]["cluster"] for item in loaded.get("contexts") or []}
        clusters = {item["name"]: item["cluster"]["server"] for item in loaded.get("clusters") or []}
        server = urlsplit(str(clusters[contexts[profile]]))
        address = (server.hostname or "", server.port or 0)
        published = (network.get("Ports") or {}).get("8443/tcp") or []
        ends = {(str(end.get("HostIp")), int(end.get("HostPort") or 0)) for end in published}
        ends |= {(str(one.get("IPAddress")), 8443) for one in (network.get("Networks") or {}).values()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return address in ends


def _object(text: Any, shape: Any = dict) -> Mapping[str, Any] | None:
    """The object that a text is; None when it is none, or not of the shape."""
    try:
        found = parse_object(text or "")
    except (TypeError, ValueError):
        return None
    return None if misshapen(shape, found, "it") else found


def _record(text: Any) -> Mapping[str, Any] | None:
    """Minikube's config.json; parts of it that are not of its shape are left out."""
    found = _object(text)
    if found is None:
        return None
    kubernetes = found.get("KubernetesConfig")
    kubernetes = dict(kubernetes) if isinstance(kubernetes, dict) else {}
    extra = kubernetes.get("ExtraOptions")
    kubernetes["ExtraOptions"] = [one for one in extra if isinstance(one, dict)] if isinstance(extra, list) else []
    addons = found.get("Addons")
    return {**found, "KubernetesConfig": kubernetes, "Addons": addons if isinstance(addons, dict) else {}}


def _node(said: Said) -> Node | None:
    nodes = (_object(said.out, _NODES) or {}).get("items") or []
    if said.rc or not nodes:
        return None
    status = nodes[0].get("status") or {}
    conditions = {str(c.get("type")): str(c.get("status")) for c in status.get("conditions") or []}
    gpus = str((status.get("allocatable") or {}).get("nvidia.com/gpu") or "0")
    name = str((nodes[0].get("metadata") or {}).get("name") or "")
    return Node(name, conditions.get("Ready") == "True", int(gpus) if _is_count(gpus) else 0)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
