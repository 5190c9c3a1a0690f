"""Debian packages around the programs: upstream's names, versions and paths; the same bytes from the same input."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from bootstrap.testvm.components import tools
from bootstrap.testvm.components.catalog import FILES, GoComponent, Package, expand
from bootstrap.testvm.components.tarlayer import EPOCH

if TYPE_CHECKING:
    from pathlib import Path

SECTION = "gpuctl: built from source on this machine under the name and version of upstream's package."
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def architecture() -> str:
    """Debian's name of this machine's architecture, such as "amd64"."""
    return tools.output([tools.need("dpkg", "dpkg"), "--print-architecture"]).strip()


def control(package: Package, arch: str, installed_kib: int) -> str:
    """The control file's text."""
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": arch,
        "Maintainer": "gpuctl component mirror <root@localhost>",
        "Installed-Size": str(installed_kib),
        "Depends": ", ".join(package.depends),
        "Provides": ", ".join(package.provides),
        "Conflicts": ", ".join(package.conflicts),
        "Section": "admin",
        "Priority": "optional",
        "Description": f"{package.summary}\n {SECTION}",
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def build(
    package: Package, go: dict[str, GoComponent], entries: dict[str, Path], work: Path, out: Path, log: Path
) -> Path:
    """Builds one package from `entries` (component → folder of its programs) and files/<package>; gives the .deb.

    Not compressed: hosts fetch from this machine, where unpacking costs more than the bytes saved.
    """
    tree = work / package.name
    if (FILES / package.name).is_dir():
        shutil.copytree(FILES / package.name, tree)
    (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
    for source, target in expand(package.programs, go).items():
        component, program = source.split("/")
        path = tree / target.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(entries[component] / program, path)
        path.chmod(0o755)
    _finish(tree)
    size = sum(p.stat().st_size for p in tree.rglob("*") if p.is_file() and "DEBIAN" not in p.parts) // 1024
    arch = architecture()
    (tree / "DEBIAN" / "control").write_text(control(package, arch, size), encoding="utf-8")
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (EPOCH, EPOCH))
    deb = out / f"{package.name}_{package.version}_{arch}.deb"
    argv = [tools.need("dpkg-deb", "dpkg"), "--root-owner-group", "-Znone", "--build", str(tree), str(deb)]
    tools.run(package.name, argv, log=log, timeout_s=300, env=os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)})
    shutil.rmtree(tree)
    return deb


def _finish(tree: Path) -> None:
    """Modes, and conffiles: whatever lies under /etc belongs to the operator once installed."""
    conffiles = sorted(f"/{p.relative_to(tree)}" for p in (tree / "etc").rglob("*") if p.is_file())
    if conffiles:
        (tree / "DEBIAN" / "conffiles").write_text("".join(f"{name}\n" for name in conffiles), encoding="utf-8")
    for path in tree.rglob("*"):
        if path.is_dir() or path.name in SCRIPTS:
            path.chmod(0o755)
        elif not os.access(path, os.X_OK):
            path.chmod(0o644)


def fields(deb: Path) -> dict[str, str]:
    """Control fields of a .deb (name → value, continuation lines with their leading blank)."""
    found: dict[str, str] = {}
    name = ""
    for line in tools.output([tools.need("dpkg-deb", "dpkg"), "--field", str(deb)]).splitlines():
        if line[:1] in (" ", "\t"):
            found[name] += f"\n{line}"
        else:
            name, _, value = line.partition(":")
            found[name] = value.strip()
    return found
