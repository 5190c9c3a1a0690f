"""The user's kubeconfig keeps everything of the user's."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.kube import kubeconfig, kubeconfig_file
from bootstrap.kube.credentials import read_credentials
from bootstrap.kube.kubeconfig import default_path, entry_of, merge, remove
from tests.unit.certificates import admin_conf, certificate, data

MINE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "work",
    "preferences": {"colors": True},
    "clusters": [{"name": "work", "cluster": {"server": "https://work.invalid"}}],
    "users": [{"name": "work", "user": {"token": "t"}}],
    "contexts": [{"name": "work", "context": {"cluster": "work", "user": "work", "namespace": "n"}}],
    "extensions": [{"name": "kept", "extension": {"a": 1}}],
}


Entry = dict[str, Any]


@pytest.fixture
def entry() -> Entry:
    return entry_of(read_credentials(admin_conf()), "lab", "192.0.2.7")


def test_names_are_ours_and_tls_is_verified_against_the_endpoint(entry: Entry) -> None:
    cluster = entry["clusters"][0]
    assert cluster["name"] == "gpuctl-lab"
    assert cluster["cluster"]["server"] == "https://192.0.2.7:6443"
    assert cluster["cluster"]["tls-server-name"] == "no-such-name.invalid"
    assert "insecure-skip-tls-verify" not in cluster["cluster"]


def test_endpoint_name_is_kept_where_it_resolves() -> None:
    admin = read_credentials(admin_conf("https://localhost:6443"))
    cluster = entry_of(admin, "lab", "127.0.0.1")["clusters"][0]["cluster"]
    assert cluster["server"] == "https://localhost:6443"
    assert "tls-server-name" not in cluster


def test_merging_loses_nothing_and_leaves_the_current_context(tmp_path: Path, entry: Entry) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(MINE))
    merged = merge(path, entry, use_context=False)
    after = yaml.safe_load(path.read_text())
    assert (merged.changed, merged.current, merged.context) == (True, False, "gpuctl-lab")
    assert after["current-context"] == "work"
    for key in ("preferences", "extensions"):
        assert after[key] == MINE[key]
    for section in ("clusters", "users", "contexts"):
        assert after[section][0] == MINE[section][0]
        assert len(after[section]) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not remove(path, "lab", "198.51.100.0/24"), "a cluster elsewhere that has the lab's name"
    assert remove(path, "lab")
    assert yaml.safe_load(path.read_text()) == MINE


def test_second_merge_changes_nothing_but_an_open_mode(tmp_path: Path, entry: Entry) -> None:
    path = tmp_path / "sub" / "config"
    assert merge(path, entry, use_context=False).current
    path.chmod(0o644)
    assert not merge(path, entry, use_context=False).changed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_made_anew_cluster_replaces_its_own_entry_only(tmp_path: Path, entry: Entry) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(MINE))
    merge(path, entry, use_context=True)
    anew = entry_of(read_credentials(admin_conf(ca="other-ca")), "lab", "192.0.2.8")
    merge(path, anew, use_context=False)
    after = yaml.safe_load(path.read_text())
    assert [c["name"] for c in after["clusters"]] == ["work", "gpuctl-lab"]
    assert after["clusters"][1]["cluster"]["certificate-authority-data"] == data(certificate("other-ca", "other-ca"))
    assert after["current-context"] == "gpuctl-lab"


def test_a_symbolic_link_stays_one(tmp_path: Path, entry: Entry) -> None:
    real = tmp_path / "real"
    real.write_text(yaml.safe_dump(MINE))
    link = tmp_path / "config"
    link.symlink_to(real)
    merge(link, entry, use_context=False)
    assert link.is_symlink()
    assert "gpuctl-lab" in real.read_text()


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "clusters: 3"])
def test_what_is_no_kubeconfig_is_refused_and_left_alone(tmp_path: Path, entry: Entry, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(GpuctlError) as caught:
        merge(path, entry, use_context=False)
    assert caught.value.exit_code == ExitCode.SETTINGS
    assert caught.value.problems[0].code == "kubeconfig-unusable"
    assert path.read_text() == text


def test_default_path_follows_kubectl() -> None:
    assert default_path({"KUBECONFIG": "/a:/b", "HOME": "/h"}) == Path("/a")
    assert default_path({"HOME": "/h"}) == Path("/h/.kube/config")


@pytest.mark.parametrize("text", ["users: [a]", "clusters: {a: b}", "contexts: [[]]", "contexts: 0"])
def test_entries_that_are_no_mappings_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(GpuctlError):
        kubeconfig.remove(path, "gpu-cluster")
    assert path.read_text() == text


def test_an_interrupted_write_leaves_no_copy_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        kubeconfig_file.write(tmp_path / "config", {"kind": "Config"})
    assert list(tmp_path.iterdir()) == []


PROD = """\
apiVersion: v1
kind: Config
clusters: [{name: prod, cluster: {server: "https://192.0.2.1:6443"}}]
contexts: [{name: prod, context: {cluster: prod, user: prod}}]
current-context: prod
users: [{name: prod, user: {token: t}}]
"""
EMPTY = "apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n"


@pytest.mark.parametrize("first", [None, "", EMPTY, '{\n\t"kind": "Config",\n\t"clusters": [], "users": []\n}\n'])
def test_the_current_context_stays_over_all_files_of_kubeconfig(
    first: str | None, tmp_path: Path, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    b.write_text(PROD)
    if first is not None:
        a.write_text(first)
    monkeypatch.setenv("KUBECONFIG", f"{a}:{b}")
    merged = merge(a, entry, use_context=False)

    assert not merged.current
    assert not yaml.safe_load(a.read_text()).get("current-context")
    assert b.read_text() == PROD
    assert merge(a, entry, use_context=True).current
    monkeypatch.setenv("KUBECONFIG", f"{b}:{a}")
    assert not merge(a, entry, use_context=True).current, "kubectl takes the first file that names one"


def test_a_file_of_its_own_has_a_current_context_of_its_own(
    tmp_path: Path, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b").write_text(PROD)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "b"))
    assert merge(tmp_path / "other", entry, use_context=False).current


def test_json_with_tabs_is_a_kubeconfig(tmp_path: Path, entry: Entry) -> None:
    path = tmp_path / "config"
    path.write_text('{\n\t"apiVersion": "v1",\n\t"kind": "Config",\n\t"clusters": [], "users": [], "contexts": []\n}\n')
    assert merge(path, entry, use_context=False).changed
    assert [c["name"] for c in yaml.safe_load(path.read_text())["clusters"]] == ["gpuctl-lab"]


@pytest.mark.parametrize(
    ("mode", "kept"), [(0o600, 0o600), (0o640, 0o640), (0o660, 0o660), (0o644, 0o600), (0o666, 0o600)]
)
def test_a_group_keeps_its_access_and_the_world_loses_it(mode: int, kept: int, tmp_path: Path, entry: Entry) -> None:
    path = tmp_path / "config"
    path.write_text(PROD)
    path.chmod(mode)
    merge(path, entry, use_context=False)
    assert stat.S_IMODE(path.stat().st_mode) == kept


@pytest.mark.parametrize("mode", [0o444, 0o400])
def test_a_read_only_file_is_refused_and_left_alone(mode: int, tmp_path: Path, entry: Entry) -> None:
    path = tmp_path / "config"
    path.write_text(PROD)
    path.chmod(mode)
    with pytest.raises(GpuctlError) as caught:
        merge(path, entry, use_context=False)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (PROD, mode)
    assert caught.value.problems[0].code == "kubeconfig-unusable"
    assert f"chmod u+w {path}" in caught.value.problems[0].fix
    path.chmod(mode | 0o200)  # the remedy
    assert merge(path, entry, use_context=False).changed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays_the_owner_when_root_merges(tmp_path: Path, entry: Entry) -> None:
    path = tmp_path / "config"
    path.write_text(PROD)
    os.chown(path, 1234, 2345)
    merge(path, entry, use_context=False)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)
    os.chown(tmp_path, 1234, 2345)  # a new file in a user's folder is the user's
    merge(tmp_path / "new", entry, use_context=False)
    assert (tmp_path / "new").stat().st_uid == 1234


def test_the_lock_is_kubectls_and_goes_again(tmp_path: Path, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    path, lock = tmp_path / "config", tmp_path / "config.lock"
    (tmp_path / ".config.gpuctl-lock").touch()
    merge(path, entry, use_context=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config"]
    lock.touch()
    monkeypatch.setattr(kubeconfig_file, "_LOCK_WAIT_S", 0.1)
    before = path.read_text()
    with pytest.raises(GpuctlError) as caught:
        remove(path, "lab")
    assert (lock.exists(), path.read_text()) == (True, before)
    assert f"rm {lock}" in caught.value.problems[0].fix
    lock.unlink()  # the remedy
    assert remove(path, "lab")
