"""The modules of the NFS roles, on folders of a test and with exportfs and systemd answering from it."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bootstrap.hostside import gpuctl_nfsexports as exports
from bootstrap.hostside import gpuctl_receipts as receipts
from bootstrap.hostside import gpuctl_systemd as systemd
from bootstrap.hostside.gpuctl_hostio import HostError, Ran
from bootstrap.hostside.gpuctl_module import HostModule
from tests.unit.plugins_cluster.rendering import ROOT

ME = "nfs_server"


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What was there before, by component; and no receipts."""
    kept: dict[str, dict[str, Any]] = {}

    def remember(component: str, kind: str, key: str, value: Any = None) -> bool:
        kept.setdefault(component, {}).setdefault(kind, {})[key] = value
        return True

    def before(component: str) -> dict[str, Any]:
        return {"packages_absent": [], **kept.get(component, {})}

    def renew(component: str, kind: str, key: str, value: Any) -> None:
        kept.setdefault(component, {}).setdefault(kind, {})[key] = value

    monkeypatch.setattr(receipts, "remember_before", remember)
    monkeypatch.setattr(receipts, "renew_before", renew)
    monkeypatch.setattr(receipts, "read_before", before)
    monkeypatch.setattr(receipts, "read", lambda _: None)
    return kept


def module(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "playbooks")
    return importlib.import_module(f"library.{name}")


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, notes: dict[str, Any]) -> ModuleType:
    del notes
    monkeypatch.setattr(exports, "_WHOLE_TREES", ["/etc"])
    monkeypatch.setattr(exports, "OURS", str(tmp_path / "gpuctl.exports"))
    monkeypatch.setattr(exports, "TABLES", (str(tmp_path / "exports"),))
    return module(monkeypatch, "gpuctl_nfs_export")


def params(path: object, **more: Any) -> dict[str, Any]:
    given = {"component": ME, "path": str(path), "clients": ["10.0.0.0/24"], "options": ["rw"], "min_free_gib": 0}
    return {**given, "owner": 0, "group": 0, "mode": "2770", "purge": False, **more}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"clients": ["*"]}, "nfs-open-export"),
        ({"clients": ["10.0.0.1", "0.0.0.0/0"]}, "nfs-open-export"),
        ({"clients": []}, "nfs-open-export"),
        ({"path": "/etc/x"}, "nfs-path-refused"),
        ({"min_free_gib": 10**9}, "nfs-space-low"),
    ],
)
def test_what_must_not_be_exported_is_refused(
    export: ModuleType, tmp_path: Path, more: dict[str, Any], code: str
) -> None:
    with pytest.raises(HostError) as caught:
        export.check({**params(tmp_path / "a" / "b"), **more})
    assert caught.value.code == code
    assert caught.value.fix


def test_the_line_of_somebody_else_is_named(export: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "exports").write_text(f"{tmp_path} *(rw)\n")
    with pytest.raises(HostError, match="exported already") as caught:
        export.check(params(tmp_path / "data"))
    assert caught.value.code == "nfs-export-foreign"
    assert f"{tmp_path}/exports: {tmp_path} *" in caught.value.message


def test_space_counts_before_the_first_installation_only(export: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "gpuctl.exports").write_text("")
    assert export.check(params(tmp_path / "data", min_free_gib=10**9)) == []


def test_a_folder_is_made_once_with_those_above_it(
    export: ModuleType, tmp_path: Path, notes: dict[str, dict[str, Any]]
) -> None:
    path = tmp_path / "nfs" / "data"
    assert export.make_folder(params(path), True) == [f"make {path}"]
    assert not path.exists()
    assert export.make_folder(params(path), False) == [f"make {path}"]
    assert path.stat().st_mode & 0o7777 == 0o2770
    assert list(notes[ME]["nfs_folders"]) == [str(path.parent), str(path)]
    path.chmod(0o755)  # the users' business from now on
    assert export.make_folder(params(path), False) == []
    assert path.stat().st_mode & 0o7777 == 0o755


def test_a_folder_that_a_killed_run_left_half_made_is_finished(
    export: ModuleType, tmp_path: Path, notes: dict[str, dict[str, Any]]
) -> None:
    path = tmp_path / "data"
    path.mkdir(0o700)
    assert export.make_folder(params(path), False) == []  # somebody's own: not touched
    notes[ME] = {"nfs_folders": {str(path): None}}
    assert export.make_folder(params(path), False) == [f"make {path}"]
    assert path.stat().st_mode & 0o7777 == 0o2770


def test_another_folder_in_its_place_is_not_purged(
    export: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, notes: dict[str, dict[str, Any]]
) -> None:
    monkeypatch.setattr(export, "run", Exportfs(""))
    path, data = tmp_path / "data", tmp_path / "data" / "file"
    export.make_folder(params(path), False)
    path.rename(tmp_path / "moved")
    path.mkdir()
    data.write_text("somebody's")
    with pytest.raises(HostError) as caught:
        export.end(params(path, purge=True), False)
    assert (caught.value.code, data.exists()) == ("delete-refused", True)
    notes[ME]["nfs_folders"][str(path)] = None  # made by a gpuctl that did not note what it was
    assert export.end(params(path, purge=True), False) == [f"remove {path}"]
    assert not path.exists()


def test_a_folder_that_was_there_and_is_gone_is_not_made_anew(export: ModuleType, tmp_path: Path) -> None:
    """Its file system is not mounted: jobs would find an empty folder and fill the disk below."""
    (tmp_path / "gpuctl.exports").write_text(f"{tmp_path}/data 10.0.0.1(rw)\n")
    with pytest.raises(HostError) as caught:
        export.make_folder(params(tmp_path / "data"), False)
    assert caught.value.code == "nfs-folder-gone"
    assert not (tmp_path / "data").exists()


class Exportfs:
    """exportfs with a table; `-ra` brings `wanted` into it."""

    def __init__(self, now: str, wanted: str = "") -> None:
        self.now, self.wanted, self.asked = now, wanted, list[list[str]]()

    def __call__(self, argv: list[str], _: float) -> Ran:
        self.asked.append(argv)
        if argv[1] == "-ra":
            self.now = self.wanted
        return Ran(0, self.now, "")


LINE = "/srv/a  10.0.0.0/24(rw,sync)\n"


def test_the_tables_are_read_anew_only_where_they_differ(export: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = Exportfs(LINE)
    monkeypatch.setattr(export, "run", tool)
    assert export.have_exported(params("/srv/a"), False) == []
    assert tool.asked == [["exportfs", "-s"]]
    tool = Exportfs("/srv/a  *(rw)\n", LINE)
    monkeypatch.setattr(export, "run", tool)
    changes = ["/srv/a is not exported to 10.0.0.0/24", "/srv/a is exported to *"]
    assert export.have_exported(params("/srv/a"), True) == changes
    assert ["exportfs", "-ra"] not in tool.asked
    assert export.have_exported(params("/srv/a"), False) == changes
    assert export.have_exported(params("/srv/a"), False) == []


def test_a_table_that_does_not_come_into_force_is_an_error(export: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "run", Exportfs(""))
    with pytest.raises(HostError) as caught:
        export.have_exported(params("/srv/a"), False)
    assert caught.value.code == "nfs-export-failed"


@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize("ours", [False, True])
def test_data_goes_only_when_asked_for_and_made_here(
    export: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    notes: dict[str, dict[str, Any]],
    purge: bool,
    ours: bool,
) -> None:
    monkeypatch.setattr(export, "run", Exportfs(""))
    path = tmp_path / "nfs" / "data"
    if ours:
        export.make_folder(params(path), False)
    else:
        path.mkdir(parents=True)
        notes.clear()
    (path / "result").write_text("weeks of work")
    gone = [f"remove {path}", f"remove {path.parent}"] if purge and ours else []
    assert export.end(params(path, purge=purge), True) == gone[:1]
    assert (path / "result").exists()
    assert export.end(params(path, purge=purge), False) == gone
    assert path.exists() is not bool(gone)
    assert tmp_path.exists()


class Units:
    """systemd with three units, and what was asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, host: ModuleType) -> None:
        self.load = dict.fromkeys(("rpcbind.socket", "rpcbind.service", "rpc-statd.service"), "loaded")
        self.asked: list[list[str]] = []
        monkeypatch.setattr(systemd, "show", self.show)
        monkeypatch.setattr(host, "run", self.run)

    def show(self, names: list[str]) -> dict[str, systemd.Unit]:
        return {n: systemd.Unit(n, self.load[n], "active", "", "", None, False, True) for n in names}

    def run(self, argv: list[str], _: float) -> Ran:
        self.asked.append(argv)
        for name in argv[argv.index("--") + 1 :]:
            self.load[name] = "masked" if argv[1] == "mask" else "loaded"
        return Ran(0, "", "")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, notes: dict[str, Any]) -> ModuleType:
    del notes
    found = module(monkeypatch, "gpuctl_nfs_host")
    monkeypatch.setattr(found, "read_text", lambda _: "nodev\tnfsd\nnodev\tnfs4\n")
    return found


def call(component: str = ME, check_mode: bool = False) -> HostModule:
    return HostModule({"component": component, "side": "server", "state": "present"}, check_mode)


def test_rpcbind_of_somebody_else_stays(host: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    units = Units(monkeypatch, host)
    assert host.have(call()) == []
    assert units.asked == []


def test_rpcbind_that_came_along_is_masked_and_given_back_by_the_last(
    host: ModuleType, monkeypatch: pytest.MonkeyPatch, notes: dict[str, dict[str, Any]]
) -> None:
    units = Units(monkeypatch, host)
    notes["nfs_client"] = {"dependencies": {"rpcbind": None}}
    masks = ["mask rpcbind.socket", "mask rpcbind.service", "mask rpc-statd.service"]
    assert host.have(call("nfs_client", check_mode=True)) == masks
    assert units.asked == []
    assert host.have(call("nfs_client")) == masks
    assert host.have(call()) == []  # the server on the same host finds them masked, and remembers it
    assert set(notes[ME]["masked"]) == set(units.load)
    monkeypatch.setattr(receipts, "read", lambda name: {"component": name} if name == ME else None)
    assert host.give_back(call("nfs_client")) == []
    del notes["nfs_client"]
    assert host.give_back(call()) == [f"un{line}" for line in masks]
    assert set(units.load.values()) == {"loaded"}


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_kernel_without_nfs_is_an_error_with_a_way_out(
    host: ModuleType, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(host, "read_text", lambda _: "nodev\tproc\n\text4\n")
    monkeypatch.setattr(host.kernel, "load_module", asked.append)
    with pytest.raises(HostError) as caught:
        host.require_kernel(side)
    assert caught.value.code == "nfs-kernel-missing"
    assert asked == list(host._MODULES[side])
    assert "nfs_client_enabled" in caught.value.fix or "nfs_server" in caught.value.fix


def test_a_kernel_that_has_it_loads_nothing(host: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.kernel, "load_module", lambda name: pytest.fail(f"loaded {name}"))
    host.require_kernel("server")
    host.require_kernel("client")
