"""A test host on which gpuctl makes a machine a minikube cluster, and looks at it that do not go through gpuctl."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes
import urllib3

from tests.e2e import building
from tests.e2e.conftest import made_lab
from tests.e2e.tool import Lab, wait_for

PROFILE = "e2e"
COUNT = "import os; print(sum(name[:6] == 'nvidia' and name[6:].isdigit() for name in os.listdir('/dev')))"
SIZE = ("--cpus", "2", "--memory", "4g")
KUBECONFIG = "--kubeconfig=/var/lib/minikube/kubeconfig"
# All that a profile leaves, and what may be somebody else's: "container NAME", "record NAME", "context NAME", ...
_TRACES = r"""
for kind in "ps -a" "volume ls" "network ls"; do
    case $kind in ps*) form="container {{.Names}}" ;; *) form="${kind% ls} {{.Name}}" ;; esac
    docker $kind --format "$form"
done
for folder in profiles machines; do
    for path in /root/.minikube/$folder/*/; do [ -d "$path" ] && echo "$folder $(basename "$path")"; done
done
sed -n 's/^  name: /context /p; s/^current-context: /current /p' /root/.kube/config
"""


class Machine:
    """The lab's one host, and the profile on it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def minikube(self, verb: str, *options: str, expect: int | None = 0) -> dict[str, Any]:
        """`gpuctl minikube VERB`: its JSON document."""
        return self.lab.json("minikube", verb, "--profile", PROFILE, *self.lab.named, *options, expect=expect)

    def up(self, *options: str, expect: int | None = 0) -> dict[str, Any]:
        return self.minikube("up", *SIZE, *options, expect=expect)

    def ssh(self, *command: str, expect: int | None = 0, stdin: str = "", deadline_s: float = 120.0) -> str:
        return self.lab.ssh("mk1", *command, expect=expect, stdin=stdin, deadline_s=deadline_s)

    def codes(self, document: dict[str, Any]) -> list[str]:
        assert all(error["fix"] for error in document["errors"])
        return [error["code"] for error in document["errors"]]

    def started(self) -> str:
        """When the node's container was started: what a second `up` must not change."""
        return self.ssh("docker", "inspect", "-f", "{{.State.StartedAt}}", PROFILE)

    def objects(self) -> list[str]:
        """What Docker has under the profile's name."""
        found = []
        for kind, words in (
            ("container", ["--all", "--format={{.Names}}"]),
            ("volume", ["--format={{.Name}}"]),
            ("network", ["--format={{.Name}}"]),
        ):
            listed = self.ssh("docker", kind, "ls", *words)
            found += [f"{kind} {line}" for line in listed.split() if PROFILE in line]
        return found

    def nodes_from_here(self, home: dict[str, Any]) -> list[str]:
        """What another client sees with the context that was brought home, while the tunnel runs that `up` names."""

        def nodes() -> list[str]:
            module: Any = kubernetes  # its types know neither kubeconfigs nor what an answer holds
            with module.config.new_client_from_config(home["path"], home["context"]) as client:
                found = module.client.CoreV1Api(client).list_node(_request_timeout=5)
            return [node.metadata.name for node in found.items]

        def answered() -> list[str]:
            try:
                return nodes()
            except urllib3.exceptions.HTTPError:  # the tunnel is still being made
                return []

        tunnel = subprocess.Popen(shlex.split(home["tunnel"]), stdin=subprocess.DEVNULL)
        try:
            return list(wait_for("the API through the tunnel", answered, 30.0))
        finally:
            tunnel.terminate()
            tunnel.wait(10)

    def seen_by_a_pod(self, gpus: int) -> str:
        """How many GPUs a pod prints that asks for so many."""
        container = {
            "name": "counting",
            "image": "docker.io/library/python:3.11-slim-bookworm",
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "-c", COUNT],
            "resources": {"limits": {"nvidia.com/gpu": gpus}},
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "counting"},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
        version = self.minikube("status")["data"]["kubernetes_version"]
        kubectl = (PROFILE, f"/var/lib/minikube/binaries/{version}/kubectl", KUBECONFIG)
        self.ssh("docker", "exec", "-i", *kubectl, "apply", "-f", "-", stdin=json.dumps(pod))
        wait = ("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/counting", "--timeout=60s")
        self.ssh("docker", "exec", *kubectl, *wait)
        return self.ssh("docker", "exec", *kubectl, "logs", "counting")

    def traces(self) -> set[str]:
        """What Docker, minikube and the kubeconfig have there, of whatever name."""
        return set(self.ssh("sh", "-c", _TRACES, expect=None).splitlines())


@contextmanager
def made_machine(folder: Path, prefix: str, lane_cost_s: float) -> Iterator[Machine]:
    """A fresh host with eight simulated GPUs, without Docker; the lane is skipped where it cannot be built in time."""
    building.have("minikube", lane_cost_s)
    with made_lab(folder, prefix, "--lane", "minikube") as lab:
        yield Machine(lab)
