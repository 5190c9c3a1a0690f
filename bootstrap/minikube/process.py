"""minikube's own program on a host, as the user of the connection: its events while it runs, its end with ours."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.minikube.events import Event, Remark, parse_event, words_of
from bootstrap.probe.session import Channel, Session
from bootstrap.probe.ssh_errors import ConnectFailure

_PAUSE_S = 0.05
_END_S = 15.0
_LAST_WORDS_S = 3.0
_SAID_LENGTH = 20_000
# Its standard input ends when nobody listens any more, however that came about: the program ends with it then, instead
# of going on alone on a host that nobody looks at.
_PROGRAM = r"""
import json, os, signal, subprocess, sys, threading, time
environment = dict(os.environ, **json.loads(sys.argv[1]))
for name in ("MINIKUBE_HOME", "KUBECONFIG", "DOCKER_HOST"):
    environment.pop(name, None)
environment["DOCKER_CONTEXT"] = "default"
environment["PATH"] = "/usr/local/bin:" + environment.get("PATH", "/usr/bin:/bin")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
try:
    child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, env=environment,
                             preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(127)
def end():
    while os.read(0, 1 << 12):
        pass
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(5)
    os.killpg(os.getpgrp(), signal.SIGKILL)
threading.Thread(target=end, daemon=True).start()
code = child.wait()
sys.stdout.flush()
os._exit(code if code >= 0 else 128 - code)
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """A call of minikube that has ended; `said` is what it printed that was no event, the last of it."""

    rc: int
    events: tuple[Event, ...]
    said: str


def run_minikube(
    session: Session,
    argv: Sequence[str],
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    heard: Callable[[Event], None] = lambda _event: None,
) -> Ran:
    """Run it to its end; `heard` gets each event as it comes.

    Ctrl-C ends it there, too, before it goes on its way here.

    Raises:
        ConnectFailure: the connection was lost.
        GpuctlError: it did not end in `timeout_s` seconds (exit 5).
    """
    channel = session.open_exec(
        [*session.python, "-I", "-c", _PROGRAM, json.dumps(dict(environment or {})), *argv], 30.0
    )
    deadline = time.monotonic() + timeout_s
    events: list[Event] = []
    try:
        said = _listen(channel, deadline, events, heard)
        if session.lost:  # its channel looks like one that has ended then
            words = f"the connection to {session.address} was lost while {' '.join(argv[:2])} ran"
            raise ConnectFailure("unreachable", words, "run the same command again when the machine answers")
        return Ran(channel.recv_exit_status(), tuple(events), said)
    except TimeoutError as error:
        last = next((words_of(event) for event in reversed(events)), "none")
        words = f"{' '.join(argv[:2])} did not end within {timeout_s:.0f} s; its last words: {last}"
        fix = f"look at the load of the host and at `minikube logs{_of_profile(argv)}`"
        problem = Problem("minikube-failed", words, fix)
        raise GpuctlError(ExitCode.STEP_FAILED, problem) from error
    finally:
        _end(channel)


def _of_profile(argv: Sequence[str]) -> str:
    """The option that names the profile which a call was for; empty for one that was for none."""
    words = " ".join(argv).replace("--profile=", "--profile ").split()
    return f" -p {words[words.index('--profile') + 1]}" if "--profile" in words else ""


def _listen(channel: Channel, deadline: float, events: list[Event], heard: Callable[[Event], None]) -> str:
    """Read both streams to their ends; what was said on the second."""
    pending, said = b"", b""
    last_s = 0.0
    while True:
        # Asked first: its last words are there by then. Over ssh the status may overtake them.
        ended = channel.exit_status_ready()
        if ended and not channel.eof_received:
            last_s = last_s or time.monotonic() + _LAST_WORDS_S
            ended = time.monotonic() > last_s
        idle = True
        if channel.recv_ready():
            idle = False
            *lines, pending = (pending + channel.recv(1 << 16)).split(b"\n")
            for line in lines:
                _take(line, events, heard)
        if channel.recv_stderr_ready():
            idle = False
            said = (said + channel.recv_stderr(1 << 16))[-_SAID_LENGTH:]
        if idle and ended:
            _take(pending, events, heard)
            remarks = [e.message for e in events if isinstance(e, Remark) and not e.warning]
            return "\n".join([*remarks[-40:], said.decode("utf-8", "replace")]).strip()
        if time.monotonic() > deadline:
            raise TimeoutError
        if idle:
            time.sleep(_PAUSE_S)


def _take(line: bytes, events: list[Event], heard: Callable[[Event], None]) -> None:
    event = parse_event(line.decode("utf-8", "replace"))
    if event is not None:
        events.append(event)
        heard(event)


def _end(channel: Channel) -> None:
    """Have what still runs end there, and wait for it."""
    try:
        if not channel.exit_status_ready():
            channel.shutdown_write()
            channel.status_event.wait(_END_S)
    except OSError:
        pass  # the connection is lost: the program sees its own end of it
    finally:
        channel.close()
