"""Where this machine gets Debian packages from: the test hosts use the same archive."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bootstrap.testvm import procs

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEFAULT_SUITE = "bookworm"  # Debian 12, on which the roles run in CI
CODENAMES = ("bookworm", "trixie", "forky")  # Debian 12, 13 and 14


@dataclass(frozen=True, slots=True)
class Entry:
    """One archive: `suites` and `components` as the machine has them."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str


@dataclass(frozen=True, slots=True)
class Sources:
    """The Debian part of an apt configuration; all empty where the machine has none (mmdebstrap then knows one)."""

    suite: str
    deb822: str
    uris: tuple[str, ...]
    proxy: str


def parse_one_line(text: str) -> Iterator[Entry]:
    """Entries of a `.list` file."""
    for line in text.splitlines():
        match = re.fullmatch(r"\s*deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]+?)\s*(?:#.*)?", line)
        if match:
            options = dict(part.partition("=")[::2] for part in (match[1] or "").split())
            yield Entry((match[2],), (match[3],), tuple(match[4].split()), options.get("signed-by", ""))


def parse_deb822(text: str) -> Iterator[Entry]:
    """Entries of a `.sources` file; those that are switched off or name source packages only are left out."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line[:1].isspace() and last:
                fields[last] += "\n" + line.strip()
            elif ":" in line:
                key, _, value = line.partition(":")
                last = key.strip().lower()
                fields[last] = value.strip()
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() != "no":
            yield Entry(
                tuple(fields.get("uris", "").split()),
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                fields.get("signed-by", ""),
            )


def is_debian(entry: Entry) -> bool:
    """Whether an entry is Debian's own archive (or a mirror of it): by its key, else by its suite and path."""
    if not entry.uris or not any(suite.partition("-")[0] in CODENAMES for suite in entry.suites):
        return False
    if entry.signed_by:
        return "debian-archive" in entry.signed_by
    return all(re.search(r"/debian(-security)?/?$", urlsplit(uri).path) for uri in entry.uris)


def render(entries: Iterable[Entry], codename: str) -> str:
    """deb822 text of the entries' suites of one release, checked with Debian's keyring."""
    stanzas: list[str] = []
    for entry in entries:
        suites = [suite for suite in entry.suites if suite.partition("-")[0] == codename]
        if suites:
            stanzas.append(
                f"Types: deb\nURIs: {' '.join(entry.uris)}\nSuites: {' '.join(suites)}\n"
                f"Components: {' '.join(entry.components)}\nSigned-By: {KEYRING}\n"
            )
    return "\n".join(dict.fromkeys(stanzas))


def choose(entries: Iterable[Entry], machine_codename: str, proxy: str = "") -> Sources:
    """The Debian entries of one release: the machine's own if they have it, else the first that they name."""
    debian = [entry for entry in entries if is_debian(entry)]
    named = [suite.partition("-")[0] for entry in debian for suite in entry.suites]
    known = [codename for codename in named if codename in CODENAMES]
    if not known:
        return Sources("", "", (), proxy)
    codename = machine_codename if machine_codename in known else known[0]
    uris = tuple(dict.fromkeys(uri for entry in debian for uri in entry.uris))
    return Sources(codename, render(debian, codename), uris, proxy)


def machine_sources(apt: Path = Path("/etc/apt"), os_release: Path = Path("/etc/os-release")) -> Sources:
    """What this machine's apt configuration says."""
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    entries: list[Entry] = []
    for file in files:
        if file.is_file() and file.suffix in {".list", ".sources"}:
            entries += (parse_deb822 if file.suffix == ".sources" else parse_one_line)(file.read_text(errors="replace"))
    return choose(entries, _codename(os_release), _proxy())


def _codename(os_release: Path) -> str:
    try:
        words = shlex.split(os_release.read_text(), comments=True)
    except (OSError, ValueError):
        return ""
    return dict(word.partition("=")[::2] for word in words).get("VERSION_CODENAME", "")


def _proxy() -> str:
    """The machine's apt proxy, unless it is one that only this machine itself can reach."""
    match = re.search(r'^Acquire::http::Proxy "([^"]+)";', procs.run(["apt-config", "dump"], check=False), re.MULTILINE)
    host = urlsplit(match[1]).hostname if match else None
    return match[1] if match and host and host != "localhost" and not host.startswith("127.") else ""
