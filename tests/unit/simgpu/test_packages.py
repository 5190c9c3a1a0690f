from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootstrap.testvm.simgpu import hardware
from bootstrap.testvm.simgpu.compile import stubs
from bootstrap.testvm.simgpu.packages import RELEASES, build_driver_packages

EACH_RELEASE = {
    "libcuda1", "libnvidia-ml1", "nvidia-driver-cuda", "nvidia-kernel-dkms", "nvidia-kernel-open-dkms",
    "nvidia-modprobe", "nvidia-persistenced", "nvidia-smi",
}  # fmt: skip


def ask(*arguments: str | Path) -> str:
    return subprocess.run(
        ["dpkg-deb", *map(str, arguments)], capture_output=True, text=True, timeout=30, check=True
    ).stdout


def field(deb: Path, name: str) -> str:
    return ask("--field", deb, name).strip()


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("driver")
    return build_driver_packages(place / "work", place / "out")


def find(debs: list[Path], name: str, release: str = RELEASES[0]) -> Path:
    [deb] = [deb for deb in debs if deb.name.startswith(f"{name}_{release}-")]
    return deb


def test_names_versions_and_descriptions(debs: list[Path]) -> None:
    versions: dict[str, set[str]] = {}
    for deb in debs:
        versions.setdefault(field(deb, "Package"), set()).add(field(deb, "Version"))
        assert "Test double" in field(deb, "Description")
    both = {f"{release}-1+sim" for release in RELEASES}
    assert {name for name, found in versions.items() if found == both} == EACH_RELEASE
    pins = {"580", *RELEASES}
    assert set(versions) - EACH_RELEASE == {f"nvidia-driver-pinning-{pin}" for pin in pins}
    assert all(version.endswith("+sim") for found in versions.values() for version in found)


def test_one_release_belongs_together(debs: list[Path]) -> None:
    for release in RELEASES:
        depends = field(find(debs, "nvidia-driver-cuda", release), "Depends")
        for name in ("libcuda1", "libnvidia-ml1", "nvidia-smi", "nvidia-kernel-open-dkms"):
            assert f"{name} (= {release}-1+sim)" in depends
    assert field(find(debs, "nvidia-kernel-dkms"), "Conflicts") == "nvidia-kernel-open-dkms"


def test_library_package_leads_containers_to_the_hardware(debs: list[Path], tmp_path: Path) -> None:
    ask("--extract", find(debs, "libnvidia-ml1"), tmp_path)
    folder = tmp_path / "usr/lib/x86_64-linux-gnu"
    assert (folder / "libnvidia-ml.so.1").resolve().name == f"libnvidia-ml.so.{RELEASES[0]}"
    named = {path.name: str(path.readlink()) for path in folder.glob(f"nvidia-simulated-*.so.{RELEASES[0]}")}
    targets = {str((folder / link).resolve().relative_to(tmp_path.resolve())) for link in named.values()}
    assert targets == {f"{hardware.STATE_TARGET}/state".lstrip("/"), f"{hardware.MODULE_PROC}/version".lstrip("/")}
    assert all(not name.startswith("lib") for name in named), "ldconfig would complain about them"


def test_every_package_refuses_outside_a_lab(debs: list[Path], tmp_path: Path) -> None:
    if Path("/etc/gpuctl-lab.json").exists():
        pytest.fail("this test needs a machine that is not a lab host")
    for deb in debs:
        control = tmp_path / deb.stem
        ask("--control", deb, control)
        done = subprocess.run([control / "preinst", "install"], capture_output=True, text=True, timeout=10, check=False)
        assert done.returncode == 1
        assert f"{field(deb, 'Package')} {field(deb, 'Version')} is a test double" in done.stderr
        assert "lab hosts only" in done.stderr


def test_module_text_tells_open_from_closed(debs: list[Path], tmp_path: Path) -> None:
    for name, words in (
        ("nvidia-kernel-open-dkms", "Open Kernel Module for x86_64"),
        ("nvidia-kernel-dkms", "x86_64 Kernel Module"),
    ):
        ask("--extract", find(debs, name), tmp_path / name)
        text = (tmp_path / name / "usr/lib/nvidia-simulated/module/version").read_text()
        assert text.startswith(f"NVRM version: NVIDIA UNIX {words}  {RELEASES[0]}  Release Build")


def test_shell_scripts_are_filled_in_and_parse(debs: list[Path], tmp_path: Path) -> None:
    for deb in debs:
        tree = tmp_path / deb.stem
        ask("--raw-extract", deb, tree)
        for path in (path for path in tree.rglob("*") if path.is_file()):
            if path.read_bytes().startswith(b"#!/bin/sh"):
                text = path.read_text(encoding="utf-8")
                assert not [word for word in ("@VERSION@", "@PACKAGE@", "@PIN@") if word in text]
                subprocess.run(["sh", "-n", path], check=True, timeout=10)


def test_same_sources_give_the_same_packages(debs: list[Path], tmp_path: Path) -> None:
    again = build_driver_packages(tmp_path / "work", tmp_path / "out")
    assert [deb.name for deb in again] == [deb.name for deb in debs]
    assert [new.name for new, old in zip(again, debs, strict=True) if new.read_bytes() != old.read_bytes()] == []


def test_stubs_leave_out_what_is_written() -> None:
    text = stubs("nvmlA\nnvmlB\nnvmlC\n", "API nvmlB(void) { return 0; }\n")
    assert [line for line in text.splitlines() if line.startswith("STUB(")] == ["STUB(nvmlA)", "STUB(nvmlC)"]
