"""What the NFS roles write on hosts, against golden files; `GPUCTL_UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

from typing import Any

import pytest

from bootstrap.hostside import gpuctl_nfsexports as exports
from tests.unit.plugins.test_role_files import compare
from tests.unit.plugins_cluster.rendering import GOLDEN, ROLES, render, value

CLIENTS = ["10.0.0.0/24", "10.1.0.7", "fd00:1::/64", "10.1.0.7"]
TEMPLATES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpuctl.exports": ("gpuctl.exports.j2", {"nfs_server_clients": CLIENTS}),
    "gpuctl-other.exports": (
        "gpuctl.exports.j2",
        {"nfs_server_clients": CLIENTS[:1], "nfs_server_path": "/data/jobs", "nfs_server_owner_uid": 2000},
    ),
    "nfs.conf": ("nfs.conf.j2", {"nfs_server_threads": 64}),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates(name: str) -> None:
    template, values = TEMPLATES[name]
    compare(GOLDEN / "nfs_server" / name, render("nfs_server", template, **values))


def test_every_template_is_rendered_here() -> None:
    assert {template for template, _ in TEMPLATES.values()} == {
        path.name for path in (ROLES / "nfs_server" / "templates").iterdir()
    }


def test_the_table_is_what_is_looked_for_afterwards() -> None:
    """File and check come from the same variables: one of them alone cannot change."""
    table = exports.parse(render("nfs_server", "gpuctl.exports.j2", nfs_server_clients=CLIENTS))
    options = [str(option) for option in value("nfs_server", "__nfs_server_options")]
    assert exports.differing("/srv/nfs/kubedata", CLIENTS, options, table) == []
    assert {"root_squash", "anonuid=1000", "anongid=1000"} <= set(options)
    assert len(table) == len(set(CLIENTS))


@pytest.mark.parametrize(
    ("flag", "purge"), [({}, False), ({"gpuctl_purge": False}, False), ({"gpuctl_purge": True}, True)]
)
def test_data_is_purged_by_the_flag_of_one_run_only(flag: dict[str, bool], purge: bool) -> None:
    assert value("nfs_server", "__nfs_server_purge", **flag) is purge
