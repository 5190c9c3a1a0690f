"""What the end-to-end tests share: the gpuctl command, a lab, and looks at hosts that do not go through gpuctl."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.rundir import state_home
from bootstrap.testvm.names import LabPaths

_KUBECTL = ("kubectl", "--kubeconfig=/etc/kubernetes/admin.conf")
GPUCTL = str(Path(sys.executable).with_name("gpuctl"))
DEADLINE_S = 900.0
# One login per host and boot: each costs both sides more than most commands do. A host that is gone is given up soon.
_SHARED = ("ControlMaster=auto", "ControlPersist=30", "ServerAliveInterval=5", "ServerAliveCountMax=3")
_SECRETS = re.compile(rb"\b[a-z0-9]{6}\.[a-z0-9]{16}\b|PRIVATE KEY|client-key-data: \S")


@dataclass(frozen=True)
class Ran:
    """One finished command."""

    code: int
    out: str
    err: str
    elapsed_s: float

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed


class Lab:
    """Test hosts of one name, with a kubeconfig and a state directory of their own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.inventory = folder / f"{name}.ini"
        self.named = ("--inventory", self.inventory.name)
        self.kubeconfig = folder / "kubeconfig"
        self.runs: list[Path] = []
        self.leaks: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """The user's kubeconfig stays out of it."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "NO_COLOR": "1"}

    def gpuctl(self, *arguments: str, deadline_s: float = DEADLINE_S, expect: int | None = 0) -> Ran:
        """Run gpuctl in the lab's folder; `expect` is the exit code that it must have (None: any)."""
        begun, wall = time.monotonic(), time.time()
        done = subprocess.run(
            [GPUCTL, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=deadline_s,
            check=False,
        )
        ran = Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - begun)
        self._note_runs(wall)
        if expect is not None:
            assert ran.code == expect, (
                f"gpuctl {' '.join(arguments)}: exit {ran.code}\n{ran.out[-4000:]}\n{ran.err[-8000:]}"
            )
        return ran

    def json(self, *arguments: str, expect: int | None = 0) -> dict[str, Any]:
        """Run gpuctl with --output json."""
        return self.gpuctl(*arguments, "--output", "json", expect=expect).document

    def plan(self) -> dict[str, str]:
        """What `gpuctl plan` would do: "host component" → reasons."""
        steps = self.json("plan", *self.named)["data"]["plan"]["steps"]
        return {f"{step['host']} {step['component']}": "; ".join(step["reasons"]) for step in steps}

    def ssh(self, host: str, *command: str, expect: int | None = 0, stdin: str = "", deadline_s: float = 120.0) -> str:
        """Run a command on a host, with plain ssh."""
        from bootstrap.testvm.lab import ssh_command

        shared = [word for option in (*_SHARED, f"ControlPath={self._connection(host)}") for word in ("-o", option)]
        program, *rest = ssh_command(self.name, host)
        done = subprocess.run(
            [program, *shared, *rest, shlex.join(command)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=deadline_s,
            check=False,
        )
        if expect is not None:
            assert done.returncode == expect, f"{host}: {command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _connection(self, host: str) -> Path:
        """The socket of the connection that commands on this host share until it boots anew."""
        try:
            boots = json.loads((LabPaths.of(self.name).runtime / host / "status.json").read_text())["boots"]
        except (OSError, ValueError, KeyError):
            boots = 0
        return self.folder / f"ssh-{host}-{boots}"

    def disconnect(self) -> None:
        """End the connections that commands share; one that hangs ends by itself, and keeps no lab from going."""
        for path in self.folder.glob("ssh-*"):
            with suppress(subprocess.TimeoutExpired):
                end = ["ssh", "-O", "exit", "-o", f"ControlPath={path}", "host"]
                subprocess.run(end, capture_output=True, timeout=30, check=False)

    def home(self, host: str) -> Path:
        """The host's folder on this machine."""
        return LabPaths.of(self.name).host(host)

    def kubectl(self, *arguments: str) -> str:
        """kubectl on the control plane, with the administrator's credentials."""
        return self.ssh("cp1", *_KUBECTL, *arguments)

    @contextmanager
    def applied_objects(self, objects: list[dict[str, Any]]) -> Iterator[None]:
        """Definitions of kinds, in the cluster while the block runs."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        names = [f"customresourcedefinition/{item['metadata']['name']}" for item in objects]
        self.ssh("cp1", *_KUBECTL, "apply", "-f", "-", stdin=text)
        try:
            self.ssh("cp1", *_KUBECTL, "wait", "--for=condition=Established", "--timeout=30s", *names)
            yield
        finally:
            self.ssh("cp1", *_KUBECTL, "delete", *names)

    def last_run(self) -> Path:
        """The run directory of the last command that made one."""
        assert self.runs, "no command made a run directory"
        return self.runs[-1]

    def _note_runs(self, begun: float) -> None:
        """Remember the run directories of a command (only the newest are kept); look for secrets in them at once."""
        for path in sorted((state_home() / "runs").iterdir()):
            if path.is_dir() and path.stat().st_mtime >= begun - 1 and path not in self.runs:
                self.runs.append(path)
                self.leaks += secrets_in(path)

    def applied(self, ran: dict[str, Any]) -> dict[str, list[str]]:
        """Host → components that a bootstrap ran."""
        return {o["host"]: o["completed"] for o in ran["data"]["outcomes"] if o["completed"]}


def wait_for(what: str, check: Callable[[], Any], deadline_s: float = 120.0, pause_s: float = 0.5) -> Any:
    """Call `check` until it gives something true; fail with what it last gave."""
    end = time.monotonic() + deadline_s
    while True:
        last = check()
        if last:
            return last
        assert time.monotonic() < end, f"{what}: not within {deadline_s:.0f} s; last seen: {last!r}"
        time.sleep(pause_s)


def secrets_in(run: Path) -> list[str]:
    """What of a run directory holds a bootstrap token or a private key, or is open to others."""
    found = [f"{run} is open to others"] if run.stat().st_mode & 0o077 else []
    for path in (p for p in run.rglob("*") if p.is_file()):
        if match := _SECRETS.search(path.read_bytes()):
            found.append(f"{path.name}: {match.group()[:9].decode('ascii', 'replace')}…")
    return found
