from __future__ import annotations

import configparser
import json
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import inventory_file, registry, state
from bootstrap.testvm import mirror as lab_mirror
from bootstrap.testvm.components import mirror
from bootstrap.testvm.inventory_file import Facts, render
from bootstrap.testvm.names import LabPaths
from bootstrap.testvm.state import HostRecord, LabRecord

RECORD = LabRecord(
    name="lab",
    created="2026-01-01T00:00:00+00:00",
    components="official",
    gpus=8,
    gpu_model="a100",
    network="10.206.55.0/24",
    rootfs="/r",
    hosts=(HostRecord("cp1", "10.206.55.11", 0, "none"), HostRecord("gpu1", "10.206.55.12", 8, "a100")),
)
MIRROR = replace(RECORD, components="mirror", mirror_root="/m", mirror_port=8443, mirror_fingerprint="AB" * 20)


def variables(record: LabRecord, *, cgroup_v1: bool = True) -> dict[str, str]:
    text = render(Facts(record, "/k", "-o UserKnownHostsFile=/h", "/ca.pem", cgroup_v1))
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    assert parser.sections() == ["control_plane", "workers", "all:vars"]
    assert list(parser["control_plane"]) == ["cp1 ansible_host"]
    assert parser["workers"]["gpu1 ansible_host"] == "10.206.55.12"
    return dict(parser["all:vars"])


def test_official_components_need_no_source_settings() -> None:
    found = variables(RECORD)
    assert not [name for name in found if "apt_source" in name or "mirror" in name or "ca_file" in name]
    assert found["cluster_name"] == "lab"
    assert found["cluster_endpoint"] == "lab-api"
    assert found["kubeadm_allow_cgroup_v1"] == "true"
    assert json.loads(found["kubeadm_kubelet_config"])["evictionHard"]["nodefs.available"] == "1Gi"
    assert json.loads(found["kubeadm_kube_proxy_config"]) == {"conntrack": {"maxPerCore": 0, "min": 0}}


def test_cgroup_v2_needs_no_setting() -> None:
    assert "kubeadm_allow_cgroup_v1" not in variables(RECORD, cgroup_v1=False)


def test_mirror_settings() -> None:
    found = variables(MIRROR)
    assert found["cluster_ca_file"] == "/ca.pem"
    for component in ("kubeadm", "containerd", "nvidia_container_toolkit", "nvidia_driver"):
        assert json.loads(found[f"{component}_apt_source"]) == {
            "url": "https://10.206.55.1:8443/apt",
            "suite": "stable",
            "components": "main",
            "key_url": "https://10.206.55.1:8443/keys/gpuctl-mirror.asc",
            "key_fingerprint": "AB" * 20,
        }
    assert set(json.loads(found["containerd_registry_mirrors"])) == {
        "registry.k8s.io",
        "ghcr.io",
        "nvcr.io",
        "docker.io",
    }


def test_a_mirror_with_wheels_is_named_for_them(paths: LabPaths, tmp_path: Path) -> None:
    record = replace(MIRROR, mirror_root=str(tmp_path / "mirror"))
    write(paths, record, tmp_path / "without.ini")
    assert "wheels_url" not in (tmp_path / "without.ini").read_text()
    (tmp_path / "mirror" / "wheels").mkdir(parents=True)
    write(paths, record, tmp_path / "lab.ini")
    assert "\nlaunch_agent_host_wheels_url=https://10.206.55.1:8443/wheels/\n" in (tmp_path / "lab.ini").read_text()


@pytest.fixture
def paths(tmp_path: Path) -> LabPaths:
    (tmp_path / "state").mkdir()
    return LabPaths("lab", tmp_path / "state", tmp_path / "run")


def write(paths: LabPaths, record: LabRecord, place: Path) -> tuple[LabRecord, list[str]]:
    said: list[str] = []
    new = inventory_file.write(paths, record, place, cgroup_v1=True, report=lambda _host, text: said.append(text))
    return new, said


def test_an_inventory_is_recorded_rewritten_and_removed(paths: LabPaths, tmp_path: Path) -> None:
    place = tmp_path / "lab.ini"
    first, _ = write(paths, RECORD, place)
    assert state.load(paths) == first
    assert first.inventory == str(place)
    again, said = write(paths, replace(first, hosts=RECORD.hosts[:1]), place)
    assert said == []
    assert "gpu1" not in place.read_text()
    inventory_file.remove(again, lambda _host, _text: None)
    assert not place.exists()


def test_an_edited_inventory_is_left_alone(paths: LabPaths, tmp_path: Path) -> None:
    place = tmp_path / "lab.ini"
    first, _ = write(paths, RECORD, place)
    place.write_text("edited\n")
    grown = replace(first, hosts=(*RECORD.hosts, HostRecord("gpu2", "10.206.55.13", 8, "a100")))
    second, said = write(paths, grown, place)
    assert place.read_text() == "edited\n"
    assert "was edited" in said[0]
    assert "gpu2" in (paths.state / "lab.ini").read_text()
    inventory_file.remove(second, lambda _host, text: said.append(text))
    assert place.read_text() == "edited\n"
    assert "left in place" in said[-1]


def test_a_file_of_somebody_else_is_refused(paths: LabPaths, tmp_path: Path) -> None:
    place = tmp_path / "lab.ini"
    inventory_file.check_free(place, None)
    place.write_text("[workers]\nmine\n")
    for record in (None, RECORD):
        with pytest.raises(GpuctlError) as refused:
            inventory_file.check_free(place, record)
        assert refused.value.exit_code is ExitCode.SETTINGS
    # The lab's own file, left by a kill before it was recorded, is no stranger.
    write(paths, RECORD, place := tmp_path / "other.ini")
    inventory_file.check_free(place, RECORD)
    with pytest.raises(GpuctlError):
        inventory_file.check_free(place, replace(RECORD, name="la"))


def test_a_lab_grows_and_never_shrinks(paths: LabPaths) -> None:
    empty = replace(RECORD, hosts=())
    three = registry.grow(paths, empty, 3)
    assert [(h.name, h.address, h.gpus, h.model) for h in three.hosts] == [
        ("cp1", "10.206.55.11", 0, "none"),
        ("gpu1", "10.206.55.12", 8, "a100"),
        ("gpu2", "10.206.55.13", 8, "a100"),
    ]
    assert registry.grow(paths, three, 1) is three
    assert registry.grow(paths, three, 5).hosts[:3] == three.hosts
    assert state.load(paths) is not None
    [single] = registry.grow(paths, empty, 1).hosts
    assert (single.name, single.gpus) == ("cp1", 8)


def test_another_shape_is_refused() -> None:
    registry.check_same(RECORD, registry.Shape(8, "a100", "official"))
    with pytest.raises(GpuctlError) as refused:
        registry.check_same(RECORD, registry.Shape(4, "a100", "mirror", "qemu", 640, 1))
    [problem] = refused.value.problems
    assert "GPUs per host 8, not 4" in problem.message
    assert "components official, not mirror" in problem.message
    assert "backend nspawn, not qemu" in problem.message


def test_the_lane_of_minikube_has_one_host_and_its_own_settings(paths: LabPaths, tmp_path: Path) -> None:
    empty = replace(MIRROR, hosts=(), lane="minikube", mirror_root=str(tmp_path / "mirror"))
    record = registry.grow(paths, empty, 1)
    assert [(host.name, host.gpus) for host in record.hosts] == [("mk1", 8)]
    (tmp_path / "mirror" / "minikube").mkdir(parents=True)
    sums = f"{'12' * 32}  bundle.tar\n{'ab' * 32}  minikube-linux-amd64\n"
    (tmp_path / "mirror" / "minikube" / mirror.SUMS).write_text(sums)
    mirror.save(mirror.Mirror(tmp_path / "mirror", "d", "f", tmp_path, {}, {}, complete=True, entries=()))
    write(paths, record, tmp_path / "lab.ini")
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(tmp_path / "lab.ini")
    assert parser.sections() == ["minikube", "all:vars"]
    assert dict(parser["minikube"]) == {"mk1 ansible_host": "10.206.55.11"}
    found = parser["all:vars"]
    url = "https://10.206.55.1:8443"
    assert found["docker_source"] == "distribution"
    assert json.loads(found["docker_apt_source"])["suite"] == "docker"
    assert json.loads(found["nvidia_driver_apt_source"])["suite"] == "stable"
    assert json.loads(found["minikube_extra_config"]) == ["kubelet.fail-cgroupv1=false"]
    assert found["minikube_download_url"] == f"{url}/minikube/minikube-linux-amd64"
    assert (found["minikube_sha256"], found["minikube_bundle_sha256"]) == ("ab" * 32, "12" * 32)
    assert found["minikube_bundle_url"] == f"{url}/minikube/bundle.tar"
    assert not [name for name in found if name.startswith(("kubeadm_", "containerd_", "cluster_endpoint"))]


def test_a_mirror_without_the_parts_is_not_for_minikube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = mirror.Mirror(tmp_path, "d", "f", tmp_path, {}, {}, complete=True, entries=())
    mirror.save(found)
    monkeypatch.setattr("bootstrap.testvm.components.current", lambda: found)
    assert lab_mirror.current() == (tmp_path, "f")
    with pytest.raises(GpuctlError) as refused:
        lab_mirror.current("minikube")
    [problem] = refused.value.problems
    assert (problem.code, problem.fix) == ("components-missing", "gpuctl testvm components build --with minikube")
