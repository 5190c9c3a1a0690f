"""Writes a signed apt repository: dists/stable/main for one architecture, packages under pool/."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bootstrap.testvm.components import debs, signing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SUITE, COMPONENT = "stable", "main"


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same bytes where the file system allows it: nothing here is changed in place."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def stanza(deb: Path, filename: str) -> tuple[str, str, str]:
    """(name, version, paragraph of the Packages file) of a .deb that lies at `filename` in the repository."""
    fields = debs.fields(deb)
    content = deb.read_bytes()
    fields |= {"Filename": filename, "Size": str(len(content)), "SHA256": hashlib.sha256(content).hexdigest()}
    text = "".join(f"{name}: {value}\n" for name, value in fields.items())
    return fields["Package"], fields["Version"], text


def write_repository(root: Path, packages: Iterable[Path], key: signing.SigningKey, when: datetime) -> dict[str, str]:
    """Writes the repository below `root` and gives name → version of what is in it.

    ValueError when two packages have the same name: it would depend on apt which one a host gets.
    """
    pool = root / "pool"
    pool.mkdir(parents=True)
    versions: dict[str, str] = {}
    paragraphs: list[str] = []
    for deb in sorted(packages, key=lambda path: path.name):
        name, version, text = stanza(deb, f"pool/{deb.name}")
        if name in versions:
            raise ValueError(f"package {name} is there twice: {versions[name]} and {version}")
        versions[name] = version
        paragraphs.append(text)
        link_or_copy(deb, pool / deb.name)
    arch = debs.architecture()
    dist = root / "dists" / SUITE
    index = dist / COMPONENT / f"binary-{arch}"
    index.mkdir(parents=True)
    text = "\n".join(paragraphs)
    (index / "Packages").write_text(text, encoding="utf-8")
    (index / "Packages.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    (dist / "Release").write_text(_release(dist, arch, when), encoding="utf-8")
    signing.sign(key, dist / "Release", dist / "InRelease", dist / "Release.gpg")
    return versions


def _release(dist: Path, arch: str, when: datetime) -> str:
    head = {
        "Origin": "gpuctl",
        "Label": "gpuctl component mirror",
        "Suite": SUITE,
        "Codename": SUITE,
        "Date": when.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S UTC"),
        "Architectures": arch,
        "Components": COMPONENT,
        "Description": "Components built from source under upstream's names",
    }
    lines = [f"{name}: {value}\n" for name, value in head.items()]
    lines.append("SHA256:\n")
    for path in sorted(p for p in dist.rglob("*") if p.is_file()):
        content = path.read_bytes()
        lines.append(f" {hashlib.sha256(content).hexdigest()} {len(content)} {path.relative_to(dist)}\n")
    return "".join(lines)
