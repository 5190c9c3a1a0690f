"""Run a Python program as root on a host: the program goes through standard input, a sudo password likewise."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from bootstrap.probe.session import MOST_BYTES, Channel, Completed, Session, drain
from bootstrap.probe.ssh_config import text_of
from bootstrap.probe.ssh_errors import ConnectFailure, answer_too_long, python_missing, sudo_denied

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host

_TALK_BYTES = 1 << 20  # before sudo has started Python: a prompt, a lecture, a warning or two


def become_password_of(host: Host, given: str | None) -> str | None:
    """The sudo password: the one of the inventory, else the one that was asked for."""
    return text_of(host, "become_pass") or given


def start_python(
    session: Session, host: Host, program: str, arguments: tuple[str, ...], password: str | None, timeout_s: float
) -> Channel:
    """Start `program` as root; its standard input stays open behind it.

    The program is one line of length, then its text, read by a fixed first line, so that what follows is the
    program's own input. Raises ConnectFailure when sudo refuses.
    """
    first = "import sys;b=sys.stdin.buffer;exec(b.read(int(b.readline())).decode())"
    argv = [*host.connection.python_words, "-I", "-c", first, *arguments]
    sent = program.encode()
    payload = b"%d\n" % len(sent) + sent
    if session.user == "root" or _stays_user(host):
        channel = session.open_exec(argv, timeout_s)
    elif password is None:
        channel = session.open_exec(["env", "LC_ALL=C", *host.connection.become_words, "-n", "--", *argv], timeout_s)
    else:
        return _with_password(session, host, argv, payload, password, timeout_s)
    channel.sendall(payload)
    return channel


def _stays_user(host: Host) -> bool:
    """Whether the inventory says that the user does not become root: Ansible would not, and a check refuses it."""
    said = (host.connection_vars or {}).get("ansible_become")
    return said is False and host.connection.user not in {None, "root"}


def _with_password(
    session: Session, host: Host, argv: list[str], payload: bytes, password: str, timeout_s: float
) -> Channel:
    """Sudo may or may not ask. The password is sent only after its own prompt, the program only after Python's word."""
    mark = "gpuctl-" + secrets.token_hex(8)
    ready = f"print({mark!r}, flush=True);"
    program = argv.index("-c") + 1
    argv = [*argv[:program], f"import sys;{ready}" + argv[program], *argv[program + 1 :]]
    sudo = ["env", "LC_ALL=C", *host.connection.become_words, "-S", "-p", mark + "\n", "--"]
    deadline = time.monotonic() + timeout_s
    channel = session.open_exec([*sudo, *argv], timeout_s)
    out, err, asked = b"", b"", 0
    while mark.encode() not in out:
        if len(out) + len(err) > _TALK_BYTES:
            channel.close()
            raise answer_too_long(_TALK_BYTES)
        if time.monotonic() > deadline:
            channel.close()
            raise sudo_denied(session.user, f"sudo did not answer within {timeout_s:.0f} s")
        ended = channel.closed or channel.exit_status_ready()  # asked first: its last words are there by then
        if channel.recv_ready():
            out += channel.recv(1 << 12)
        elif channel.recv_stderr_ready():
            err += channel.recv_stderr(1 << 12)
        elif ended:
            text = err.decode("utf-8", "replace").replace(mark, "")
            raise failure(Completed(channel.recv_exit_status(), "", text), session, argv[0])
        else:
            time.sleep(0.005)
        if err.count(mark.encode()) > asked:
            asked += 1
            if asked > 1:
                channel.close()
                raise sudo_denied(session.user, "sudo: incorrect password")
            channel.sendall(password.encode() + b"\n")
    channel.sendall(payload)
    return channel


def run_python(
    session: Session,
    host: Host,
    program: str,
    *,
    password: str | None = None,
    timeout_s: float = 15.0,
    limit: int = MOST_BYTES,
) -> Completed:
    """Run `program` as root and wait for its end.

    Raises:
        ConnectFailure: sudo refuses, the connection was lost, it takes longer than `timeout_s` seconds, says more than
            `limit` bytes, or ends with a failure.
    """
    deadline = time.monotonic() + timeout_s
    channel = start_python(session, host, program, (), become_password_of(host, password), timeout_s)
    try:
        channel.shutdown_write()
        done = drain(channel, deadline, limit)
    except (TimeoutError, OSError) as error:
        said = f"{session.address} did not finish within {timeout_s:.0f} s what it was asked"
        raise ConnectFailure("unreachable", said, "look at the load and the kernel log of the host") from error
    finally:
        channel.close()
    if done.rc != 0:
        raise failure(done, session, host.connection.python)
    return done


def failure(done: Completed, session: Session, python: str) -> ConnectFailure:
    """What a failed start of Python under sudo means."""
    said = done.err.strip() or done.out.strip()
    user = session.user
    if "sudo" in said and user != "root" and python not in said:
        return sudo_denied(user, said)
    if done.rc in (126, 127) or (python in said and "not found" in said):
        return python_missing(python, said.rsplit("\n", 1)[-1] or "not found")
    last = said.rsplit("\n", 1)[-1] or f"exit status {done.rc}"
    return ConnectFailure("probe-failed", f"the probe failed: {last}", "run again with -vv and look at the log")
