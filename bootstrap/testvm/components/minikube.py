"""What the minikube lane needs of a mirror: minikube, Docker's packages, and a bundle for sites without internet.

The bundle is one tar: what lies in minikube's cache, the node image, the addons' images, and what names them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.testvm.components import dockerarchive, images, node
from bootstrap.testvm.components.aptrepo import link_or_copy
from bootstrap.testvm.components.cache import digest_of, digest_tree
from bootstrap.testvm.components.mirror import SUMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bootstrap.testvm.components.catalog import Catalog, Minikube

GROUP = "minikube"  # what has to be asked for
DOCKER, NODE, BUNDLE = "docker-packages", "minikube-node", "minikube-bundle"
PARTS = (DOCKER, NODE, BUNDLE)
PROGRAM = "minikube"  # the Go component
SUITE = "docker"  # Docker's packages have a suite of their own: their containerd is no rival of the one in `stable`
FILE = "bundle.tar"
_TOOLS = ("kubeadm", "kubectl", "kubelet")


def architecture() -> str:
    """Go's name of this machine's architecture, which minikube uses, such as "amd64"."""
    return images.GO_ARCH.get(os.uname().machine, os.uname().machine)


def document(catalog: Catalog) -> dict[str, Any]:
    """bundle.json: what is in the bundle, for who starts minikube with it."""
    known = catalog.minikube
    return {
        "addon_images": known.addons,
        "base_image": known.node.ref,
        "cni": known.cni,
        "kubernetes_version": catalog.go["kubernetes"].version,
    }


def bundle_digest(catalog: Catalog, made_of: Iterable[str]) -> str:
    """What the bundle is; `made_of` are the digests of what is in it."""
    here = Path(__file__)
    code = digest_tree(here, here.with_name("dockerarchive.py"), Path(images.__file__))
    return digest_of([asdict(catalog.minikube), document(catalog), architecture(), code, *made_of])


def write_bundle(catalog: Catalog, entries: Mapping[str, Path], layout: Path, out: Path) -> None:
    """Writes the bundle of the components `entries` and of the images in `layout` into the folder `out`."""
    known, version = catalog.minikube, catalog.go["kubernetes"].version
    own = _stand_ins(catalog, entries, out / "stand-ins")
    piece = out / "piece.tar"
    with tarfile.open(out / FILE, "w", format=tarfile.PAX_FORMAT) as tar:
        dockerarchive.add(tar, "bundle.json", (json.dumps(document(catalog), indent=1) + "\n").encode())
        for name in _TOOLS:
            place = f"cache/linux/{architecture()}/{version}/{name}"
            dockerarchive.add(tar, place, entries["kubernetes"] / name, 0o755)
        for place, ref in _archives(known).items():
            dockerarchive.of_layout(piece, own if ref in known.stand_ins else layout, ref)
            dockerarchive.add(tar, place, piece)
        dockerarchive.add(tar, "node/kicbase.tar", entries[NODE] / node.IMAGE)
    piece.unlink()
    shutil.rmtree(own)


def _stand_ins(catalog: Catalog, entries: Mapping[str, Path], root: Path) -> Path:
    """Makes an image layout at `root` with the images that only the bundle has."""
    layout = images.Layout(root)
    layout.start()
    top, manifests = root / "top.tar", {}
    for ref, image in catalog.minikube.stand_ins.items():
        images.write_top_layer(image, catalog.go, dict(entries), top)
        manifests[ref] = images.add_image(layout, image, [], top)
        top.unlink()
    layout.finish(manifests)
    return root


def _archives(known: Minikube) -> dict[str, str]:
    """Path in the bundle → the image there; minikube's cache has `_` for `:` in file names."""
    cached = (*known.images, *known.stand_ins)
    found = {f"cache/images/{architecture()}/{ref.replace(':', '_')}": ref for ref in cached}
    loaded = {**known.addons, **{ref.rpartition("/")[2].replace(":", "_"): ref for ref in known.jobs}}
    return found | {f"addons/{name}.tar": ref for name, ref in loaded.items()}


def lay(entries: Mapping[str, Path], folder: Path) -> dict[str, str]:
    """Makes the folder that is served, of what is there of it; gives file name → SHA-256."""
    found = {
        f"minikube-linux-{architecture()}": (PROGRAM, "minikube"),
        FILE: (BUNDLE, FILE),
    }
    sums: dict[str, str] = {}
    for name, (component, file) in found.items():
        if component in entries:
            folder.mkdir(exist_ok=True)
            link_or_copy(entries[component] / file, folder / name)
            with (folder / name).open("rb") as handle:
                sums[name] = hashlib.file_digest(handle, "sha256").hexdigest()
    if sums:
        text = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
        (folder / SUMS).write_text(text, encoding="ascii")
    return sums
