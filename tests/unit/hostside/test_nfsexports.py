"""Tables of exports as exportfs reads and prints them, and who may not be in one."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.hostside import gpuctl_nfsexports as exports
from bootstrap.hostside.gpuctl_nfsexports import Export

# What `exportfs -s` printed on a Debian 12 server for one network and one address.
PRINTED = (
    "/srv/nfs/kubedata  10.9.0.0/24(sync,wdelay,hide,no_subtree_check,anonuid=1000,anongid=1000,sec=sys,rw,secure,"
    "root_squash,no_all_squash)\n"
    "/srv/nfs/kubedata  10.8.0.7(sync,wdelay,hide,no_subtree_check,anonuid=1000,anongid=1000,sec=sys,rw,secure,"
    "root_squash,no_all_squash)\n"
)
WANTED = ["rw", "sync", "no_subtree_check", "root_squash", "anonuid=1000", "anongid=1000"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("# /srv *(rw)\n\n", []),
        ("/srv", [Export("/srv", "*", frozenset())]),
        ("/srv *(rw,sync)", [Export("/srv", "*", frozenset({"rw", "sync"}))]),
        ("/srv (ro)", [Export("/srv", "*", frozenset({"ro"}))]),
        (
            "/srv -sync a.example(rw) 10.0.0.1 # both",
            [Export("/srv", "a.example", frozenset({"sync", "rw"})), Export("/srv", "10.0.0.1", frozenset({"sync"}))],
        ),
        ("/srv \\\n  10.0.0.0/255.255.255.0(ro)", [Export("/srv", "10.0.0.0/24", frozenset({"ro"}))]),
        ('"/srv/with blank" 10.0.0.1/32(rw)', [Export("/srv/with blank", "10.0.0.1", frozenset({"rw"}))]),
        ("/srv/with\\040blank fd00::1(rw)", [Export("/srv/with blank", "fd00::1", frozenset({"rw"}))]),
    ],
)
def test_tables_are_read_as_exportfs_reads_them(text: str, found: list[Export]) -> None:
    assert exports.parse(text) == found


@given(st.text(max_size=200))
def test_no_table_is_too_odd_to_be_read(text: str) -> None:
    assert all(export.client for export in exports.parse(text))


PATH = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8).map(lambda name: f"/{name}")
OPTIONS = st.frozensets(st.sampled_from(["rw", "ro", "sync", "root_squash", "anonuid=7"]))


@given(st.lists(st.tuples(PATH, st.ip_addresses(), OPTIONS), max_size=6))
def test_what_is_written_is_read(rows: list[tuple[str, ipaddress.IPv4Address, frozenset[str]]]) -> None:
    text = "".join(f"{path} {client}({','.join(sorted(options))})\n" for path, client, options in rows)
    assert exports.parse(text) == [Export(path, str(client), options) for path, client, options in rows]


@pytest.mark.parametrize(
    "client", ["*", "0.0.0.0/0", "::/0", "0.0.0.0/1", "10.0.0.0/7", "host", "*.example", "@ng", ""]
)
def test_nobody_gets_an_export_who_could_be_anybody(client: str) -> None:
    assert exports.client_complaint(client)


@pytest.mark.parametrize("client", ["10.0.0.0/8", "10.1.2.3", "10.0.0.0/255.255.0.0", "fd00::/8", "fd00::1"])
def test_addresses_and_networks_of_a_site_may_mount(client: str) -> None:
    assert exports.client_complaint(client) == ""


@pytest.mark.parametrize(
    "path",
    ["/", "/etc", "/etc/x", "/srv", "/home", "/var/lib/kubelet", "/usr/share/x", "srv/x", "/srv/../etc", "/srv/x/"],
)
def test_folders_of_the_system_are_not_exported(path: str) -> None:
    assert exports.path_complaint(path)


def test_a_link_does_not_lead_around_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "_WHOLE_TREES", ["/etc"])
    (tmp_path / "data").symlink_to("/etc")
    assert exports.path_complaint(f"{tmp_path}/data") == f"{tmp_path}/data leads to /etc, a folder of the system"
    assert exports.path_complaint(f"{tmp_path}/other") == ""


def test_a_file_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "_WHOLE_TREES", [])
    (tmp_path / "file").write_text("")
    assert exports.path_complaint(f"{tmp_path}/file").endswith("is no folder")


def test_others_may_not_give_the_folder_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main, ours = tmp_path / "exports", tmp_path / "gpuctl.exports"
    monkeypatch.setattr(exports, "TABLES", (str(main), f"{tmp_path}/*.exports"))
    monkeypatch.setattr(exports, "OURS", str(ours))
    main.write_text("/srv *(rw)\n/srv/nfs/kubedata-2 *(rw)\n/home 10.0.0.1\n")
    ours.write_text("/srv/nfs/kubedata 10.0.0.1(rw)\n")
    assert exports.foreign("/srv/nfs/kubedata") == {str(main): ["/srv *"]}
    assert exports.foreign("/data") == {}


def test_what_is_wanted_differs_in_nothing() -> None:
    found = exports.parse(PRINTED)
    assert exports.differing("/srv/nfs/kubedata", ["10.9.0.0/24", "10.8.0.7/32"], WANTED, found) == []


@pytest.mark.parametrize(
    ("clients", "options", "lines"),
    [
        (["10.9.0.0/24"], WANTED, ["/srv/nfs/kubedata is exported to 10.8.0.7"]),
        (
            ["10.9.0.0/24", "10.8.0.7", "10.7.0.1"],
            WANTED,
            ["/srv/nfs/kubedata is not exported to 10.7.0.1"],
        ),
        (
            ["10.9.0.0/24", "10.8.0.7"],
            ["rw", "anonuid=7"],
            [
                "/srv/nfs/kubedata is exported to 10.8.0.7 without anonuid=7",
                "/srv/nfs/kubedata is exported to 10.9.0.0/24 without anonuid=7",
            ],
        ),
    ],
)
def test_each_difference_has_a_line(clients: list[str], options: list[str], lines: list[str]) -> None:
    assert exports.differing("/srv/nfs/kubedata", clients, options, exports.parse(PRINTED)) == lines


def test_a_server_that_listens_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    head = "  sl  local_address rem_address   st\n"
    table = head + "   0: 00000000:0016 00000000:0000 0A\n   1: 0100007F:0801 0100007F:9999 01\n"
    monkeypatch.setattr(exports, "read_text", lambda path: table if path.endswith("tcp") else "")
    assert exports.listening(22)
    assert not exports.listening()
    table += "   2: 00000000:0801 00000000:0000 0A\n"
    assert exports.listening()
