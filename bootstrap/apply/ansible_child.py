"""The child process that runs Ansible: the only importer of ansible_runner.

It is given a request file, prints one JSON line per event on stdout and one last line with the result, and ends
Ansible when it is told to (SIGTERM), when nobody reads it any more, or when its parent dies, however that happened.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
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
_TAIL_BYTES = 16_000  # 4,000 characters, of four bytes at most
_END_S = 5.0  # for processes to be gone after SIGKILL
_KEPT_TEXTS = ("msg", "stderr", "stdout", "code", "fix", "details", "state")
# Of a text that a host sends; the console shows 2,000 characters, and the log is read by people.
MOST_TEXT = 64 << 10
_MOST_ERRORS = 100


class _Cancel:
    """Whether the run has to end; asked by ansible_runner between reads.

    Ansible's workers lead sessions of their own, so ending its process group, as ansible_runner does, leaves them at
    work: whatever descends from us is ended here, but for the modules on this machine when it is a host itself. These
    finish what they do, as those on other hosts do, and the next run waits for them.
    """

    def __init__(self, parent: int | None = None) -> None:
        self._wanted = False
        self._parent = os.getppid() if parent is None else parent

    def __call__(self) -> bool:
        if not self._wanted and self.orphaned:
            self.want()
        return self._wanted

    @property
    def orphaned(self) -> bool:
        """Whether the process that asked for this run is gone."""
        return os.getppid() != self._parent

    def want(self, *_: object) -> None:
        """End Ansible now. Also a signal handler."""
        self._wanted = True
        end = time.monotonic() + _END_S
        while (left := _ours(_descendants(os.getpid()))) and time.monotonic() < end:
            for pid in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


def main(request_file: str) -> int:
    """Run the playbook of the request; always 0 once the result line is printed.

    Nobody else is left to remove the private directory, with its secrets, when the parent was killed: we do it then.
    """
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    cancel = _Cancel(request["owner"])
    try:
        return _run(request, cancel)
    finally:
        if cancel.orphaned:
            cancel.want()  # what still runs, ssh masters too, would write there again
            shutil.rmtree(request["private_data_dir"], ignore_errors=True)


def _run(request: dict[str, Any], cancel: _Cancel) -> int:
    signal.signal(signal.SIGTERM, cancel.want)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans of a killed Ansible stay our descendants

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


def _descendants(pid: int) -> set[int]:
    """All living processes below one."""
    children: dict[int, set[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (
                (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:2]
            )
            if state != "Z":
                children.setdefault(int(parent), set()).add(int(process.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        new = children.get(todo.pop(), set()) - found
        found |= new
        todo += new
    return found


def _ours(pids: set[int]) -> set[int]:
    """Of these processes, those of Ansible itself: what runs on a host has GPUCTL_RUN set, or is sudo's."""
    found = set()
    for pid in pids:
        with suppress(OSError):  # it has ended, or is root's
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            if not (b"\0" + environ).count(b"\0GPUCTL_RUN="):
                found.add(pid)
    return found


def _trimmed(event: dict[str, Any]) -> dict[str, Any]:
    """What the parent needs of an event; results are cut down to what explains them."""
    data = event.get("event_data", {})
    return {
        "event": event["event"],
        "play": data.get("play"),
        "host": data.get("host"),
        "role": data.get("role"),
        "task": data.get("task"),
        "action": data.get("task_action"),
        "path": data.get("task_path"),
        "ignored": bool(data.get("ignore_errors")),
        "res": _result(data.get("res")),
    }


def _result(found: Any) -> dict[str, Any]:
    """What explains a result, each part of its type and of a bounded length: a host chose all of it."""
    result = found if isinstance(found, dict) else {}
    kept: dict[str, Any] = {key: _cut(result[key]) for key in _KEPT_TEXTS if result.get(key) not in (None, "")}
    if isinstance(result.get("rc"), int) and abs(result["rc"]) < 1 << 31:
        kept["rc"] = int(result["rc"])
    errors = result.get("argument_errors")
    if isinstance(errors, list | tuple):
        kept["argument_errors"] = [_cut(error) for error in errors[:_MOST_ERRORS]]
    return {**kept, "changed": result.get("changed") is True}


def _cut(value: Any) -> str:
    """Beginning and end of a text: what went wrong stands at one of them."""
    try:
        text = str(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        return "what cannot be shown"
    half = MOST_TEXT // 2
    return text if len(text) <= MOST_TEXT else f"{text[:half]}\n… {len(text) - 2 * half} characters …\n{text[-half:]}"


def _say(line: dict[str, Any], cancel: _Cancel) -> None:
    try:
        sys.stdout.write(json.dumps(line, default=str) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        cancel.want()


def _output_tail(private_data_dir: Path) -> str:
    """The end of what ansible-playbook printed: parse errors are told nowhere else."""
    outputs = sorted(private_data_dir.glob("artifacts/*/stdout"))
    if not outputs:
        return ""
    with outputs[-1].open("rb") as stream:
        stream.seek(max(outputs[-1].stat().st_size - _TAIL_BYTES, 0))
        return stream.read().decode("utf-8", "replace")[-4000:]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
