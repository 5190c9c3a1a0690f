"""A simulated host in a temporary directory, with doubles that were compiled once for all tests."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bootstrap.testvm.simgpu import hardware
from bootstrap.testvm.simgpu.compile import compile_doubles
from bootstrap.verify.payload import vectoradd

VERSION = "580.178.04"
PROC_TEXT = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {VERSION}  Release Build  (lab@simulated)\n"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("doubles")
    compile_doubles(out, VERSION)
    (out / "libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{VERSION}")
    return out


@dataclass
class Host:
    """What a lab host with a loaded driver looks like to the doubles."""

    root: Path
    files: Path
    built: Path

    @property
    def cuda(self) -> str:
        return str(self.built / f"libcuda.so.{VERSION}")

    @property
    def nvml(self) -> str:
        return str(self.built / f"libnvidia-ml.so.{VERSION}")

    def give(self, *minors: int) -> None:
        """Make exactly these device nodes visible, as a container runtime does for a pod."""
        for node in (self.root / "dev").glob("nvidia*"):
            node.unlink()
        for name in ("nvidiactl", *(f"nvidia{minor}" for minor in minors)):
            (self.root / "dev" / name).touch()

    def load_module(self, text: str = PROC_TEXT) -> None:
        (self.root / "dev/gpuctl-lab/module/version").write_text(text, encoding="ascii")

    def unload_module(self) -> None:
        (self.root / "dev/gpuctl-lab/module/version").unlink()

    def smi(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"LD_LIBRARY_PATH": str(self.built), "GPUCTL_SIM_ROOT": str(self.root)}
        argv = [str(self.built / "nvidia-smi"), *arguments]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=20, check=False)


@pytest.fixture
def make_host(tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], Host]:
    def make(model: str, count: int) -> Host:
        host = Host(tmp_path / "root", tmp_path / "host", built)
        hardware.prepare(host.files, model, count, "seed")
        for directory in ("dev/gpuctl-lab/module", "opt/gpuctl-lab"):
            (host.root / directory).mkdir(parents=True)
        (host.root / "opt/gpuctl-lab/gpus").symlink_to(host.files / "gpus")
        host.load_module()
        host.give(*range(count))
        monkeypatch.setenv("GPUCTL_SIM_ROOT", str(host.root))
        return host

    return make


@pytest.fixture
def host(make_host: Callable[[str, int], Host]) -> Host:
    return make_host("h100", 2)


def in_child(function: Callable[[], dict[str, Any]], seconds: float = 10.0) -> dict[str, Any]:
    """Run in a fresh process, because the libraries keep state; a call that hangs costs only that process."""
    return vectoradd.Child(function).result(time.monotonic() + seconds)
