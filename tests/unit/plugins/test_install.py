"""Packages of several components in one run of apt, against a package database that lives in memory."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any

import pytest

from bootstrap.hostside import gpuctl_apt as apt
from bootstrap.hostside import gpuctl_install as install
from bootstrap.hostside.gpuctl_hostio import HostError, Ran


class Host:
    """dpkg's database, what sources offer, what was noted of before, and the runs of apt."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there: dict[str, apt.Package] = {}
        self.offers = {"kubelet": "1.36.3-1", "containerd.io": "2.3.7-1", "socat": "1", "driver": "580.1-1", "pin": "1"}
        self.brings: dict[str, str] = {}
        self.runs: list[list[str]] = []
        self.updates = 0
        self.watch: Callable[[], None] = lambda: None
        self.fails: HostError | None = None
        self.before: dict[str, dict[str, Any]] = {}
        monkeypatch.setattr(apt, "installed", lambda: dict(self.there))
        monkeypatch.setattr(apt, "present", lambda pattern: fnmatch.filter(self.there, pattern))
        monkeypatch.setattr(apt, "install", self.install)
        monkeypatch.setattr(apt, "update", self.update)
        monkeypatch.setattr(apt, "mark", self.mark)
        monkeypatch.setattr(apt, "purge", lambda names, _: [self.there.pop(name) for name in names])
        monkeypatch.setattr(apt, "not_needed_any_more", lambda _: {"dependency"} & set(self.there))
        monkeypatch.setattr(
            apt, "versions", lambda names: {n: [self.offers[n]] if n in self.offers else [] for n in names}
        )
        monkeypatch.setattr(install.receipts, "remember_before", self.remember)
        monkeypatch.setattr(install.receipts, "read_before", self.known)

    def install(self, wanted: list[apt.Wanted], _: float) -> bool:
        self.watch()
        self.runs.append([package.name for package in wanted])
        if not all(p.satisfied_by(apt.Package(self.offers.get(p.name, ""), False)) for p in wanted):
            return False
        for package in wanted:
            self.there[package.name] = apt.Package(self.offers[package.name], False)
            if package.name in self.brings:
                self.there[self.brings[package.name]] = apt.Package("1", False)
        if self.fails:
            raise self.fails
        return True

    def update(self, *_: Any) -> None:
        self.updates += 1

    def mark(self, action: str, names: list[str]) -> None:
        for name in names:
            self.there[name] = self.there[name]._replace(held=action == "hold")

    def remember(self, component: str, kind: str, key: str, value: Any = None) -> None:
        self.known(component).setdefault(kind, {}).setdefault(key, value)

    def known(self, component: str) -> dict[str, Any]:
        return self.before.setdefault(component, {"packages_absent": {}})


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def groups(**specs: dict[str, Any]) -> list[install.Group]:
    return [install.Group({"component": name, **spec}) for name, spec in specs.items()]


NODE = {
    "kube_host": {"wanted": ["socat"]},
    "containerd": {"wanted": [{"name": "containerd.io", "version": "2.3.7-*"}], "hold": True},
    "kubeadm": {"wanted": ["kubelet"], "version": "1.36.3-*", "hold": True},
}
DRIVER = {
    "wanted": [{"name": "pin", "hold": False}, "driver"],
    "version": "580.*-*",
    "hold": True,
    "instead_of": "pin*",
}


def test_all_components_take_one_run(host: Host) -> None:
    change = install.have(groups(**NODE), 1, check=False)
    assert host.runs == [["socat", "containerd.io", "kubelet"]]
    assert change.installed == {"socat": "1", "containerd.io": "2.3.7-1", "kubelet": "1.36.3-1"}
    assert [name for name, package in host.there.items() if package.held] == ["containerd.io", "kubelet"]
    assert host.updates == 0


def test_again_is_nothing(host: Host) -> None:
    install.have(groups(**NODE), 1, check=False)
    assert not install.have(groups(**NODE), 1, check=False).any
    assert len(host.runs) == 1


def test_a_version_of_its_own_goes_before_that_of_all(host: Host) -> None:
    install.have(groups(**NODE, nvidia_driver=DRIVER), 1, check=False)
    assert host.runs == [["socat", "containerd.io", "kubelet", "pin", "driver"]]


def test_a_rival_goes_before_it_can_speak_against_what_is_wanted(host: Host) -> None:
    host.there["pin-570"] = apt.Package("1", False)
    seen: list[bool] = []
    host.watch = lambda: seen.append("pin-570" in host.there)
    assert install.have(groups(nvidia_driver=DRIVER), 1, check=False).removed == ["pin-570"]
    assert seen == [False]


def test_what_is_not_to_be_held_is_not(host: Host) -> None:
    """apt replaces no held package by another name, as one pinning by the next."""
    install.have(groups(nvidia_driver=DRIVER), 1, check=False)
    assert [name for name, package in host.there.items() if package.held] == ["driver"]


def test_dependencies_are_noted_when_another_package_failed(host: Host) -> None:
    host.brings["kubelet"] = "dependency"
    host.fails = HostError("package-install-failed", "driver's postinst")
    with pytest.raises(HostError):
        install.have(groups(**NODE, nvidia_driver=DRIVER), 1, check=False)
    assert "dependency" in host.before["kubeadm"]["dependencies"]


def test_each_component_knows_what_is_its_own(host: Host) -> None:
    host.there["socat"] = apt.Package("0", False)
    wanted = {**NODE, "kube_host": {"wanted": [{"name": "socat", "version": "1"}]}}
    install.have(groups(**wanted), 1, check=False)
    assert host.before["kube_host"] == {"packages_absent": {}, "packages_replaced": {"socat": "0"}}
    assert list(host.before["containerd"]["packages_absent"]) == ["containerd.io"]
    assert list(host.before["kubeadm"]["holds"]) == ["kubelet"]


def test_a_dependency_stays_until_nobody_needs_it(host: Host) -> None:
    host.brings["kubelet"] = "dependency"
    install.have(groups(**NODE), 1, check=False)
    assert install.undo("kubeadm", 1, check=False).removed == ["kubelet", "dependency"]
    assert sorted(host.there) == ["containerd.io", "socat"]


def test_lists_are_fetched_again_when_they_do_not_do(host: Host) -> None:
    wanted = {"kubeadm": {"wanted": ["kubelet", {"name": "driver", "version": "590-*", "code": "driver-version"}]}}
    with pytest.raises(HostError) as caught:
        install.have(groups(**wanted), 1, check=False)
    assert host.updates == 1
    assert caught.value.as_text().startswith("[driver-version] no source offers driver 590-*; on offer: 580.1-1")


def test_looking_changes_nothing(host: Host) -> None:
    host.there["kubelet"] = apt.Package("1.36.3-1", False)
    change = install.have(groups(**NODE), 1, check=True)
    assert change.any
    assert sorted(change.installed) == ["containerd.io", "kubelet", "socat"]  # kubelet: to be held
    assert host.runs == []
    assert host.before == {}


def test_a_package_for_a_path_that_is_absent_is_not_wanted() -> None:
    entry = {"name": "linux-headers-{kernel}", "only_if_path": "/no/such/path/{kernel}"}
    assert install.Group({"component": "c", "wanted": [entry]}).wanted == []


def test_a_source_that_lacks_something_is_a_setting_to_mend() -> None:
    with pytest.raises(HostError) as caught:
        install.Group({"component": "c", "source": {"name": "c", "url": "https://example.org"}})
    assert caught.value.code == "variable-invalid"


DOCKER = {"wanted": [{"name": "docker.io", "at_least": 25, "code": "minikube-docker-old"}]}


def test_what_apt_would_install_has_to_be_new_enough(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """By apt's own choice, which pins decide, and after one look at renewed lists."""
    monkeypatch.setattr(apt, "candidates", lambda names: {n: host.offers[n] for n in names if n in host.offers})
    host.offers["docker.io"] = "20.10.24+dfsg1-1"
    with pytest.raises(HostError) as caught:
        install.have(groups(docker=DOCKER), 1, check=False)
    assert caught.value.code == "minikube-docker-old"
    assert "docker.io 25 or newer is needed, and the host's sources have 20.10.24+dfsg1-1" in caught.value.message
    assert (host.updates, host.runs) == (1, [])
    monkeypatch.setattr(apt, "update", lambda *_: host.offers.update({"docker.io": "5:28.5.2-1"}))
    assert install.have(groups(docker=DOCKER), 1, check=False).installed == {"docker.io": "5:28.5.2-1"}
    assert not install.have(groups(docker=DOCKER), 1, check=False).any


def test_a_version_that_is_named_is_left_to_its_pattern(host: Host) -> None:
    host.offers["docker.io"] = "28.5.2+dfsg4-5"
    named = {"wanted": [{"name": "docker.io", "at_least": 25, "version": "28.5.2[-+]*"}]}
    assert install.have(groups(docker=named), 1, check=False).installed == {"docker.io": "28.5.2+dfsg4-5"}


@pytest.mark.parametrize(
    ("version", "number"), [("5:28.5.2-1~debian", 28), ("20.10.24+dfsg1-1", 20), ("nonsense", 0), ("", 0)]
)
def test_major_versions(version: str, number: int) -> None:
    assert apt.major(version) == number


def test_candidates_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    said = """docker.io:
  Installed: (none)
  Candidate: 28.5.2+dfsg4-5
  Version table:
     28.5.2+dfsg4-5 600
        600 http://mirror.example.org/debian sid/main amd64 Packages
docker-cli:
  Installed: (none)
  Candidate: (none)
  Version table:
"""
    monkeypatch.setattr(apt, "run", lambda *_: Ran(0, said, ""))
    assert apt.candidates(["docker.io", "docker-cli"]) == {"docker.io": "28.5.2+dfsg4-5"}
    assert apt.candidates([]) == {}
