"""The child process that runs Ansible: the only importer of ansible_runner.

It is given a request file, prints one JSON line per event on stdout and one last line with the result, and ends
Ansible when it is told to (SIGTERM), when nobody reads it any more, or when its parent dies, however that happened.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_KEPT_EVENTS = frozenset(
    {
        "playbook_on_play_start",
        "playbook_on_task_start",
        "runner_on_start",
        "runner_on_ok",
        "runner_on_failed",
        "runner_on_skipped",
        "runner_on_unreachable",
    }
)
_KEPT_RESULT = ("msg", "changed", "stderr", "stdout", "rc", "argument_errors", "code", "fix", "details", "state")


class _Cancel:
    """Whether the run has to end; asked by ansible_runner between reads."""

    def __init__(self) -> None:
        self.wanted = False

    def __call__(self) -> bool:
        return self.wanted or os.getppid() == 1

    def want(self, *_: object) -> None:
        self.wanted = True


def main(request_file: str) -> int:
    """Run the playbook of the request; always 0 once the result line is printed."""
    cancel = _Cancel()
    signal.signal(signal.SIGTERM, cancel.want)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))

    import ansible_runner

    def on_event(event: dict[str, Any]) -> bool:
        if event.get("event") in _KEPT_EVENTS:
            _say({"kind": "event", **_trimmed(event)}, cancel)
        return False  # nothing of it is written to artifacts

    result = ansible_runner.run(
        private_data_dir=request["private_data_dir"],
        project_dir=request["project_dir"],
        playbook=request["playbook"],
        inventory=request["inventory"],
        forks=request["forks"],
        event_handler=on_event,
        cancel_callback=cancel,
        quiet=True,
        suppress_env_files=True,
        settings={"suppress_ansible_output": True, "pexpect_timeout": 1},
    )
    tail = _output_tail(Path(request["private_data_dir"]))
    processed = sorted((result.stats or {}).get("processed", {}))
    _say({"kind": "end", "status": result.status, "rc": result.rc, "processed": processed, "tail": tail}, cancel)
    return 0


def _trimmed(event: dict[str, Any]) -> dict[str, Any]:
    """What the parent needs of an event; results are cut down to what explains them."""
    data = event.get("event_data", {})
    result = data.get("res") if isinstance(data.get("res"), dict) else {}
    return {
        "event": event["event"],
        "play": data.get("play"),
        "host": data.get("host"),
        "role": data.get("role"),
        "task": data.get("task"),
        "action": data.get("task_action"),
        "path": data.get("task_path"),
        "ignored": bool(data.get("ignore_errors")),
        "res": {key: result[key] for key in _KEPT_RESULT if key in result},
    }


def _say(line: dict[str, Any], cancel: _Cancel) -> None:
    try:
        sys.stdout.write(json.dumps(line, default=str) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        cancel.want()


def _output_tail(private_data_dir: Path) -> str:
    """The end of what ansible-playbook printed: parse errors are told nowhere else."""
    outputs = sorted(private_data_dir.glob("artifacts/*/stdout"))
    return outputs[-1].read_text(encoding="utf-8", errors="replace")[-4000:] if outputs else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
