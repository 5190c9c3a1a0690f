"""Tables of NFS exports: read them as exportfs does, and refuse what would open one to everybody.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import glob
import ipaddress
import os
import re
from typing import Dict, FrozenSet, Iterator, List, NamedTuple, Sequence

from .gpuctl_hostio import read_text

OURS = "/etc/exports.d/gpuctl.exports"
TABLES = ("/etc/exports", "/etc/exports.d/*.exports")
PORT = 2049
SMALLEST_PREFIX = 8  # of a network that may mount: a shorter one is a part of the internet, not a site
EVERYBODY = "*"
# Whoever mounts one of these, or a folder in it, reads or changes the system itself.
_WHOLE_TREES = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root", "/run", "/sbin"),
    *("/snap", "/sys", "/tmp", "/usr"),  # noqa: S108 - refused, not used
    *("/var/cache", "/var/lib", "/var/log", "/var/run", "/var/spool", "/var/tmp"),  # noqa: S108
)
_FOLDERS = ("/", "/home", "/media", "/mnt", "/opt", "/srv", "/var")
_LISTENING = "0A"  # state in /proc/net/tcp


class Export(NamedTuple):
    """One path for one client, as exports(5) has it; options as written, defaults of the line included."""

    path: str
    client: str
    options: FrozenSet[str]


def parse(text: str) -> List[Export]:
    """The exports of a table; a path without a client goes to everybody, as it does for exportfs."""
    found = []
    for line in _lines(text):
        words = re.findall(r'"[^"]*"\S*|\S+', line)
        path = _unescaped(words[0].strip('"'))
        defaults: FrozenSet[str] = frozenset()
        clients = 0
        for word in words[1:]:
            if word.startswith("-"):
                defaults = frozenset(word[1:].split(",")) - {""}
                continue
            client, _, options = word.partition("(")
            own = frozenset(options.rstrip(")").split(",")) - {""}
            found.append(Export(path, normal_client(client or EVERYBODY), defaults | own))
            clients += 1
        if not clients:
            found.append(Export(path, EVERYBODY, defaults))
    return found


def _lines(text: str) -> Iterator[str]:
    """Lines with what continues them, without comments and without the blank ones."""
    for line in text.replace("\\\n", " ").splitlines():
        kept = line.split("#", 1)[0].strip()
        if kept:
            yield kept


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-3][0-7]{2})", lambda match: chr(int(match.group(1), 8)), path)


def normal_client(text: str) -> str:
    """An address or a network in one spelling (10.0.0.0/24, 10.0.0.1, fd00::/64); a name as it is."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return text
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def client_complaint(text: str) -> str:
    """Why nobody like that is given an export; empty for an address, and for a network that is not half the world."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"{text!r} is no address or network: names and patterns are not taken, since DNS decides what they mean"
    if network.prefixlen < SMALLEST_PREFIX:
        return f"{text} opens the export to the internet: name the site's own networks, /{SMALLEST_PREFIX} at most"
    return ""


def path_complaint(path: str) -> str:
    """Why this path is not exported; empty when it may be."""
    if os.path.normpath(path) != path or not path.startswith("/") or path.startswith("//"):
        return f"{path} is not a plain absolute path"
    real = os.path.realpath(path)
    for place in dict.fromkeys((path, real)):
        if place in _FOLDERS or any(place == tree or place.startswith(tree + "/") for tree in _WHOLE_TREES):
            return f"{path} {'is' if place == path else f'leads to {place},'} a folder of the system"
    if os.path.lexists(path) and not os.path.isdir(path):
        return f"{path} is no folder"
    return ""


def foreign(path: str) -> Dict[str, List[str]]:
    """Exports by others that give the path away: table → "path client"; of the path itself or of a folder above it."""
    found: Dict[str, List[str]] = {}
    for pattern in TABLES:
        for table in sorted(glob.glob(pattern)):
            if table == OURS:
                continue
            for export in parse(read_text(table)):
                if path == export.path or path.startswith(export.path.rstrip("/") + "/"):
                    found.setdefault(table, []).append(f"{export.path} {export.client}")
    return found


def pseudo_roots() -> List[str]:
    """Exports by others with fsid=0, as "path client": NFSv4 clients see all paths from there on, if it is not /."""
    found = []
    for pattern in TABLES:
        for table in sorted(glob.glob(pattern)):
            exports = parse(read_text(table)) if table != OURS else []
            found += [f"{e.path} {e.client}" for e in exports if e.path != "/" and e.options & {"fsid=0", "fsid=root"}]
    return found


def differing(path: str, clients: Sequence[str], options: Sequence[str], table: Sequence[Export]) -> List[str]:
    """What the table has of the path that is not wanted, and what it lacks: a line for each."""
    wanted = {normal_client(client) for client in clients}
    given = {export.client: export.options for export in table if export.path == path}
    lines = [f"{path} is not exported to {client}" for client in sorted(wanted - set(given))]
    lines += [f"{path} is exported to {client}" for client in sorted(set(given) - wanted)]
    for client in sorted(wanted & set(given)):
        lacking = [option for option in options if option not in given[client]]
        if lacking:
            lines.append(f"{path} is exported to {client} without {', '.join(lacking)}")
    return lines


def listening(port: int = PORT) -> bool:
    """Whether something takes TCP connections on the port."""
    ending = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in read_text(table).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 3 and fields[1].endswith(ending) and fields[3] == _LISTENING:
                return True
    return False
