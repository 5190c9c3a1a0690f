"""Servers on loopback that answer as they like, and the lanes that read what a Kubernetes API or a W&B server says."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bootstrap.apply import disrupt
from bootstrap.apply.launch_check import check_launch_server
from bootstrap.errors import GpuctlError, Problem
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_wandb import Server
from bootstrap.kube import addons
from bootstrap.kube.client import ApiError, Cluster, client_of
from bootstrap.launch.agent_cluster import deployment_seen, objects_seen
from bootstrap.launch.agent_model import AgentStatus, Target
from bootstrap.launch.agent_server import agents_of
from bootstrap.launch.queues import Queues
from bootstrap.launch.rights import missing_rights
from bootstrap.launch.trial_cluster import ClusterSide
from bootstrap.launch.trial_model import Asked
from bootstrap.launch.trial_server import WandbSide
from bootstrap.plan.model import Effect, Step
from bootstrap.ui.launch_agent import status_screen
from bootstrap.ui.launch_queue import queue_screen, queues_screen
from bootstrap.ui.problems import problem_lines
from bootstrap.verify import compute
from bootstrap.verify.look import look
from bootstrap.verify.plugins import pod_state
from bootstrap.verify.pods import assign
from tests.fuzz.controller import Bait
from tests.fuzz.hostlanes import everywhere

# An address for documentation (RFC 5737): nothing answers there, and nothing may be asked there.
FOREIGN = "http://192.0.2.1:80/"
KEY = "k" * 40
SEEN = "2026-11-23T10:00:00Z"
TARGET = Target("cluster", "rel", "wandb", ("jobs",), "https://api.wandb.ai", "lab", ("gpu",))
_BOMB_BYTES = 65 << 20  # more than any answer may have


@dataclass(frozen=True)
class Reply:
    """What a server answers to every request."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def server(reply: Callable[[str], Reply]) -> Iterator[str]:
    """A server on loopback; `reply` is given the path, or the name of a GraphQL operation. Its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            operation = json.loads(body).get("operationName") if self.path == "/graphql" else ""
            found = reply(operation or self.path)
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        do_POST = do_DELETE = do_PATCH = do_GET  # noqa: N815 - names of http.server

        def log_message(self, *_: object) -> None:
            """Nothing."""

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True  # the client has heard enough

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{found.server_port}"
        finally:
            found.shutdown()
            thread.join()


def _pod(name: str, text: str) -> dict[str, Any]:
    """A pod whose free texts are that one, and whose names are of the API's form."""
    state = {"waiting": {"reason": text, "message": text}}
    status = {"name": "main", "image": text, "restartCount": 1, "state": state}
    container = {"name": "main", "image": text, "env": [{"name": "WANDB_RUN_ID", "value": text}]}
    return {
        "metadata": {"name": name, "namespace": "jobs", "labels": {"a": text}, "annotations": {text: text}},
        "spec": {"nodeName": "gpu1", "containers": [container]},
        "status": {"phase": text, "reason": text, "message": text, "containerStatuses": [status]},
    }


def _api(text: str) -> Callable[[str], Any]:
    """Answers by path whose free texts are that one."""
    node = {
        "metadata": {"name": "gpu1", "annotations": {text: text}, "labels": {}},
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "False", "message": text}], "allocatable": {}},
    }
    receipt = {"schema": 1, "component": "flannel", "state": text, "objects": {f"apps/v1/Deployment/jobs/{text}": text}}
    event = {
        "metadata": {"name": "e", "namespace": "jobs"},
        "type": "Warning",
        "reason": text,
        "message": text,
        "involvedObject": {"kind": "Pod", "name": "p"},
        "lastTimestamp": SEEN,
    }

    def answer(path: str) -> Any:
        if "gpuctl-receipt" in path:
            return {"metadata": {"name": "r"}, "data": {"receipt": json.dumps(receipt)}}
        if "/pods" in path:
            return {"items": [_pod("p", text)]}
        if "/events" in path:
            return {"items": [event]}
        if "/nodes/" in path:
            return node
        if path.endswith("/nodes"):
            return {"items": [node]}
        return {"items": [], "metadata": {"name": "x", "annotations": {text: text}}, "data": {text: text}}

    return answer


_WANDB: Mapping[str, Any] = {
    "viewer": {"id": "v", "username": "ada"},
    "entity": {
        "id": "e",
        "isTeam": True,
        "defaultResourceConfig": {
            "config": json.dumps({"resource_args": {"kubernetes": {"spec": {"x": "TEXT"}}}}),
            "resource": "kubernetes",
            "templateVariables": [{"name": "gpus", "schema": json.dumps({"type": "TEXT"})}],
        },
    },
    "project": {
        "runQueues": [{"id": "q", "name": "gpu"}],
        "launchAgents": [
            {"id": "a", "name": "TEXT", "hostname": "TEXT", "agentStatus": "TEXT", "heartbeatAt": SEEN, "runQueues": []}
        ],
        "runQueue": {
            "id": "q",
            "prioritizationMode": "TEXT",
            "defaultResourceConfigID": "c",
            "runQueueItem": {"id": "i", "state": "FAILED", "associatedRunId": "TEXT", "error": {"message": "TEXT"}},
            "runQueueItems": {"edges": [{"node": {"id": "i", "state": "TEXT"}}]},
        },
        "run": {"state": "TEXT"},
    },
}


@cache
def _bomb() -> bytes:
    return gzip.compress(b" " * _BOMB_BYTES, 1)


def _deep() -> bytes:
    return b'{"items": ' * 100_000 + b"1" + b"}" * 100_000


def api_answers(bait: Bait) -> Mapping[str, Callable[[str], Reply]]:
    """By name: what a Kubernetes API answers."""
    texts = bait.texts()
    said = {"kind": "Status", "message": "\n".join(texts.values()), "reason": texts["statement"]}
    names = {"items": [_pod(f"../../..{bait.secret}", "x"), _pod(texts["shell"], "x")]}
    return {
        "sends elsewhere": lambda _: Reply(b"", 302, {"Location": FOREIGN}),
        "sends to a file": lambda _: Reply(b"", 307, {"Location": texts["address of a file"]}),
        "templates": lambda path: _json(_api(texts["look-up pipe"])(path)),
        "texts for a shell": lambda path: _json(_api(texts["shell"])(path)),
        "names that are paths": lambda _: _json(names),
        "refusal": lambda _: _json(said, 403),
        "nested": lambda _: Reply(_deep()),
        "bomb": lambda _: Reply(_bomb(), 200, {"Content-Encoding": "gzip"}),
    }


def wandb_answers(bait: Bait) -> Mapping[str, Callable[[str], Reply]]:
    """By name: what a W&B server answers."""
    texts = bait.texts()

    return {
        "sends elsewhere": lambda _: Reply(b"", 302, {"Location": FOREIGN}),
        "sends to a file": lambda _: Reply(b"", 307, {"Location": texts["address of a file"]}),
        "templates": lambda _: _json({"data": _plain(texts["look-up pipe"])}),
        "control characters": lambda _: _json({"data": _plain(texts["control characters and advice"])}),
        "texts everywhere": lambda _: _json({"data": everywhere(_WANDB, texts["YAML tag"])}),
        "refusal": lambda _: _json({"errors": [{"message": text} for text in texts.values()]}),
        "nested": lambda _: Reply(_deep()),
        "flood": lambda _: Reply(b'{"data": "' + b"x" * (20 << 20) + b'"}'),
    }


def _plain(text: str) -> Any:
    """The W&B answer with a text in the places of TEXT, in texts that are JSON themselves too."""

    def put(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: put(item) for key, item in value.items()}
        if isinstance(value, list):
            return [put(item) for item in value]
        if isinstance(value, str) and value.startswith("{"):
            return json.dumps(put(json.loads(value)))
        return text if value == "TEXT" else value

    return put(_WANDB)


def _json(document: Any, status: int = 200) -> Reply:
    return Reply(json.dumps(document).encode(), status, {"Content-Type": "application/json"})


def _asked(*calls: Callable[[], Any]) -> list[str]:
    """What each call comes to, as a person sees it: its result or its error."""
    lines: list[str] = []
    for call in calls:
        try:
            found = call()
            lines += [str(item) for item in found] if isinstance(found, list) else [repr(found)]
        except ApiError as error:
            lines += problem_lines([Problem("api-refused", error.message)])
        except GpuctlError as error:
            lines += problem_lines(error.problems)
        except HostError as error:
            lines += problem_lines([Problem(error.code, error.message, error.fix)])
    return lines


def _cluster(address: str) -> Cluster:
    named = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": "t0ken"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    return client_of(named)


def _api_bootstrap(address: str) -> list[str]:
    cluster = _cluster(address)
    return _asked(
        lambda: addons.receipt_in(cluster, "flannel"),
        lambda: addons.workloads(cluster, addons.receipt_in(cluster, "flannel") or {}),
        lambda: disrupt._cordoned_by_others(cluster, "gpu1"),
        lambda: list(disrupt._evictable(cluster, "gpu1")),
    )


def _api_verify(address: str) -> list[str]:
    cluster = _cluster(address)
    return _asked(
        lambda: look(cluster, ["gpu1"], "nvidia"),
        lambda: compute._sweep(cluster),
        lambda: assign((cluster.get("/api/v1/pods") or {}).get("items", []), {"gpu1": 8}),
    )


def _api_minikube(address: str) -> list[str]:
    cluster = _cluster(address)
    pods = "/api/v1/namespaces/kube-system/pods"
    return _asked(lambda: [pod_state(pod) for pod in (cluster.get(pods) or {}).get("items", [])])


def _api_launch(address: str) -> list[str]:
    cluster = _cluster(address)
    side = ClusterSide(cluster, "jobs")

    def status() -> list[str]:
        seen = objects_seen(cluster, TARGET) + deployment_seen(cluster, TARGET)
        return status_screen(AgentStatus(TARGET, seen.facts, {}, seen.problems))

    return _asked(
        status,
        lambda: missing_rights(cluster, "wandb", "a", ("jobs",)),
        lambda: side.look("run1", "item1"),
        lambda: cluster.text("/api/v1/namespaces/jobs/pods/p/log"),
    )


def _wandb_bootstrap(address: str) -> list[str]:
    agent = Step("gpu1", "launch_agent_host", "install", (), Effect.NONE)
    arguments = {
        "launch_agent_api_key": KEY,
        "launch_agent_base_url": address,
        "launch_agent_entity": "lab",
        "launch_agent_queues": ["gpu"],
        "cluster_ca_certificate": "",
    }
    return _asked(lambda: check_launch_server([agent], arguments))


def _wandb_launch(address: str) -> list[str]:
    queues = Queues(Server(address, KEY), "lab")
    side = WandbSide(Server(address, KEY), Asked("lab", "gpu", "p", "i"))

    def queue() -> list[str]:
        found = queues.read("gpu")
        return queue_screen("lab", found) if found else []

    return _asked(
        lambda: queues_screen("lab", queues.lines()),
        queue,
        lambda: agents_of(Server(address, KEY), "lab"),
        lambda: side.item("i"),
        side.agents,
        lambda: side.run_state("r"),
    )


API_LANES: Mapping[str, Callable[[str], list[str]]] = {
    "bootstrap": _api_bootstrap,
    "verify": _api_verify,
    "minikube": _api_minikube,
    "launch": _api_launch,
}
WANDB_LANES: Mapping[str, Callable[[str], list[str]]] = {"bootstrap": _wandb_bootstrap, "launch": _wandb_launch}
