"""Deleting trees on a host: all of the tree, and not a byte outside of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap.hostside.gpuctl_deletion import delete_tree, identity, mounts
from bootstrap.hostside.gpuctl_hostio import HostError
from tests.unit.plugins.deletion_cases import CASES

ROOT = Path(__file__).resolve().parents[3]
ALONE = ["unshare", "--mount", "--propagation", "private"]
MAY_MOUNT = os.geteuid() == 0 and subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not MAY_MOUNT, reason="mounts need root and a mount namespace")
def test_mounts_and_links_lead_nowhere(tmp_path: Path, figure: Callable[[str], None]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [*ALONE, sys.executable, "-m", "tests.unit.plugins.deletion_cases", str(tmp_path)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    lost = sum(case["lost"] for case in found.values())
    refused = sum(case["refused"] for case in found.values())
    figure(f"mounts and links: {len(found)}, {refused} refused, {lost} bytes deleted outside")
    assert lost == 0
    assert {name for name, case in found.items() if not case["refused"]} == {"a link in the tree", "a hard link"}
    assert not any(case["left"] for case in found.values() if not case["refused"])
    assert len(found) == len(CASES) >= 10


def test_a_tree_goes_whole_however_deep(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    handle = os.open(tree, os.O_RDONLY)
    for _ in range(700):  # deeper than a path may be long, and than files may be open
        os.mkdir("d" * 20, dir_fd=handle)
        inner = os.open("d" * 20, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    (tree / "file").write_text("x")
    (tree / "gone").symlink_to("/nowhere")
    delete_tree(str(tree))
    assert not tree.exists()
    delete_tree(str(tree))


def test_a_file_and_a_link_go_as_such(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("x")
    (tmp_path / "link").symlink_to(kept)
    delete_tree(str(tmp_path / "link"))
    assert kept.exists()
    delete_tree(str(kept))
    assert not kept.exists()


@pytest.mark.parametrize("path", ["/", "relative/path", ""])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(HostError) as caught:
        delete_tree(path)
    assert caught.value.code == "delete-refused"


def test_a_folder_has_an_identity_that_its_successor_has_not(tmp_path: Path) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    before = identity(str(folder))
    assert before == identity(str(folder))
    assert before != identity(str(other))
    assert identity(str(tmp_path / "absent")) is None


def test_octal_in_the_table_of_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    table = "36 35 98:0 / /srv/a\\040b\\134c\\303\\244 rw - ext4 /dev/sda rw\nnonsense\n"
    monkeypatch.setattr("bootstrap.hostside.gpuctl_deletion.read_text", lambda _path: table)
    assert [tuple(mount) for mount in mounts()] == [("/srv/a b\\cä", "ext4")]
