"""PyTorch for processors, as Debian packages it: an image for the one test that trains with it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.testvm.components import images, rootfs
from bootstrap.testvm.components.cache import digest_of, digest_tree
from bootstrap.testvm.components.catalog import Layer

if TYPE_CHECKING:
    from bootstrap.testvm.apt_sources import Sources
    from bootstrap.testvm.components.catalog import Torch

GROUP = "torch"  # what has to be asked for
IMAGE = "torch-image"
PARTS = (IMAGE,)
_DEADLINE_S = 3600  # 1.2 GB of packages


def _layer(known: Torch) -> Layer:
    return Layer(GROUP, known.packages, links=known.links)


def digest(known: Torch, sources: Sources) -> str:
    """What the image is made of."""
    code = digest_tree(Path(__file__), Path(rootfs.__file__), Path(images.__file__))
    recipe: list[Any] = [asdict(known.image), asdict(_layer(known)), asdict(sources), code]
    return digest_of(recipe)


def build_image(known: Torch, sources: Sources, out: Path, log: Path) -> None:
    """Makes an image layout in `out`. GpuctlError "tool-missing", "component-build-failed"."""
    full, layer = out / "full.tar", out / "layer.tar"
    rootfs.bootstrap_tar(known.packages, sources, full, log, _DEADLINE_S)
    rootfs.write_layer(full, None, _layer(known), layer)
    full.unlink()
    layout, top = images.Layout(out), out / "top.tar"
    layout.start()
    below = layout.add_file(layer)
    layer.unlink()
    images.write_top_layer(known.image, {}, {}, top)
    layout.finish({known.image.ref: images.add_image(layout, known.image, [below], top)})
    top.unlink()
