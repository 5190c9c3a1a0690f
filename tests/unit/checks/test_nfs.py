"""Exports of others that keep nodes from mounting ours by its path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.checks.preflight import preflight
from bootstrap.hostside import gpuctl_nfsexports as exports
from bootstrap.inventory.model import NFS_SERVER, Inventory
from tests.unit.factories import host_facts, inventory

OF_THE_CASE = (
    "/export 192.0.2.0/24(rw,fsid=0,no_subtree_check)\n/export/users 192.0.2.0/24(rw,nohide,no_subtree_check)\n"
)


def lab() -> Inventory:
    made = inventory({"cp1": "192.0.2.10"}, {"gpu1": "192.0.2.11"})
    server = replace(made.hosts[0], groups=made.hosts[0].groups | {NFS_SERVER})
    return Inventory(made.path, (server, *made.hosts[1:]))


@pytest.mark.parametrize(
    ("table", "roots", "refused"),
    [
        (OF_THE_CASE, ["/export 192.0.2.0/24"], True),
        ("/export *(ro,fsid=root)\n", ["/export *"], True),
        (
            "/export -fsid=0,ro gpu1.example.com 198.51.100.0/24\n",
            ["/export gpu1.example.com", "/export 198.51.100.0/24"],
            True,
        ),
        ("/export 198.51.100.0/24(fsid=0)\n", ["/export 198.51.100.0/24"], False),  # nobody of the cluster
        ("/ 192.0.2.0/24(ro,fsid=0)\n", [], False),  # where paths are as they are
        ("/export 192.0.2.0/24(rw,fsid=1)\n# /x *(fsid=0)\n", [], False),
        ("", [], False),
    ],
)
def test_a_pseudo_root_is_named(
    table: str, roots: list[str], refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exports").write_text(table)
    monkeypatch.setattr(exports, "TABLES", (str(tmp_path / "exports"),))
    assert exports.pseudo_roots() == roots

    facts = {
        "cp1": host_facts("cp1", address="192.0.2.10", nfs_roots=tuple(roots)),
        "gpu1": host_facts(address="192.0.2.11"),
    }
    found = preflight(lab(), facts)
    assert [(f.host, f.code) for f in found] == ([("cp1", "nfs-pseudo-root")] if refused else [])
    if refused:
        assert "/export with fsid=0" in found[0].message
        assert "/srv/nfs/kubedata" in found[0].message
