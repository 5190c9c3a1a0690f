"""Why a host could not be used, in gpuctl's codes: whatever ssh, sudo or Python say, one sentence and one remedy."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bootstrap.probe.ssh_options import Target


class ConnectFailure(Exception):  # noqa: N818 - it becomes an Unreachable, which is a result and no error
    """A host cannot be used: `code` as in Unreachable, what happened, and the remedy."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        self.code = code
        self.fix = fix
        super().__init__(message)


def host_key_unknown(target: Target) -> ConnectFailure:
    """No known_hosts file has a key for the host."""
    return ConnectFailure(
        "host-key-unknown",
        f"the host key of {target.known_as} is in none of {', '.join(target.known_hosts) or 'no file'}",
        "compare the key on the host and connect once with ssh, or pass --accept-new-host-keys",
    )


def host_key_changed(target: Target) -> ConnectFailure:
    """known_hosts has another key for the host."""
    file = target.known_hosts[0] if target.known_hosts else "~/.ssh/known_hosts"
    return ConnectFailure(
        "host-key-changed",
        f"the host key of {target.known_as} is not the one that is known: another machine may be answering",
        f"if the host was installed anew, run: ssh-keygen -R '{target.known_as}' -f {file}",
    )


def auth_failed(target: Target, said: str) -> ConnectFailure:
    """The host answered and does not let us in."""
    keys = ", ".join(target.key_files) or "the agent's keys and ~/.ssh/id_*"
    return ConnectFailure(
        "auth-failed",
        f"{target.user}@{target.address} does not accept {keys}: {said}",
        f"run: ssh-copy-id -p {target.port} {target.user}@{target.address}, or set ansible_user and "
        "ansible_ssh_private_key_file",
    )


def translate(error: BaseException, target: Target, timeout_s: float) -> ConnectFailure:
    """The failure that an exception of the connection phase stands for."""
    import paramiko

    where = f"{target.address} port {target.port}"
    if isinstance(error, ConnectFailure):
        return error
    if isinstance(error, paramiko.BadHostKeyException):
        return host_key_changed(target)
    if isinstance(error, paramiko.AuthenticationException):
        return auth_failed(target, str(error).rstrip(".") or "authentication failed")
    if isinstance(error, socket.gaierror):
        return ConnectFailure(
            "unreachable", f"the name {target.address} cannot be resolved", "correct ansible_host or the name service"
        )
    if isinstance(error, TimeoutError):
        return ConnectFailure(
            "unreachable",
            f"{where} did not answer within {timeout_s:.0f} s",
            "start the host, or correct ansible_host, ansible_port or the route to it",
        )
    if isinstance(error, ConnectionRefusedError) or "Unable to connect to port" in str(error):
        return ConnectFailure("unreachable", f"{where} refuses connections", "start sshd there or correct ansible_port")
    return ConnectFailure(
        "unreachable", f"{where}: {_hint(error, target)}", f"try: ssh -p {target.port} {target.user}@{target.address}"
    )


def _hint(error: BaseException, target: Target) -> str:
    said = str(error).split("\n")[0] or type(error).__name__
    if target.ignored:
        said += f" (gpuctl does not follow these ssh options: {', '.join(target.ignored)})"
    return said


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
