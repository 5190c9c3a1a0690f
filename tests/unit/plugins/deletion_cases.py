"""Run as root in a mount namespace of its own: mounts and links that lead out of what is to be deleted.

Prints one JSON object: case → {"refused": bool, "lost": bytes that were deleted outside, "left": whether the tree is
still there}.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bootstrap.hostside import gpuctl_kubereset as kubereset
from bootstrap.hostside.gpuctl_deletion import delete_tree
from bootstrap.hostside.gpuctl_filesync import remove_trees
from bootstrap.hostside.gpuctl_hostio import HostError

SIZE = 4096


def mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, timeout=20)


def made(folder: Path, name: str) -> tuple[Path, Path]:
    """The folder that is deleted, with something of its own in it, and a folder outside with SIZE bytes."""
    base = folder / name
    tree, outside = base / "tree", base / "outside"
    for place in (tree / "a" / "b", outside / "deep"):
        place.mkdir(parents=True)
    (tree / "a" / "own").write_bytes(b"x")
    (outside / "deep" / "data").write_bytes(b"d" * SIZE)
    return tree, outside


def bind(tree: Path, outside: Path, name: str = "a/b") -> None:
    (tree / name).mkdir(parents=True, exist_ok=True)
    mount("--bind", outside, tree / name)


def tmpfs(tree: Path, outside: Path) -> None:
    mount("-t", "tmpfs", "disk", tree / "a" / "b")
    (tree / "a" / "b" / "deep").mkdir()
    (outside / "deep" / "data").rename(outside / "deep" / "moved")
    (tree / "a" / "b" / "deep" / "data").write_bytes(b"d" * SIZE)


def linked_root(tree: Path, outside: Path) -> None:
    subprocess.run(["rm", "-r", str(tree)], check=True, timeout=20)
    tree.symlink_to(outside)


def linked_parent(tree: Path, outside: Path) -> None:
    parent = tree.parent / "real"
    parent.mkdir()
    (tree.parent / "by").symlink_to(outside.parent)


def open_parent(tree: Path, _outside: Path) -> None:
    tree.parent.chmod(0o777)


Setup = Callable[[Path, Path], object]
Delete = Callable[[Path], object]
CASES: dict[str, tuple[Setup, Delete]] = {
    "a bind mount below": (bind, lambda tree: delete_tree(str(tree))),
    "a bind mount with a blank in its name": (lambda t, o: bind(t, o, "a b"), lambda tree: delete_tree(str(tree))),
    "a bind mount with a backslash and an umlaut": (
        lambda t, o: bind(t, o, "ä\\040x"),
        lambda tree: delete_tree(str(tree)),
    ),
    "another file system below": (tmpfs, lambda tree: delete_tree(str(tree))),
    "the folder itself is a mount": (
        lambda t, o: mount("--bind", o, t),
        lambda tree: delete_tree(str(tree)),
    ),
    "a link in the tree": (
        lambda t, o: (t / "a" / "link").symlink_to(o / "deep"),
        lambda tree: delete_tree(str(tree)),
    ),
    "the folder is a link": (linked_root, lambda tree: delete_tree(str(tree), keep=True)),
    "a folder above is a link": (linked_parent, lambda tree: delete_tree(str(tree.parent / "by" / "outside"))),
    "a folder above is open to others": (open_parent, lambda tree: delete_tree(str(tree))),
    "a disk below a runtime's folder": (bind, lambda tree: remove_trees([str(tree)], check=False)),
    "a runtime's folder that is a link": (linked_root, lambda tree: remove_trees([str(tree)], check=False)),
    "a disk below the kubelet's folder": (bind, lambda tree: kubereset._remove(str(tree))),
    "a hard link": (
        lambda t, o: os.link(o / "deep" / "data", t / "a" / "hard"),
        lambda tree: delete_tree(str(tree)),
    ),
}


def outcome(folder: Path, name: str, setup: Setup, delete: Delete) -> dict[str, object]:
    tree, outside = made(folder, name.replace(" ", "-"))
    setup(tree, outside)
    refused = False
    try:
        delete(tree)
    except HostError as error:
        refused = error.code == "delete-refused"
    held = [path for path in (outside / "deep" / "data", tree / "a" / "b" / "deep" / "data") if path.exists()]
    size = held[-1].stat().st_size if held else 0
    return {"refused": refused, "lost": SIZE - size, "left": tree.exists()}


def main() -> None:
    folder = Path(sys.argv[1])
    print(json.dumps({name: outcome(folder, name, *case) for name, case in CASES.items()}))  # noqa: T201


if __name__ == "__main__":
    main()
