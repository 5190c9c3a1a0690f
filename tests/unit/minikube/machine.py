"""A machine with Docker and minikube that answers as they do, for tests of what calls them.

The shapes of minikube's events, of its status and of its record of a profile follow minikube 1.38.1 (CloudEvents of
pkg/minikube/out/register, Status of pkg/minikube/cluster, ClusterConfig of pkg/minikube/config).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bootstrap.minikube import look as looking
from bootstrap.minikube import process, seed
from bootstrap.probe.session import Completed
from tests.unit.certificates import certificate, key_pem

GPUS = 8
# What lets a user into the API, by the names of minikube's files.
PKI = {
    "ca.crt": certificate("minikubeCA", "minikubeCA"),
    "client.crt": certificate("minikube-user", "minikubeCA"),
    "client.key": key_pem("minikube-user"),
}
PURGED = Completed(0, '{"removed": ["a", "b"], "others": []}\n', "")
LABELS = {"created_by.minikube.sigs.k8s.io": "true", "name.minikube.sigs.k8s.io": "gpuctl"}
STARTED = 19  # the last step of a start, "Done!"
# A kubeconfig whose context of the profile's name is another cluster's.
FOREIGN = """
clusters: [{name: gpuctl, cluster: {server: "https://192.0.2.1:6443"}}]
contexts: [{name: gpuctl, context: {cluster: gpuctl, user: ada}}]
"""


def event(kind: str, **data: Any) -> str:
    """A line of `--output=json`. All values are strings, as minikube writes them."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": "5e0d1d3c-6a5c-4a2f-9f1e-6a1e2c7f6a10",
            "source": "https://minikube.sigs.k8s.io/",
            "type": f"io.k8s.sigs.minikube.{kind}",
            "datacontenttype": "application/json",
            "data": {name: str(value) for name, value in data.items()},
        }
    )


def step(number: int, message: str, name: str = "Initial Minikube Setup") -> str:
    return event("step", currentstep=number, totalsteps=STARTED, message=message, name=name)


def error(name: str, exit_code: int, message: str, advice: str = "") -> str:
    return event("error", name=name, exitcode=exit_code, message=message, advice=advice, url="", issues="")


STARTING = (
    step(0, "minikube v1.38.1 on Debian 12"),
    step(1, "Using the docker driver based on user configuration", "Selecting Driver"),
    event("info", message="Using Docker driver with root privileges"),
    event("download", currentstep=5, totalsteps=STARTED, artifact="kicbase.tar"),
    event("download.progress", currentstep=5, totalsteps=STARTED, artifact="kicbase.tar", progress="0.25"),
    step(STARTED, 'Done! kubectl is now configured to use "gpuctl" cluster and "default" namespace by default', "Done"),
)


def status_of(host: str, kubelet: str = "", api: str = "", kubeconfig: str = "Configured") -> dict[str, Any]:
    """What `minikube status -o json` prints of one node."""
    return {
        "Name": "gpuctl",
        "Host": host,
        "Kubelet": kubelet or host,
        "APIServer": api or host,
        "Kubeconfig": kubeconfig if host == "Running" else host,
        "Worker": False,
    }


def record(**changes: Any) -> dict[str, Any]:
    """The parts of a profile's config.json that gpuctl reads."""
    kubernetes = {
        "KubernetesVersion": "v1.36.3",
        "ClusterName": "gpuctl",
        "ContainerRuntime": "docker",
        "CNI": "",
        "ExtraOptions": [],
    }
    kubernetes.update(changes.pop("KubernetesConfig", {}))
    return {
        "Name": "gpuctl",
        "KeepContext": False,
        "KicBaseImage": "local/kicbase:v0.0.50",
        "Memory": 4096,
        "CPUs": 2,
        "DiskSize": 20000,
        "Driver": "docker",
        "GPUs": "all",
        "Addons": {"nvidia-device-plugin": True, "ingress": False},
        **changes,
        "KubernetesConfig": kubernetes,
    }


def node(gpus: int = GPUS, *, ready: bool = True) -> dict[str, Any]:
    """The node as `kubectl get nodes -o json` has it."""
    return {
        "metadata": {"name": "gpuctl"},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "allocatable": {"cpu": "2", **({"nvidia.com/gpu": str(gpus)} if gpus else {})},
        },
    }


@dataclass(slots=True)
class Call:
    """A call of minikube by gpuctl."""

    argv: list[str]
    environment: dict[str, str]

    @property
    def verb(self) -> str:
        return self.argv[1]


@dataclass(slots=True)
class Machine:
    """A host as its user sees it. It is a Session, too: what gpuctl has run there, it answers.

    `start` is what `minikube start` does: its exit status, its lines, and what becomes of the machine.
    """

    python = ("python3",)
    uid: int = 1000
    config: dict[str, Any] | None = None
    folder: bool = False
    container: str = ""
    status: dict[str, Any] | None = None
    node: dict[str, Any] | None = None
    docker: str = "28.5.2"
    docker_error: str = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?"
    version: str = "v1.38.1"
    pci_gpus: int = GPUS
    devices: int = GPUS  # in the node's container
    kubeconfig: str = ""
    bundle: dict[str, Any] | None = None
    served: bool = False
    others: tuple[str, ...] = ()
    joined: bool = True
    unclear: str = ""  # what Docker says where it can say nothing of a container
    named_as: str = "gpuctl"  # by Docker, which takes the beginning of an ID for a name
    named: Mapping[str, Mapping[str, str] | None] = field(
        default_factory=dict
    )  # by kind: the labels of what Docker has
    archives: tuple[str, ...] = ()
    plugin: dict[str, Any] | None = None
    pods: tuple[dict[str, Any], ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)  # of what Docker still has, by kind
    fails: Mapping[str, tuple[int, tuple[str, ...], str]] = field(default_factory=dict)  # by verb
    purged: Completed = PURGED
    pki: bool = True
    published: str = "127.0.0.1:32771\n"
    interrupted: str = ""  # the verb during which Ctrl-C is pressed
    after_start: Callable[[Machine], None] | None = None
    on_delete: Callable[[Machine], None] | None = None
    calls: list[Call] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    user: str = "ada"
    address: str = "198.51.100.20"
    lost: bool = False

    @classmethod
    def running(cls, gpus: int = GPUS, **changes: Any) -> Machine:
        """A machine whose profile runs."""
        machine = cls(**changes)
        machine.runs(gpus)
        return machine

    def runs(self, gpus: int = GPUS) -> None:
        """Have the profile run."""
        self.config = self.config or record()
        self.folder, self.container = True, "running"
        self.status, self.node = status_of("Running"), node(gpus)

    def stops(self) -> None:
        """Have the profile be stopped."""
        self.container, self.status, self.node = "exited", status_of("Stopped"), None

    def is_gone(self) -> None:
        """Have no profile."""
        self.config, self.folder, self.container, self.status, self.node = None, False, "", None, None

    def verbs(self) -> list[str]:
        """What minikube was called for, but its settings."""
        return [call.verb for call in self.calls if call.verb != "config"]

    def run(self, argv: Sequence[str], stdin: str = "", timeout_s: float = 15.0) -> Completed:  # noqa: ARG002
        words = list(argv)
        if words[3:4] == [looking._PROGRAM]:
            return Completed(0, json.dumps(self._seen()) + "\n", "")
        if words[3:4] == [seed._PROGRAM]:
            self.commands.append(["seed", *words[4:]])
            return Completed(0, json.dumps({"copied": ["linux/kubeadm"], "loaded": ["kicbase.tar"]}), "")
        if words[3:4] == [seed._PURGE]:
            self.commands.append(["purge", *words[4:]])
            return self.purged
        if words[0] == "env" and "status" in words:
            answer = self._status()
            return Completed(answer["rc"], answer["out"], answer["err"])
        words = plain(words)
        self.commands.append(words)
        if words[0] == "cat":
            name = words[1].rpartition("/")[2]
            return Completed(0, PKI[name], "") if self.pki else Completed(1, "", "No such file")
        if words[0] == "find":
            return Completed(0, "".join(f"{name}\0" for name in self.archives), "")
        if words[0] == "docker":
            return self._docker(words)
        rc, _lines, said = self.fails.get("image", (0, (), ""))
        return Completed(rc, "inactive\n" if words[0] == "systemctl" else "", said)

    def _docker(self, words: list[str]) -> Completed:
        if words[1] == "port":
            return Completed(0 if self.published else 1, self.published, "")
        if words[1] == "exec":
            return Completed(0, self._in_node(words), "")
        return Completed(0 if self.docker else 1, self.left.get(words[1], ""), "")

    def _in_node(self, words: list[str]) -> str:
        if words[3] == "ls":
            return "\n".join(("null", "nvidiactl", *(f"nvidia{number}" for number in range(self.devices))))
        plugins = [] if self.plugin is None else [self.plugin]
        return json.dumps({"items": self.pods if "-A" in words else plugins})

    def open_exec(self, argv: Sequence[str], timeout_s: float) -> Channel:  # noqa: ARG002
        assert argv[3] == process._PROGRAM
        call = Call(list(argv[5:]), json.loads(argv[4]))
        self.calls.append(call)
        if call.verb == self.interrupted:
            return Channel(STARTING[:2], "", 0, interrupt=True)
        rc, lines, said = self.fails.get(call.verb, (0, STARTING if call.verb == "start" else (), ""))
        if call.verb == "delete" and self.on_delete:
            self.on_delete(self)
        elif rc == 0:
            self._done(call)
        return Channel(lines, said, rc)

    def forward(self, remote_host: str, remote_port: int) -> int:  # noqa: ARG002
        return remote_port

    def close(self) -> None:
        pass

    def _done(self, call: Call) -> None:
        if call.verb == "start" and self.after_start:
            self.after_start(self)
        elif call.verb == "start":
            self.runs(self.pci_gpus if any(word.startswith("--gpus=") for word in call.argv) else 0)
        elif call.verb == "update-context":
            self.status = status_of("Running")
            self.kubeconfig = f"current-context: {call.argv[-1]}"
        elif call.verb == "addons" and self.config is not None:
            self.config["Addons"][call.argv[3]] = True
        elif call.verb == "stop":
            self.stops()
        elif call.verb == "delete":
            self.is_gone()

    def _seen(self) -> dict[str, Any]:
        docker = said(0, json.dumps({"Version": self.docker})) if self.docker else said(1, "null\n", self.docker_error)
        there = bool(self.container and self.docker)
        facts = {"status": self.container, "network": {"Ports": {}, "Networks": {}}}
        one = {"name": self.named_as}
        names = {kind: {"labels": labels, **one} for kind, labels in self.named.items()} if self.docker else {}
        if there:
            names["container"] = {"labels": LABELS, **facts, "name": f"/{self.named_as}"}
        found: dict[str, Any] = {
            "uid": self.uid,
            "home": "/home/ada",
            "config": None if self.config is None else json.dumps(self.config),
            "folder": self.folder,
            "gpus": self.pci_gpus,
            "version": said(0, f"{self.version}\n") if self.version else said(127, "", "No such file or directory"),
            "docker": docker,
            **{kind: of_docker(kind, names.get(kind)) for kind in ("container", "volume", "network")},
            "profile": "gpuctl",
            "bundle": None if self.bundle is None else json.dumps(self.bundle),
            "kubeconfig": self.kubeconfig,
            "served": self.served,
            "others": list(self.others),
            "joined": self.joined,
        }
        if self.unclear:
            found["container"] = said(1, "", self.unclear)
        if self.config is not None:
            found["kubelet"] = said(0, "active\n") if there else said(1)
            listed = json.dumps({"items": [self.node]}) if self.node else ""
            found["node"] = said(0 if self.node else 1, listed)
        return found

    def _status(self) -> dict[str, Any]:
        if self.status is None:
            unknown = step(0, 'Profile "gpuctl" not found. Run "minikube profile list" to view all profiles.')
            return said(85, unknown + "\n")
        parts = (self.status["Host"], self.status["Kubelet"], self.status["APIServer"])
        code = (parts[0] != "Running") | (parts[1:] != ("Running", "Running")) << 1
        return said(code | (self.status["Kubeconfig"] != "Configured") << 2, json.dumps(self.status) + "\n")


def plain(words: list[str]) -> list[str]:
    """A command without what leads it to the machine's own Docker and the user's usual folders."""
    for given, kept in ((looking.DOCKER, ["docker"]), (looking.USUAL, [])):
        if words[: len(given)] == list(given):
            return [*kept, *words[len(given) :]]
    return words


def of_docker(kind: str, found: Mapping[str, Any] | None) -> dict[str, Any]:
    return said(0, f"{json.dumps(found)}\n") if found else said(1, "\n", f"Error: No such {kind}: gpuctl")


def said(rc: int, out: str = "", err: str = "") -> dict[str, Any]:
    return {"rc": rc, "out": out, "err": err}


class Channel:
    """A call of minikube that says its lines and ends."""

    def __init__(self, lines: Sequence[str], said: str, rc: int, *, interrupt: bool = False) -> None:
        self.closed = False
        self.exit_status = rc
        self.status_event = threading.Event()
        self.eof_received = True
        self._out = [f"{line}\n".encode() for line in lines]
        self._err = [said.encode()] if said else []
        self._interrupt = interrupt

    def settimeout(self, timeout: float | None) -> None:
        pass

    def sendall(self, s: bytes) -> None:
        pass

    def shutdown_write(self) -> None:
        self._interrupt = False
        self.status_event.set()

    def recv(self, nbytes: int) -> bytes:  # noqa: ARG002
        return self._out.pop(0) if self._out else b""

    def recv_stderr(self, nbytes: int) -> bytes:  # noqa: ARG002
        return self._err.pop(0) if self._err else b""

    def recv_ready(self) -> bool:
        if not self._out and self._interrupt:
            raise KeyboardInterrupt
        return bool(self._out)

    def recv_stderr_ready(self) -> bool:
        return bool(self._err)

    def exit_status_ready(self) -> bool:
        return not self._interrupt

    def recv_exit_status(self) -> int:
        return self.exit_status

    def close(self) -> None:
        self.closed = True
