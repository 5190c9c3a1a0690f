"""What every change on a host rests on: running a tool, writing a file whole or not at all, and failing with a code.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import tempfile
from typing import Dict, List, NamedTuple, Optional, Tuple


class HostError(Exception):
    """A failure that has a stable code and a remedy; Ansible carries it as "[code] message; fix: remedy"."""

    def __init__(self, code: str, message: str, fix: str = "", details: str = "") -> None:
        self.code = code
        self.message = message
        self.fix = fix
        self.details = details
        super().__init__(message)

    def as_text(self) -> str:
        """The one line that the controller takes apart again."""
        return f"[{self.code}] {self.message}" + (f"; fix: {self.fix}" if self.fix else "")


class Ran(NamedTuple):
    """How a tool ended: exit status (124: killed at the deadline), standard output and standard error."""

    rc: int
    out: str
    err: str

    def tail(self, lines: int = 12) -> str:
        """The last lines of what the tool said, standard error after standard output."""
        text = "\n".join(part.rstrip() for part in (self.out, self.err) if part.strip())
        return "\n".join(text.splitlines()[-lines:])


def run(argv: List[str], timeout_s: float = 60, env: Optional[Dict[str, str]] = None) -> Ran:
    """Run a tool with a deadline, in the C locale and without a terminal; 127 when it is not installed."""
    full = {**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "", **(env or {})}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, env=full, timeout=timeout_s, check=False
        )
    except FileNotFoundError:
        return Ran(127, "", f"{argv[0]}: not installed")
    except subprocess.TimeoutExpired as error:
        out = error.stdout.decode("utf-8", "replace") if error.stdout else ""
        return Ran(124, out, f"{argv[0]} did not end within {timeout_s:g} s")
    return Ran(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


def read_bytes(path: str) -> Optional[bytes]:
    """The file's content; None when there is none."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_text(path: str, default: str = "") -> str:
    """The file as text, `default` when it is absent or may not be read."""
    try:
        data = read_bytes(path)
    except OSError:
        return default
    return default if data is None else data.decode("utf-8", "replace")


def owner_ids(owner: str, group: str) -> Tuple[int, int]:
    """Numeric user and group; HostError when the host does not know them."""
    try:
        return pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise HostError("step-failed", f"no such user or group: {owner}:{group}") from error


def missing_folders(path: str) -> List[str]:
    """The folders above `path` that do not exist, the outermost first."""
    found: List[str] = []
    folder = os.path.dirname(path)
    while folder and not os.path.isdir(folder):
        found.append(folder)
        folder = os.path.dirname(folder)
    return found[::-1]


def write_atomic(path: str, data: bytes, mode: int = 0o644, owner: str = "root", group: str = "root") -> None:
    """Replace the file in one step: a reader, or a kill, sees the old content or the new, never half."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".gpuctl-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            os.fchmod(stream.fileno(), mode)
            if os.geteuid() == 0:
                os.fchown(stream.fileno(), *owner_ids(owner, group))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def same_metadata(path: str, mode: int, owner: str, group: str) -> bool:
    """Whether the file's permission bits and owner are as given (owner only when we are root)."""
    status = os.stat(path)
    if stat.S_IMODE(status.st_mode) != mode:
        return False
    return os.geteuid() != 0 or (status.st_uid, status.st_gid) == owner_ids(owner, group)
