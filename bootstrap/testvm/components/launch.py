"""What W&B Launch needs of a mirror: the wheels that the agent's role has locked, and the agent's image of them."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.content import roles_path
from bootstrap.testvm.components import images, tools
from bootstrap.testvm.components.cache import digest_of, digest_tree
from bootstrap.testvm.components.tarlayer import LayerWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bootstrap.testvm.components.catalog import Launch

WHEELS, IMAGE = "wheels", "launch-image"
PARTS = (WHEELS, IMAGE)
SITE, HOME, UID = "/site", "/home/launch_agent", 1000
_DEADLINE_S = 900  # 28 s measured for the download, 9 s for the image
# One try, soon given up: a machine without a registry goes on without these parts, at every build.
_DOWNLOAD = ["download", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--retries", "1", "--timeout", "30"]
_INSTALL = ["install", "--no-index", "--only-binary", ":all:", "--no-compile", "--no-cache-dir"]
_QUIET = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
# Writes the bytecode of what the imports load. It is not compared with its source's time, which the image fixes.
_COMPILE = """\
import importlib, py_compile, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
for path in sorted({getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}):
    if path.startswith(sys.argv[1]) and path.endswith(".py"):
        py_compile.compile(path, dfile=path.replace(sys.argv[1], "/site", 1), doraise=True, invalidation_mode=mode)
"""


def requirements() -> Path:
    """The list of packages with their hashes, which the role installs on hosts."""
    return roles_path() / "launch_agent_host" / "files" / "requirements.txt"


def wheels_digest() -> str:
    """What the wheels are: the list, and for which Python and machine."""
    return digest_of([digest_tree(requirements()), sys.version_info[:2], os.uname().machine, _DOWNLOAD])


def download(out: Path, log: Path) -> None:
    """Takes the wheels that this machine's Python would install into `out`. GpuctlError "component-build-failed"."""
    argv = [sys.executable, "-m", "pip", *_DOWNLOAD, *_QUIET, "--dest", str(out), "--requirement", str(requirements())]
    tools.run(WHEELS, argv, log=log, timeout_s=_DEADLINE_S)


def image_digest(launch: Launch, made_of: Sequence[str]) -> str:
    """What the image is; `made_of` are the digests of its layers and of the wheels."""
    code = digest_tree(Path(__file__), Path(images.__file__), Path(__file__).with_name("tarlayer.py"))
    return digest_of([asdict(launch), code, *made_of])


def build_image(launch: Launch, wheels: Path, below: Sequence[Path], out: Path, log: Path) -> None:
    """Makes an image layout in `out` with the agent's image on the layers `below`. GpuctlError as above."""
    site = out / "site"
    pip = [sys.executable, "-m", "pip", *_INSTALL, *_QUIET, "--find-links", str(wheels), "--target", str(site)]
    tools.run(IMAGE, [*pip, *launch.packages], log=log, timeout_s=_DEADLINE_S)
    env = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "WANDB_ERROR_REPORTING": "false"}
    compiling = [sys.executable, "-W", "ignore", "-c", _COMPILE, str(site), *launch.imports]
    tools.run(IMAGE, compiling, log=log, timeout_s=_DEADLINE_S, env=env, cwd=out)
    shutil.rmtree(site / "bin")  # scripts that name this machine's Python
    layout = images.Layout(out)
    layout.start()
    top = out / "top.tar"
    write_site_layer(site, top)
    lower = [layout.add_file(path) for path in below]
    layout.finish({launch.image.ref: images.add_image(layout, launch.image, lower, top)})
    top.unlink()
    shutil.rmtree(site)


def write_site_layer(site: Path, out: Path) -> None:
    """The image's own layer: the packages under /site, and a user with a home that it may write to."""
    user, shell = f"launch_agent:x:{UID}:{UID}::{HOME}:/usr/sbin/nologin\n", "/bin/sh"
    with LayerWriter(out) as layer:
        layer.file("etc/passwd", f"root:x:0:0:root:/root:{shell}\n{user}".encode())
        layer.file("etc/group", f"root:x:0:\nlaunch_agent:x:{UID}:\n".encode())
        layer.folder("tmp", 0o1777)
        layer.folder(HOME, 0o1777)
        for path in sorted(site.rglob("*")):
            if path.is_file():
                name = f"{SITE}/{path.relative_to(site)}"
                layer.file(name, path, 0o755 if os.access(path, os.X_OK) and path.stat().st_mode & 0o111 else 0o644)
