"""Writes a signed apt repository: suites below dists/ for one architecture, packages under pool/."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bootstrap.testvm.components import debs, signing, tools

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


def _is_newer(version: str, other: str) -> bool:
    """Debian's own order of versions."""
    argv = [tools.need("dpkg", "dpkg"), "--compare-versions", version, "gt", other]
    return subprocess.run(argv, timeout=30, check=False).returncode == 0


def write_repository(
    root: Path, packages: Iterable[Path], key: signing.SigningKey, when: datetime, suite: str = SUITE
) -> dict[str, str]:
    """Writes a suite of the repository below `root` and gives name → newest version of what is in the suite.

    GpuctlError "component-build-failed" when one version of a package is there twice: apt would have to guess.
    """
    pool = root / "pool"
    pool.mkdir(parents=True, exist_ok=True)
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    paragraphs: list[str] = []
    for deb in sorted(packages, key=lambda path: path.name):
        name, version, text = stanza(deb, f"pool/{deb.name}")
        if (name, version) in seen:
            raise tools.build_failed("apt repository", f"package {name} {version} is there twice")
        seen.add((name, version))
        if name not in versions or _is_newer(version, versions[name]):
            versions[name] = version
        paragraphs.append(text)
        link_or_copy(deb, pool / deb.name)
    arch = debs.architecture()
    dist = root / "dists" / suite
    index = dist / COMPONENT / f"binary-{arch}"
    index.mkdir(parents=True)
    text = "\n".join(paragraphs)
    (index / "Packages").write_text(text, encoding="utf-8")
    (index / "Packages.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    (dist / "Release").write_text(_release(dist, suite, arch, when), encoding="utf-8")
    signing.sign(key, dist / "Release", dist / "InRelease", dist / "Release.gpg")
    return versions


def _release(dist: Path, suite: str, arch: str, when: datetime) -> str:
    head = {
        "Origin": "gpuctl",
        "Label": "gpuctl component mirror",
        "Suite": suite,
        "Codename": suite,
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
