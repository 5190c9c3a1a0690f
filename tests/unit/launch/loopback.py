"""For whole runs of `gpuctl launch test` over loopback: an agent that speaks to the double, an API server that has one
Job, and the kubeconfig that leads to it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_wandb import PROJECT, Server
from bootstrap.kube.client import ApiError
from tests.doubles.wandb_api import Double
from tests.unit.launch.kube_fixture import NAMESPACE, FakeCluster

RUN = "abcd1234"
_QUEUE = (
    "mutation UpsertRunQueue($input: UpsertRunQueueInput!) { upsertRunQueue(input: $input) "
    "{ success configSchemaValidationErrors } }"
)
_QUEUES = (
    "query ProjectRunQueues($entity: String!, $projectName: String!) "
    "{ project(entityName: $entity, name: $projectName) { runQueues { id name } } }"
)
_CREATE = (
    "mutation createLaunchAgent($input: CreateLaunchAgentInput!) { createLaunchAgent(input: $input) { launchAgentId } }"
)
_POP = (
    "mutation popFromRunQueue($input: PopFromRunQueueInput!) { popFromRunQueue(input: $input) "
    "{ runQueueItemId runSpec } }"
)
_ACK = "mutation ackRunQueueItem($input: AckRunQueueItemInput!) { ackRunQueueItem(input: $input) { success } }"
_FAIL = "mutation failRunQueueItem($input: FailRunQueueItemInput!) { failRunQueueItem(input: $input) { success } }"


def make_queue(
    double: Double, name: str = "gpu", resource: str = "kubernetes", more: dict[str, Any] | None = None
) -> None:
    """A queue for Jobs of 1 to 8 GPUs; `more` goes into the pod's spec."""
    container = {"resources": {"limits": {"nvidia.com/gpu": "{{gpus}}"}}}
    config = {
        "metadata": {"namespace": NAMESPACE},
        "spec": {"template": {"spec": {"containers": [container], **(more or {})}}},
    }
    schema = {"type": "integer", "default": 1, "minimum": 1, "maximum": 8}
    given = {
        "entityName": double.entity,
        "projectName": PROJECT,
        "queueName": name,
        "resourceType": resource,
        "resourceConfig": json.dumps({"resource_args": {resource: config}}),
        "templateVariables": json.dumps({"gpus": {"schema": schema}}),
        "prioritizationMode": "DISABLED",
    }
    Server(double.url, double.api_key).ask(_QUEUE, {"input": given})


class LoopbackAgent:
    """What the real agent does with one item, as far as the server and the cluster see it.

    `refuses`: the words with which it fails the item; None: without any.
    """

    def __init__(self, double: Double, cluster: FakeCluster, *, refuses: str | None = "", queue: str = "gpu") -> None:
        self._server = Server(double.url, double.api_key)
        self._double, self._cluster, self._refuses = double, cluster, refuses
        self._queue = queue
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.spec: dict[str, Any] = {}

    @contextmanager
    def running(self) -> Iterator[LoopbackAgent]:
        """Polls for the time of a `with`."""
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(timeout=30)

    def _work(self) -> None:
        found = self._server.ask(_QUEUES, {"entity": self._double.entity, "projectName": PROJECT})
        queue = next(q for q in found["project"]["runQueues"] if q["name"] == self._queue)
        names = {"entity": self._double.entity, "project": PROJECT, "queues": [queue["id"]], "hostname": "gpu1"}
        given = {
            "entityName": names["entity"],
            "projectName": PROJECT,
            "runQueues": names["queues"],
            "hostname": "gpu1",
        }
        agent = self._server.ask(_CREATE, {"input": given})["createLaunchAgent"]["launchAgentId"]
        place = {"entityName": names["entity"], "projectName": PROJECT, "queueName": queue["name"]}
        while not self._stop.wait(0.1):
            try:
                popped = self._server.ask(_POP, {"input": {**place, "launchAgentId": agent}})["popFromRunQueue"]
                if popped:
                    self._launch(popped["runQueueItemId"], popped["runSpec"])
            except HostError:
                continue  # an outage: it polls again

    def _launch(self, item: str, spec: Any) -> None:
        self.spec = json.loads(spec) if isinstance(spec, str) else spec
        if self._refuses != "":
            given = {"runQueueItemId": item, "message": self._refuses, "stage": "agent", "filePaths": []}
            self._server.ask(_FAIL, {"input": given})
            return
        self._server.ask(_ACK, {"input": {"runQueueItemId": item, "runName": RUN}})
        done = subprocess.run(
            [sys.executable, *self.spec["overrides"]["entry_point"][1:]],
            env={
                "WANDB_BASE_URL": self._double.url,
                "WANDB_API_KEY": self._double.api_key,
                "WANDB_ENTITY": self.spec["entity"],
                "WANDB_PROJECT": self.spec["project"].lower(),
                "WANDB_RUN_ID": RUN,
                "WANDB_NAME": self.spec["name"],
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        _, registered = done.stdout.splitlines()
        seen = {"gpuctl_hello": 1, "gpus": 2, "devices": ["nvidia0", "nvidia1"], "visible": "void"}
        self._cluster.log = f"{json.dumps(seen)}\n{registered}\n"  # this machine may have no GPU, the node has two
        self._cluster.make_job(RUN, item)


@contextmanager
def kubeconfig(cluster: FakeCluster, folder: Path) -> Iterator[Path]:
    """An API server on loopback that answers from the fake cluster, and the kubeconfig for it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            try:
                if parts.path == "/version":
                    status, answer = 200, json.dumps({"major": "1"})
                elif parts.path.endswith("/log"):
                    status, answer = 200, cluster.text(parts.path, query)
                else:
                    status, answer = 200, json.dumps(cluster.get(parts.path, query))
            except ApiError as error:
                status, answer = error.status, json.dumps({"kind": "Status", "message": error.message})
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        path = folder / "kubeconfig"
        path.write_text(
            yaml.safe_dump({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            })
        )  # fmt: skip
        yield path
        server.shutdown()
        thread.join()
