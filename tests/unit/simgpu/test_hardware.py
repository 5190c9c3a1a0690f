from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.testvm.simgpu import hardware


def test_binds_cover_what_a_machine_with_its_own_driver_would_show(tmp_path: Path) -> None:
    binds = {bind.target: bind for bind in hardware.prepare(tmp_path, "none", 0, "s")}
    assert set(binds) == {"/sys/bus/pci/devices", "/proc/driver", "/opt/gpuctl-lab/gpus"}
    assert all(bind.read_only and bind.source.is_dir() for bind in binds.values())
    assert list(binds["/sys/bus/pci/devices"].source.iterdir()) == []
    assert hardware.gpus(tmp_path) == []


@pytest.mark.parametrize("path", [hardware.STATE_TARGET, hardware.MODULE_PROC])
def test_what_containers_are_shown_is_not_covered_in_a_node_of_minikube(path: str) -> None:
    assert not any(Path(path).is_relative_to(mount) for mount in ("/var", "/run", "/tmp", "/usr/lib/modules"))


@pytest.mark.parametrize(("model", "device"), [("a100", "0x20b0"), ("h100", "0x2330"), ("t4", "0x1eb8")])
def test_pci_tree(tmp_path: Path, model: str, device: str) -> None:
    hardware.prepare(tmp_path, model, 3, "s")
    cards = sorted((tmp_path / "pci").iterdir())
    assert [card.name for card in cards] == ["0000:01:00.0", "0000:02:00.0", "0000:03:00.0"]
    for card in cards:
        assert (card / "vendor").read_text() == "0x10de\n"
        assert (card / "device").read_text() == f"{device}\n"
        assert (card / "class").read_text() == "0x030200\n"
        config = (card / "config").read_bytes()
        assert config[:4] == bytes.fromhex("de10") + int(device, 16).to_bytes(2, "little")
        assert len(config) == 256


def test_identity_comes_from_the_seed(tmp_path: Path) -> None:
    uuids = []
    for seed in ("lab/w1", "lab/w1", "lab/w2"):
        hardware.prepare(tmp_path / "h", "t4", 8, seed)
        uuids.append([gpu.uuid for gpu in hardware.gpus(tmp_path / "h")])
    assert uuids[0] == uuids[1]
    assert not set(uuids[0]) & set(uuids[2])
    assert len(set(uuids[0])) == 8


def test_faults_are_kept_in_place_and_cleared(tmp_path: Path) -> None:
    hardware.prepare(tmp_path, "h100", 4, "s")
    state = tmp_path / "gpus" / "state"
    inode = state.stat().st_ino
    hardware.set_fault(tmp_path, 1, "ecc")
    hardware.set_fault(tmp_path, 1, "hang")
    hardware.set_fault(tmp_path, 1, "ecc")
    assert [gpu.faults for gpu in hardware.gpus(tmp_path)] == [(), ("ecc", "hang"), (), ()]
    hardware.clear_faults(tmp_path)
    assert all(gpu.faults == () for gpu in hardware.gpus(tmp_path))
    assert state.stat().st_ino == inode, "containers hold the file by inode"


def test_unplugged_card_leaves_the_bus_and_comes_back(tmp_path: Path) -> None:
    hardware.prepare(tmp_path, "t4", 2, "s")
    hardware.set_fault(tmp_path, 0, "unplugged")
    assert [entry.name for entry in (tmp_path / "pci").iterdir()] == ["0000:02:00.0"]
    hardware.clear_faults(tmp_path)
    assert len(list((tmp_path / "pci").iterdir())) == 2


def test_preparing_again_replaces_the_hardware(tmp_path: Path) -> None:
    hardware.prepare(tmp_path, "h100", 8, "s")
    hardware.prepare(tmp_path, "t4", 2, "s")
    assert len(list((tmp_path / "pci").iterdir())) == 2
    assert (tmp_path / "pci/0000:01:00.0/device").read_text() == "0x1eb8\n"


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown GPU model 'v100'"):
        hardware.prepare(tmp_path, "v100", 1, "s")
    with pytest.raises(ValueError, match="0 to 16"):
        hardware.prepare(tmp_path, "t4", 17, "s")
    hardware.prepare(tmp_path, "t4", 1, "s")
    with pytest.raises(ValueError, match="unknown fault"):
        hardware.set_fault(tmp_path, 0, "melted")
    with pytest.raises(ValueError, match="no GPU 1"):
        hardware.set_fault(tmp_path, 1, "lost")


def test_the_doubles_know_every_fault_and_room_for_every_card() -> None:
    source = (hardware.doubles_dir() / "src" / "sim.c").read_text(encoding="utf-8")
    header = (hardware.doubles_dir() / "src" / "sim.h").read_text(encoding="utf-8")
    assert [fault for fault in hardware.FAULTS if f'{{"{fault}", ' not in source] == []
    assert f"#define SIM_MAX_GPUS {hardware.MAX_GPUS}\n" in header
    assert f'"{hardware.STATE_TARGET}/state"' in source
    assert f'"{hardware.MODULE_PROC}/version"' in source
