"""Image layers of Debian packages, made by mmdebstrap from the apt sources that this machine has."""

from __future__ import annotations

import os
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.testvm.apt_sources import DEFAULT_SUITE
from bootstrap.testvm.components import tools
from bootstrap.testvm.components.tarlayer import EPOCH, LayerWriter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bootstrap.testvm.apt_sources import Sources
    from bootstrap.testvm.components.catalog import Layer

DEADLINE_S = 900  # 16 s measured for the largest layer
HOOKS = Path("/usr/share/mmdebstrap/hooks/merged-usr")
# Nothing that runs in these images reads them.
DROPPED = re.compile(
    r"^(dev/.|tmp/.|run/.|boot|var/(lib|cache|log|backups)/.|etc/(apt|dpkg)(/|$)"
    r"|usr/share/(doc|man|info|locale|lintian|perl5|bash-completion|pixmaps|menu|bug|debconf|zoneinfo|base-files)(/|$)"
    r"|usr/lib/(apt|dpkg|mime|systemd|udev|locale)(/|$)|etc/resolv\.conf$)"
)


def proxy_options() -> list[str]:
    """Options for mmdebstrap that carry over the machine's apt proxies."""
    dump = tools.output([tools.need("apt-config", "apt"), "dump"])
    names = r"^(Acquire::https?::Proxy(?:::[^ ]+)?) \"([^\"]+)\";$"
    return [f'--aptopt={key} "{value}"' for key, value in re.findall(names, dump, re.MULTILINE)]


def bootstrap_tar(
    packages: Iterable[str], sources: Sources, out: Path, log: Path, deadline_s: float = DEADLINE_S
) -> None:
    """Unpacks `packages` with all they depend on into the tar file `out`; none of their scripts is run."""
    argv = [tools.need("mmdebstrap", "mmdebstrap"), "--variant=extract", f"--include={','.join(packages)}"]
    argv += [*proxy_options(), *([f"--hook-dir={HOOKS}"] if HOOKS.is_dir() else [])]
    argv += [sources.suite or DEFAULT_SUITE, str(out)]
    if sources.deb822:
        source_list = out.with_suffix(".sources")
        source_list.write_text(sources.deb822, encoding="utf-8")
        argv.append(str(source_list))
    env = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH), "LC_ALL": "C.UTF-8"}
    tools.run("mmdebstrap", argv, log=log, timeout_s=deadline_s, env=env)


def write_layer(full: Path, below: Path | None, layer: Layer, out: Path) -> None:
    """Writes what the tar `full` has and the tar `below` has not as the layer's tar, in order and without clutter."""
    known = _index(below) if below else {}
    with tarfile.open(full) as source, LayerWriter(out) as writer:
        members = {_name(member): member for member in source if _kept(member)}
        for name, member in members.items():
            if known.get(name) != _identity(member):
                content = source.extractfile(member) if member.isreg() else None
                member.linkname = member.linkname.removeprefix("./") if member.islnk() else member.linkname
                writer.member(name, member, content.read() if content else b"")
        if below is None:
            writer.file("etc/ssl/certs/ca-certificates.crt", _certificates(source, members))
            _accounts(writer)
        for link, target in (layer.links or {}).items():
            writer.link(link, target)


def _name(member: tarfile.TarInfo) -> str:
    return member.name.removeprefix("./").rstrip("/")


def _kept(member: tarfile.TarInfo) -> bool:
    name = _name(member)
    return name not in ("", ".") and not DROPPED.match(name) and not (member.ischr() or member.isblk())


def _identity(member: tarfile.TarInfo) -> tuple[object, ...]:
    modified = member.mtime if member.isreg() else 0
    return (member.type, member.mode, member.uid, member.gid, member.size, member.linkname, modified)


def _index(path: Path) -> dict[str, tuple[object, ...]]:
    with tarfile.open(path) as source:
        return {_name(member): _identity(member) for member in source}


def _certificates(source: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> bytes:
    names = sorted(name for name in members if re.match(r"usr/share/ca-certificates/.*\.crt$", name))
    return b"".join(handle.read() for name in names if (handle := source.extractfile(members[name])))


def _accounts(writer: LayerWriter) -> None:
    """What the packages' scripts would have written: the accounts that images name, and how names are looked up."""
    shell = "/usr/sbin/nologin"
    writer.file("etc/passwd", f"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:{shell}\n".encode())
    writer.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    writer.file("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
