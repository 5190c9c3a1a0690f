"""What the walk of a GPU host prints, and the facts that come of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bootstrap.hostside import gpuctl_walk as walk
from bootstrap.verify.runtime import Holding, read_walk

CHECKPOINT = {
    "Data": {
        "PodDeviceEntries": [
            {"PodUID": "u1", "ContainerName": "c", "ResourceName": "nvidia.com/gpu", "DeviceIDs": {"-1": ["GPU-a"]}},
            {"PodUID": "u2", "ContainerName": "c", "ResourceName": "nvidia.com/gpu", "DeviceIDs": ["GPU-b"]},
        ],
        "RegisteredDevices": {"nvidia.com/gpu": ["GPU-a", "GPU-b", "GPU-c"]},
    },
    "Checksum": 1,
}
CONFIG = """
version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia.options]
  BinaryName = '/usr/bin/nvidia-container-runtime'
  SystemdCgroup = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = ''
"""


def answer(**changes: object) -> dict[str, object]:
    well = {"rc": 0, "out": "", "err": ""}
    return {
        "daemon": well,
        "config": {**well, "out": CONFIG},
        "cdi": {**well, "out": "nvidia.com/gpu=0\n"},
        "kubelet": {**well, "out": "active\n"},
        "binaries": {"/usr/bin/nvidia-container-runtime": True},
        "cdi_files": {"/etc/cdi/nvidia.yaml": "nvidia.com/gpu"},
        "devices": {},
        "xids": [],
        **changes,
    }


def test_the_kubelets_checkpoint_is_read_in_both_of_its_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "checkpoint"
    file.write_text(json.dumps(CHECKPOINT))
    monkeypatch.setattr(walk, "CHECKPOINT", str(file))
    found = read_walk(answer(devices=walk.devices()))
    assert found.registered == {"nvidia.com/gpu": ("GPU-a", "GPU-b", "GPU-c")}
    assert found.held == (
        Holding("u1", "nvidia.com/gpu", ("GPU-a",)),
        Holding("u2", "nvidia.com/gpu", ("GPU-b",)),
    )
    for damaged in ("", "[]", "{", '{"Data": {"PodDeviceEntries": [{}]}}'):
        file.write_text(damaged)
        assert read_walk(answer(devices=walk.devices())).registered in (None, {})


def test_a_daemon_that_does_not_answer_is_no_sound_configuration() -> None:
    said = 'failed to dial "/run/containerd/containerd.sock": context deadline exceeded'
    found = read_walk(answer(daemon={"rc": 1, "out": "", "err": said}))
    assert found.error.startswith("ctr --timeout 5s version: failed to dial")
    assert read_walk(answer(daemon={"rc": 127, "out": "", "err": "ctr: not installed"})).error == ""


def test_programs_that_a_runtime_names_and_that_are_gone() -> None:
    assert list(walk.binaries(CONFIG)) == ["/usr/bin/nvidia-container-runtime"]
    found = read_walk(answer(binaries={"/usr/bin/nvidia-container-runtime": False}))
    assert found.missing == ("/usr/bin/nvidia-container-runtime",)


def test_cdi_specifications_of_nvidia_are_found_in_yaml_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia.yaml").write_text("---\ncdiVersion: 0.5.0\nkind: nvidia.com/gpu\n")
    (tmp_path / "plugin.json").write_text(
        '{"cdiVersion":"0.5.0","kind":"k8s.device-plugin.nvidia.com/gpu","devices":[]}'
    )
    (tmp_path / "other.yaml").write_text("kind: example.com/net\n")
    monkeypatch.setattr(walk, "CDI_FOLDERS", (str(tmp_path),))
    assert {Path(path).name: kind for path, kind in walk.cdi_files().items()} == {
        "nvidia.yaml": "nvidia.com/gpu",
        "plugin.json": "k8s.device-plugin.nvidia.com/gpu",
    }


@pytest.mark.parametrize("strange", [{}, {"devices": 3, "binaries": [], "daemon": "x"}, {"xids": ["\x1b[31m"]}])
def test_a_strangers_answer_raises_nothing(strange: dict[str, object]) -> None:
    assert read_walk(strange).registered is None
