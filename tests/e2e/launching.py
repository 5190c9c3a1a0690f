"""A W&B Launch of a lab: the double of its server, gpuctl's commands, and the real client's own."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.tool import Lab, Ran, wait_for

NAMESPACE = "launch-jobs"  # where new installations have jobs
POLICY = "ValidatingAdmissionPolicy 'wandb-launch-agent-gpuctl'"
QUEUE, ENTITY, PROJECT = "gpus", "vision", "hello"
KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f001234567"
IMAGE = "docker.io/library/python:3.11-slim-bookworm"
UNIT = "gpuctl-launch-agent.service"
VENV = "/opt/gpuctl/launch-agent"


class Launch:
    """The server, and what people do with it: gpuctl's commands and the client's own."""

    def __init__(self, lab: Lab, server: Any, host: str = "cp1") -> None:
        self.lab = lab
        self.host = host  # that of the agent
        self.server = server
        self.key_file = lab.folder / "wandb.key"
        self.key_file.write_text(f"{KEY}\n")
        self.key_file.chmod(0o600)
        self.options = ("-e", ENTITY, "--base-url", server.url, "--api-key-file", str(self.key_file))

    def queue(self, *arguments: str, expect: int | None = 0) -> Ran:
        return self.lab.gpuctl("launch", "queue", *arguments, *self.options, expect=expect)

    def status(self, expect: int | None = 0) -> Ran:
        return self.lab.gpuctl("launch", "agent", "status", *self.lab.named, expect=expect)

    def trial(self, *arguments: str, expect: int | None = 0) -> dict[str, Any]:
        ran = self.lab.gpuctl("launch", "test", *arguments, *self.lab.named, "--output", "json", expect=expect)
        return ran.document

    def client(self, *command: str, stdin: str = "") -> str:
        """A program of the client's environment on the agent's host, with its key as `wandb login` leaves it."""
        environment = [
            "HOME=/tmp/researcher",
            "NETRC=/etc/gpuctl/launch-agent/netrc",
            f"WANDB_BASE_URL={self.server.url}",
            "WANDB_ERROR_REPORTING=false",
        ]
        script = 'mkdir -p /tmp/researcher && cd /tmp/researcher && "$@" 2>&1; echo "exit $?"'
        words = ["env", *environment, "sh", "-c", script, "sh", f"{VENV}/bin/{command[0]}", *command[1:]]
        return self.lab.ssh(self.host, *words, stdin=stdin)

    def submit(self, program: str, *arguments: str, queue: str = QUEUE) -> str:
        """`wandb launch` with a job that runs this Python program, as a researcher calls it."""
        config = json.dumps({"overrides": {"entry_point": ["python3", "-c", program]}})
        self.lab.ssh(self.host, "sh", "-c", "mkdir -p /tmp/researcher && cat > /tmp/researcher/job.json", stdin=config)
        job = ("-d", IMAGE, "-q", queue, "-e", ENTITY, "-p", PROJECT, "-c", "job.json")
        return self.client("wandb", "launch", *job, *arguments)

    def jobs(self) -> dict[str, dict[str, Any]]:
        """The Jobs of the agent in the cluster, by name."""
        found = json.loads(
            self.lab.kubectl("get", "jobs", "-n", NAMESPACE, "-o", "json", "-l", "wandb.ai/monitor=true")
        )
        return {job["metadata"]["name"]: job for job in found["items"]}

    def new_job(self, before: set[str], deadline_s: float = 60.0) -> dict[str, Any]:
        """The first Job that was not there before."""
        return wait_for(
            "a Job of the agent", lambda: next((j for n, j in self.jobs().items() if n not in before), None), deadline_s
        )

    def pod(self, job: dict[str, Any]) -> dict[str, Any] | None:
        name = job["metadata"]["name"]
        found = json.loads(self.lab.kubectl("get", "pods", "-n", NAMESPACE, "-o", "json", "-l", f"job-name={name}"))
        return found["items"][0] if found["items"] else None

    def phase(self, job: dict[str, Any]) -> str:
        pod = self.pod(job)
        return str(pod["status"]["phase"]) if pod else ""

    def item(self, item: str) -> Any:
        return self.server.state()["items"][item]

    def operations(self) -> list[str]:
        return [str(entry.get("op")) for entry in self.server.log()]
