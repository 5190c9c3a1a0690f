"""The CDI specification, and why a driver's module does not load."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bootstrap.hostside import gpuctl_nvidia as nvidia
from bootstrap.hostside.gpuctl_hostio import HostError, Ran


def spec(path: Path, library: Path, gpus: int) -> str:
    nodes = "".join(f"    - path: /dev/nvidia{n}\n" for n in range(gpus))
    path.write_text(f"cdiVersion: 0.5.0\n{nodes}  - hostPath: {library}\n    containerPath: /x\n")
    return str(path)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for address in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "gpus" / address).mkdir(parents=True)
    monkeypatch.setattr(nvidia, "GPUS", str(tmp_path / "gpus"))
    (tmp_path / "libcuda.so.580").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("library", "gpus", "code"),
    [("libcuda.so.580", 2, None), ("libcuda.so.570", 2, "cdi-stale"), ("libcuda.so.580", 3, "cdi-stale")],
)
def test_a_specification_is_compared_with_the_host(two_gpus: Path, library: str, gpus: int, code: str | None) -> None:
    fault = nvidia.cdi_fault(spec(two_gpus / "nvidia.yaml", two_gpus / library, gpus))
    assert (fault.code if fault else None) == code


def test_no_specification(two_gpus: Path) -> None:
    fault = nvidia.cdi_fault(str(two_gpus / "absent.yaml"))
    assert fault is not None
    assert fault.code == "cdi-missing"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("modprobe: ERROR: could not insert 'nvidia': Key was rejected by service", "secure-boot-unsigned"),
        ("modprobe: FATAL: Module nvidia not found in directory /lib/modules/6.1", "headers-missing"),
        ("modprobe: ERROR: could not insert 'nvidia': No such device", "driver-not-loaded"),
    ],
)
def test_why_the_module_does_not_load(monkeypatch: pytest.MonkeyPatch, said: str, code: str) -> None:
    monkeypatch.setattr(nvidia, "run", lambda *_: Ran(1, "", said))
    with pytest.raises(HostError) as caught:
        nvidia.load()
    assert caught.value.code == code
    assert caught.value.fix


def test_an_initramfs_older_than_the_blacklist_is_outdated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blacklist, image = tmp_path / "nouveau.conf", tmp_path / f"initrd.img-{os.uname().release}"
    monkeypatch.setattr(nvidia, "BOOT", str(tmp_path))
    blacklist.touch()
    assert nvidia.initramfs_outdated(str(blacklist)) is None
    image.touch()
    os.utime(image, (1000, 1000))
    assert nvidia.initramfs_outdated(str(blacklist)) == str(image)
    os.utime(blacklist, (500, 500))
    assert nvidia.initramfs_outdated(str(blacklist)) is None
