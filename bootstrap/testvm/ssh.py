"""Keys of a lab and of its hosts, the ssh command line for them, and the wait until a host answers."""

from __future__ import annotations

import shlex
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import procs, state

if TYPE_CHECKING:
    from pathlib import Path

    from bootstrap.testvm.names import LabPaths
    from bootstrap.testvm.state import HostRecord


@dataclass(frozen=True, slots=True)
class Patience:
    """How long (seconds) a kind of host may take: to boot, to greet on port 22, to run a first command."""

    boot_s: float = 180
    greet_s: float = 0.5  # a container answers in milliseconds, or is not there yet
    command_s: float = 20


PATIENCE = Patience()


def make_key(path: Path, comment: str) -> None:
    """Make an ed25519 key pair at `path` and `path`.pub (OpenSSH form, no passphrase) unless it is there."""
    if path.exists() and path.with_name(path.name + ".pub").exists():
        return
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode()
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    state.write(path, secret)
    state.write(path.with_name(path.name + ".pub"), f"{public} {comment}\n", 0o644)


def write_known_hosts(paths: LabPaths, hosts: Iterable[HostRecord], key_of: Callable[[str], Path]) -> None:
    """Write the lab's known_hosts from the public host keys, which were made here: nothing is trusted on first use."""
    lines = [f"{host.address} {' '.join(key_of(host.name).read_text().split()[:2])}\n" for host in hosts]
    state.write(paths.known_hosts, "".join(lines), 0o644)


def options(paths: LabPaths) -> tuple[str, ...]:
    """The `-o` values under which a lab's hosts are reached, apart from key and user."""
    # ssh splits this value at blanks unless it carries quotes of its own.
    known = f'"{paths.known_hosts}"' if " " in str(paths.known_hosts) else str(paths.known_hosts)
    return (f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null")


def common_arguments(paths: LabPaths) -> str:
    """The same as one shell-quoted string, for Ansible."""
    return " ".join(f"-o {shlex.quote(option)}" for option in options(paths))


def command(paths: LabPaths, address: str) -> list[str]:
    """The ssh command line (argv) to root on a host."""
    argv = ["ssh", "-F", "/dev/null", "-i", str(paths.key), "-o", "IdentitiesOnly=yes"]
    for option in options(paths):
        argv += ["-o", option]
    return [*argv, f"root@{address}"]


def banner(address: str, timeout_s: float = PATIENCE.greet_s) -> str:
    """What a host's ssh server greets with; empty where none answers within `timeout_s`."""
    try:
        with socket.create_connection((address, 22), timeout=timeout_s) as connection:
            return connection.recv(64).decode(errors="replace").strip()
    except OSError:
        return ""


def boot_id(paths: LabPaths, address: str, timeout_s: float = 20) -> str:
    """The host's boot id, read over ssh; raises GpuctlError where that fails."""
    argv = command(paths, address)
    argv[1:1] = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, round(timeout_s / 4))}"]
    return procs.run([*argv, "cat", "/proc/sys/kernel/random/boot_id"], timeout=timeout_s).strip()


def wait(
    paths: LabPaths,
    host: HostRecord,
    is_alive: Callable[[], bool],
    not_boot: str = "",
    patience: Patience = PATIENCE,
) -> str:
    """Wait until a command runs on the host over ssh, in another boot than `not_boot`; return the boot id.

    Raises GpuctlError `host-boot-failed` with the end of its console when the host has ended or time is up.
    """
    until = time.monotonic() + patience.boot_s
    seen = "no answer on port 22"
    while time.monotonic() < until:
        if banner(host.address, patience.greet_s).startswith("SSH-2.0"):
            try:
                found = boot_id(paths, host.address, patience.command_s)
            except GpuctlError as error:
                seen = error.problems[0].details or error.problems[0].message
            else:
                if found and found != not_boot:
                    return found
                seen = "it has not restarted yet"
        if not is_alive():
            seen = "it has ended"
            break
        time.sleep(0.1)
    raise GpuctlError(
        ExitCode.STEP_FAILED,
        Problem(
            "host-boot-failed",
            f"no ssh: {seen}",
            f"look at {paths.console(host.name)}, then: gpuctl testvm down --name {paths.name}",
            host=host.name,
            details=tail(paths.console(host.name)),
        ),
    )


def tail(path: Path, lines: int = 8) -> str:
    """The last lines of a text file; empty where it cannot be read."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
