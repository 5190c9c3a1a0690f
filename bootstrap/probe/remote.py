"""Single commands as root on a host, for the few things that neither the probe nor a role does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bootstrap.access import Access
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_strictjson import parse_object
from bootstrap.inventory.model import Host
from bootstrap.probe.connect import connect
from bootstrap.probe.remote_python import run_python
from bootstrap.probe.session import Completed, Session
from bootstrap.probe.ssh_errors import ConnectFailure, answer_unreadable

_ROOT_TIMEOUT_S = 20.0
_ANSWER_S = 10.0  # for Python to start and to answer, beyond the command's own time
_RUN = """
import json, subprocess
try:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
    out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    answer = {"rc": done.returncode, "out": out, "err": err}
except FileNotFoundError as error:
    answer = {"rc": 127, "out": "", "err": str(error)}
except subprocess.TimeoutExpired:
    answer = {"rc": -1, "out": "", "err": "did not end within %s s" % seconds}
print(json.dumps(answer))
"""


@contextmanager
def reach(host: Host, access: Access) -> Iterator[Session]:
    """A connection to the host.

    Raises:
        GpuctlError: it cannot be reached, or is lost on the way (exit 4).
    """
    try:
        with connect(host, accept_new_host_keys=access.accept_new_host_keys) as session:
            yield session
    except ConnectFailure as failure:
        problem = Problem(failure.code, str(failure), failure.fix, host.name)
        raise GpuctlError(ExitCode.PREFLIGHT, problem) from failure


def run_as_root(
    session: Session, host: Host, argv: Sequence[str], access: Access, timeout_s: float = _ROOT_TIMEOUT_S
) -> Completed:
    """Run a command with root's rights and wait for its end; exit status 127 when there is no such program.

    Raises:
        ConnectFailure: the connection was lost, sudo refuses, it took longer than `timeout_s` seconds, or the answer
            cannot be read.
    """
    program = f"argv = {list(argv)!r}\nseconds = {timeout_s!r}\n{_RUN}"
    password = access.become_password
    done = run_python(session, host, program, password=password, timeout_s=timeout_s + _ANSWER_S)
    answer = last_object(done, rc=int, out=str, err=str)
    return Completed(answer["rc"], answer["out"], answer["err"])


def last_object(done: Completed, **kinds: type) -> dict[str, Any]:
    """The JSON object in the last line of what a program of ours printed on a host; `kinds` are keys that it has.

    Raises:
        ConnectFailure: there is none, or a key is missing or of another type.
    """
    try:
        found = parse_object(next(iter(done.out.splitlines()[-1:]), ""))
        if wrong := [key for key, kind in kinds.items() if not isinstance(found.get(key), kind)]:
            raise ValueError(f"{wrong[0]} is not as it should be")
    except ValueError as error:
        raise answer_unreadable(error, done.out) from None
    return found
