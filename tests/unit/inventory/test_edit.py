"""A list of an inventory that is changed: nothing else of the file is, and what is no clear case is refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.inventory.edit import plan_edit, write_edit
from bootstrap.inventory.load import load_inventory

NAME = "cluster_addons"
HOSTS = "[control_plane]\ncp1 ansible_host=192.0.2.10\n"
ALL = "[all:vars]\n# who we are\nansible_user=root\n"
BLOCK = """all:
  vars:
    cluster_addons:  # ours
      # storage
      - csi-driver-nfs
      - volcano # gangs
    x: 1
"""

# name of the file, its text, the list, the text afterwards
CHANGES: dict[str, tuple[str, str, list[str], str]] = {
    "no-section": ("lab.ini", HOSTS, ["a"], f'{HOSTS}\n[all:vars]\ncluster_addons=["a"]\n'),
    "no-last-newline": ("lab.ini", HOSTS.rstrip(), ["a"], f'{HOSTS}\n[all:vars]\ncluster_addons=["a"]\n'),
    "section-in-the-middle": (
        "lab.ini",
        f"{ALL}\n# the machines\n{HOSTS}",
        ["a", "b"],
        f'{ALL}cluster_addons=["a", "b"]\n\n# the machines\n{HOSTS}',
    ),
    "empty-section": ("lab.ini", f"{HOSTS}[all:vars]\n", ["a"], f'{HOSTS}[all:vars]\ncluster_addons=["a"]\n'),
    "windows": (
        "lab.ini",
        HOSTS.replace("\n", "\r\n"),
        ["a"],
        f'{HOSTS}\n[all:vars]\ncluster_addons=["a"]\n'.replace("\n", "\r\n"),
    ),
    "list": (
        "lab.ini",
        f"{HOSTS}{ALL}cluster_addons = ['a']   # some\nx=1\n",
        ["a", "b"],
        f'{HOSTS}{ALL}cluster_addons = ["a", "b"]   # some\nx=1\n',
    ),
    "words": ("lab.ini", f"{HOSTS}{ALL}cluster_addons=a\nx=1\n", ["a", "b"], f"{HOSTS}{ALL}cluster_addons=a,b\nx=1\n"),
    "last-word": ("lab.ini", f"{HOSTS}{ALL}cluster_addons=a\n", [], f"{HOSTS}{ALL}cluster_addons=[]\n"),
    "yaml-flow": (
        "lab.yml",
        "all:\n  vars: {cluster_addons: [a], x: 1}  # short\n",
        ["a", "b"],
        'all:\n  vars: {cluster_addons: ["a", "b"], x: 1}  # short\n',
    ),
    "yaml-word": (
        "lab.yml",
        "all:\n  vars:\n    cluster_addons: a\n",
        ["b"],
        'all:\n  vars:\n    cluster_addons: ["b"]\n',
    ),
    "yaml-nothing": (
        "lab.yml",
        "all:\n  vars:\n    cluster_addons:\n    x: 1\n",
        ["b"],
        'all:\n  vars:\n    cluster_addons: ["b"]\n    x: 1\n',
    ),
    "yaml-block-more": (
        "lab.yml",
        BLOCK,
        ["csi-driver-nfs", "volcano", "jobset"],
        BLOCK.replace("# gangs\n", "# gangs\n      - jobset\n"),
    ),
    "yaml-block-less": ("lab.yml", BLOCK, ["csi-driver-nfs"], BLOCK.replace("      - volcano # gangs\n", "")),
    "yaml-block-other": (
        "lab.yml",
        BLOCK,
        ["csi-driver-nfs", "jobset"],
        BLOCK.replace("- volcano # gangs\n", "- jobset\n"),
    ),
    "yaml-block-none": (
        "lab.yml",
        BLOCK,
        [],
        "all:\n  vars:\n    cluster_addons: []  # ours\n      # storage\n    x: 1\n",
    ),
    "yaml-without": (
        "lab.yml",
        "all:\n  vars:\n    # root\n    ansible_user: root\n  hosts: {}\n",
        ["a"],
        'all:\n  vars:\n    cluster_addons: ["a"]\n    # root\n    ansible_user: root\n  hosts: {}\n',
    ),
    "yaml-without-vars": (
        "lab.yml",
        "all:\n    hosts: {}\n",
        ["a"],
        'all:\n    vars:\n        cluster_addons: ["a"]\n    hosts: {}\n',
    ),
}

# name of the file, its text, what is said of it
REFUSED: dict[str, tuple[str, str, str]] = {
    "twice": (
        "lab.ini",
        f"{HOSTS}{ALL}cluster_addons=a\n[control_plane:vars]\ncluster_addons=a\n",
        "in several places",
    ),
    "host": ("lab.ini", "[control_plane]\ncp1 cluster_addons=a\n", "on the line of a host"),
    "template": ("lab.ini", f"{HOSTS}{ALL}cluster_addons={{{{ ours }}}}\n", "is a template"),
    "yaml-template": ("lab.yml", "all:\n  vars:\n    cluster_addons: '{{ ours }}'\n", "is a template"),
    "yaml-comments": ("lab.yml", "all:\n  vars:\n    cluster_addons: [\n      a, # b\n    ]\n", "has comments in it"),
    "yaml-anchor": ("lab.yml", "x: &x [a]\nall:\n  vars:\n    cluster_addons: *x\n", "at an anchor"),
    "yaml-short": ("lab.yml", "all: {vars: {x: 1}}\n", "no group `all` in block style"),
    "yaml-no-all": ("lab.yml", "workers:\n  hosts: {a: }\n", "no group `all` in block style"),
    "json": ("lab.json", '{"all": {"vars": {"x": 1}}}\n', "no group `all` in block style"),
    "not-text": ("lab.ini", f"{HOSTS}# \udcff\n", "not UTF-8 text"),
}


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


@pytest.mark.parametrize("case", CHANGES)
def test_only_the_list_changes(case: str, tmp_path: Path) -> None:
    file, text, values, after = CHANGES[case]
    edit = plan_edit(written(tmp_path / file, text), NAME, values)
    assert edit.after == after
    number = int(edit.at.rpartition(":")[2])
    assert "cluster_addons" in after.splitlines()[number - 1]


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_clear_case_is_refused_with_the_line(case: str, tmp_path: Path) -> None:
    file, text, words = REFUSED[case]
    path = written(tmp_path / file, text)
    with pytest.raises(GpuctlError) as caught:
        plan_edit(path, NAME, ["a", "b"])
    (problem,) = caught.value.problems
    assert (caught.value.exit_code, problem.code) == (3, "inventory-not-edited")
    assert words in problem.message
    line = 'cluster_addons=["a", "b"]' if file.endswith("ini") else 'cluster_addons: ["a", "b"]'
    assert f"`{line}`" in problem.fix


def test_a_folder_is_changed_where_it_has_the_list_and_nowhere_else(tmp_path: Path) -> None:
    written(tmp_path / "hosts.ini", HOSTS)
    (tmp_path / "group_vars").mkdir()
    shared = written(tmp_path / "group_vars" / "all.yml", "ansible_user: root\n")
    with pytest.raises(GpuctlError, match="no file of the directory has it"):
        plan_edit(tmp_path, NAME, ["a"])
    written(shared, "cluster_addons: [a]\n")
    assert plan_edit(tmp_path, NAME, ["a", "b"]).after == 'cluster_addons: ["a", "b"]\n'


def test_a_file_is_written_with_its_mode_and_through_its_link(tmp_path: Path) -> None:
    path = written(tmp_path / "real.ini", HOSTS + ALL)
    path.chmod(0o640)
    link = tmp_path / "lab.ini"
    link.symlink_to("real.ini")
    before = load_inventory(link)
    write_edit(plan_edit(link, NAME, ["csi-driver-nfs"]), before, NAME)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert load_inventory(link).hosts[0].settings[NAME] == ["csi-driver-nfs"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["lab.ini", "real.ini"]


def test_the_list_may_stand_in_a_file_of_variables(tmp_path: Path) -> None:
    shared = tmp_path / "group_vars" / "all" / "more.yaml"
    shared.parent.mkdir(parents=True)
    inventory = written(tmp_path / "lab.ini", HOSTS + ALL)
    assert plan_edit(inventory, NAME, ["a"]).path == inventory
    written(shared, "x: 1\ncluster_addons: []\n")
    edit = plan_edit(inventory, NAME, ["a"])
    assert (edit.path, edit.after) == (shared, 'x: 1\ncluster_addons: ["a"]\n')


def test_an_edit_that_would_mean_something_else_is_taken_back(tmp_path: Path) -> None:
    text = f"{HOSTS}[workers]\ngpu1 ansible_host=192.0.2.11\n[workers:vars]\ncluster_addons=[]\n"
    path = written(tmp_path / "lab.ini", text)
    before = load_inventory(path)
    with pytest.raises(GpuctlError):
        write_edit(plan_edit(path, NAME, ["csi-driver-nfs"]), before, NAME)
    assert path.read_text() == text


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "lab.ini", HOSTS + ALL)
    before = load_inventory(path)
    edit = plan_edit(path, NAME, ["csi-driver-nfs"])
    written(path, HOSTS + ALL + "# mine\n")
    with pytest.raises(GpuctlError, match="somebody has changed the file meanwhile"):
        write_edit(edit, before, NAME)
    assert path.read_text().endswith("# mine\n")
