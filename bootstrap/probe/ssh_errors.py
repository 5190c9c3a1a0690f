"""Why a host could not be used, in gpuctl's codes: whatever ssh, sudo or Python say, one sentence and one remedy."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bootstrap.probe.known_hosts import Entry
    from bootstrap.probe.ssh_config import Target


class ConnectFailure(Exception):  # noqa: N818 - it becomes an Unreachable, which is a result and no error
    """A host cannot be used: `code` as in Unreachable, what happened, and the remedy."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        self.code = code
        self.fix = fix
        super().__init__(message)


def config_invalid(said: str, fix: str) -> ConnectFailure:
    """The ssh configuration, or the arguments of the inventory, cannot be followed."""
    return ConnectFailure("ssh-config-invalid", said, fix)


def host_key_unknown(target: Target, broken: Sequence[str] = ()) -> ConnectFailure:
    """No known_hosts file has a key for the host; `broken` are the lines that were passed over."""
    passed_over = f" (passed over: {'; '.join(broken[:3])})" if broken else ""
    return ConnectFailure(
        "host-key-unknown",
        f"the host key of {target.known_as[0]} is in none of {', '.join(target.known_hosts) or 'no file'}{passed_over}",
        "compare the key on the host and connect once with ssh, or pass --accept-new-host-keys",
    )


def host_key_changed(target: Target, entry: Entry | None = None) -> ConnectFailure:
    """known_hosts has another key for the host, in the line `entry`."""
    name, place = target.known_as[0], ""
    file = target.known_hosts[0] if target.known_hosts else "~/.ssh/known_hosts"
    remove = f"run: ssh-keygen -R {shlex.quote(name)} -f {shlex.quote(entry.file if entry else file)}"
    if entry is not None:
        place = f" ({entry.place})"
        if not entry.names(name):  # a pattern: ssh-keygen would not find it
            remove = f"correct line {entry.line} of {entry.file}"
    return ConnectFailure(
        "host-key-changed",
        f"the host key of {name} is not the one that is known{place}: another machine may be answering",
        f"if the host was installed anew, {remove}",
    )


def host_key_revoked(target: Target, place: str) -> ConnectFailure:
    """The host shows a key that a known_hosts file calls revoked."""
    return ConnectFailure(
        "host-key-revoked",
        f"the host key of {target.known_as[0]} is revoked by {place}",
        "give the host a new key: rm /etc/ssh/ssh_host_*_key* && ssh-keygen -A, then restart its sshd",
    )


def auth_failed(target: Target, shown: Sequence[str], said: str) -> ConnectFailure:
    """The host answered and does not let us in; `shown` are the keys that it was offered."""
    keys = ", ".join(shown) or "what was offered"
    port = f"-p {target.port} " if target.port != 22 else ""
    return ConnectFailure(
        "auth-failed",
        f"{target.user}@{target.address} does not accept {keys}: {said}",
        f"run: ssh-copy-id {port}{target.user}@{target.address}, or set ansible_user and ansible_ssh_private_key_file",
    )


def too_many_keys(target: Target, shown: int) -> ConnectFailure:
    """The host hung up before the right key was its turn: sshd counts each one that is offered (MaxAuthTries)."""
    return ConnectFailure(
        "auth-failed",
        f"{target.user}@{target.address} ended the connection after {shown} keys: the agent has more than it takes",
        "name the key (ansible_ssh_private_key_file) and add -o IdentitiesOnly=yes to ansible_ssh_common_args",
    )


def translate(error: BaseException, target: Target, timeout_s: float) -> ConnectFailure:
    """The failure that an exception of the connection phase stands for."""
    import paramiko

    where = f"{target.address} port {target.port}"
    if isinstance(error, paramiko.AuthenticationException):
        return auth_failed(target, (), str(error).rstrip(".") or "authentication failed")
    if isinstance(error, socket.gaierror):
        return unresolved(target.address)
    if isinstance(error, TimeoutError):
        return no_answer(where, timeout_s)
    if isinstance(error, ConnectionRefusedError) or "Unable to connect to port" in str(error):
        return ConnectFailure("unreachable", f"{where} refuses connections", "start sshd there or correct ansible_port")
    said = str(error).split("\n")[0] or type(error).__name__
    fix = f"try: {shlex.join([target.program, *target.arguments])}"
    return ConnectFailure("unreachable", f"{where}: {said}", fix)


def unresolved(name: str) -> ConnectFailure:
    """The name service does not know the host."""
    return ConnectFailure(
        "unreachable", f"the name {name} cannot be resolved", "correct ansible_host or the name service"
    )


def no_answer(where: str, timeout_s: float) -> ConnectFailure:
    """Nothing comes back from there."""
    return ConnectFailure(
        "unreachable",
        f"{where} did not answer within {timeout_s:.0f} s",
        "start the host, or correct ansible_host, ansible_port or the route to it",
    )


def lost(target: Target) -> ConnectFailure:
    """A connection that was open is gone."""
    return ConnectFailure("unreachable", f"the connection to {target.address} was lost", "run again")


def nothing_more(target: Target, said: str) -> ConnectFailure:
    """The host starts no further command."""
    said = f"{target.address} starts no further command: {said}"
    return ConnectFailure("unreachable", said, "raise MaxSessions in its sshd_config")


def too_slow(command: str, address: str, timeout_s: float) -> ConnectFailure:
    """A command that had to be given up."""
    said = f"{command} on {address} did not end within {timeout_s:.0f} s"
    return ConnectFailure("unreachable", said, "look at the load of the host and run again")


def sudo_denied(user: str, said: str) -> ConnectFailure:
    """Sudo is missing, wants a password, or does not like the one given."""
    last = said.strip().rsplit("\n", 1)[-1] or "no reason given"
    if "password" in last and "incorrect" not in last:
        fix = "pass --ask-become-pass, or allow the user to run sudo without a password"
    elif "not found" in last or "No such file" in last:
        fix = "install sudo on the host, or be root there (over ssh: ansible_user=root)"
    else:
        fix = "correct the password, or give the user the right to become root with sudo"
    return ConnectFailure("sudo-denied", f"{user} cannot become root: {last}", fix)


def python_missing(python: str, said: str) -> ConnectFailure:
    """There is no Python on the host that can run the probe."""
    return ConnectFailure(
        "python-missing",
        f"{python} cannot run the probe: {said}",
        "install Python 3.8 or later there (apt-get install python3), or set ansible_python_interpreter",
    )


def answer_too_long(limit: int) -> ConnectFailure:
    """A host said more than anything that is asked there has to say."""
    return ConnectFailure(
        "answer-too-long",
        f"its answer is longer than {limit >> 20} MiB",
        "run `python3 -c pass` there as root and look at what prints besides, then at the host itself",
    )


def answer_unreadable(why: object, out: str) -> ConnectFailure:
    """What a host answered is no document that was asked for."""
    return ConnectFailure(
        "probe-failed",
        f"its answer cannot be read: {why}: {out[-200:]!r}",
        "remove what prints in the user's shell profile",
    )
