"""What multi-node training needs of a mirror: the images of Volcano, JobSet and the training operator, and their files.

The files are those that the roles name, as they are in upstream's repositories: served where the roles look for them.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bootstrap.content import roles_path
from bootstrap.testvm.components import images, tools
from bootstrap.testvm.components.aptrepo import link_or_copy
from bootstrap.testvm.components.cache import digest_of, digest_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bootstrap.testvm.components.catalog import Batch, GoComponent

GROUP = "batch"  # what has to be asked for
IMAGES, FILES = "batch-images", "batch-files"
PARTS = (IMAGES, FILES)


def files_of(role: str) -> dict[str, str]:
    """What of upstream's files a role takes of its default release: path → sha256."""
    variables = yaml.safe_load((roles_path() / role / "vars" / "main.yml").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((roles_path() / role / "defaults" / "main.yml").read_text(encoding="utf-8"))
    found: dict[str, str] = variables[f"__{role}_files"][defaults[f"{role}_version"]]
    return found


def files_digest(batch: Batch) -> str:
    """What the served files are made of."""
    return digest_of([batch.sources, {role: files_of(role) for role in batch.sources}, digest_tree(Path(__file__))])


def copy_files(batch: Batch, sources: Mapping[str, Path], out: Path) -> None:
    """Copies the roles' files out of the modules' folders. GpuctlError component-build-failed: one has another sum."""
    for role, component in batch.sources.items():
        for name, sha256 in files_of(role).items():
            content = (sources[component] / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != sha256:
                raise tools.build_failed(FILES, f"{name} of {component} is not what the role {role} takes")
            place = out / role / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


def images_digest(batch: Batch, made_of: Iterable[str]) -> str:
    """What the images are; `made_of` are the digests of the programs in them."""
    code = digest_tree(Path(__file__), Path(images.__file__), Path(images.__file__).with_name("tarlayer.py"))
    recipe: list[Any] = [[asdict(image) for image in batch.images.values()], code]
    return digest_of([*recipe, *made_of])


def build_images(batch: Batch, go: dict[str, GoComponent], entries: dict[str, Path], out: Path) -> None:
    """Makes an image layout in `out`."""
    layout, top = images.Layout(out), out / "top.tar"
    layout.start()
    manifests = {}
    for ref, image in batch.images.items():
        images.write_top_layer(image, go, entries, top)
        manifests[ref] = images.add_image(layout, image, [], top)
        top.unlink()
    layout.finish(manifests)


def lay(entries: Mapping[str, Path], folder: Path) -> None:
    """Makes the folder that is served, where there is something for it."""
    if FILES not in entries:
        return
    shutil.rmtree(folder, ignore_errors=True)
    for path in sorted(entries[FILES].rglob("*")):
        if path.is_file() and path.parent != entries[FILES]:
            place = folder / path.relative_to(entries[FILES])
            place.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(path, place)
