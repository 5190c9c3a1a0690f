"""Small readers that the other host-side files share. Whatever cannot be read is None: unknown, never absent."""

from __future__ import annotations

import errno
import os
import subprocess

READ_ERRORS = (OSError, ValueError)
GONE = (errno.ENOENT, errno.ENOTDIR)


def read_text(path: str) -> str | None:
    """The whole file as text, undecodable bytes replaced; None when it cannot be read."""
    try:
        with open(path, "rb") as handle:
            return handle.read().decode("utf-8", "replace")
    except OSError:
        return None


def read_line(path: str) -> str | None:
    """The file's content without surrounding white space; None when unreadable or empty."""
    text = read_text(path)
    return (text.strip() or None) if text is not None else None


def sysctl_path(name: str, root: str = "/proc/sys") -> str:
    """The file of a sysctl. As sysctl.d(5) has it, the first separator decides which of dot and slash is one."""
    if "/" not in name.split(".", 1)[0]:
        name = name.translate({ord("."): "/", ord("/"): "."})
    return os.path.join(root, name)


def listdir(path: str) -> list[str]:
    """Sorted names in a directory; empty when it cannot be read."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def run(argv: list[str], timeout_s: float = 2.0) -> str | None:
    """Standard output of a command that exits 0; None when it is missing, fails or takes over `timeout_s` seconds."""
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            env=env,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
