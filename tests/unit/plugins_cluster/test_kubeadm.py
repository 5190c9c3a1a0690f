from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bootstrap.hostside import gpuctl_kubeadmops as ops
from bootstrap.hostside import gpuctl_kubeadmstate as state
from bootstrap.hostside.gpuctl_hostio import HostError, Ran
from bootstrap.hostside.gpuctl_kubereset import without_ours
from bootstrap.hostside.gpuctl_module import HostModule
from bootstrap.hostside.gpuctl_unitrun import UnitState

IDLE = UnitState("not-found", "inactive", "dead", "", 0)
WORKING = UnitState("loaded", "active", "running", "success", 0)


class Host:
    """What `inspect` asks a host for."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.receipt: str | None = None
        self.unit = IDLE
        self.api: tuple[list[str], bool] | None = None
        names = ("admin.conf", "kubelet.conf", "config.yaml", "manifest.yaml")
        monkeypatch.setattr(state, "_TRACES", tuple(str(folder / name) for name in names))
        monkeypatch.setattr(state, "ADMIN_CONF", str(folder / "admin.conf"))
        monkeypatch.setattr(state, "KUBELET_CONF", str(folder / "kubelet.conf"))
        monkeypatch.setattr(state, "unit_state", lambda _: self.unit)
        monkeypatch.setattr(state, "read_receipt", lambda _: {"state": self.receipt} if self.receipt else None)
        monkeypatch.setattr(state, "_ask_api", lambda: self.api)
        monkeypatch.setattr(state, "_kubelet_up", lambda: False)
        known: dict[str, Any] = {}
        monkeypatch.setattr(state, "load_state", lambda: known)
        monkeypatch.setattr(state, "save_state", lambda **more: known.update(more))
        self.known = known

    def has(self, *names: str) -> None:
        for name in names:
            (self.folder / name).touch()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


@pytest.mark.usefixtures("host")
def test_an_empty_host_has_nothing() -> None:
    assert state.inspect("init")["state"] == "none"


def test_a_working_unit_is_attached_to_whatever_lies_around(host: Host) -> None:
    host.has("admin.conf", "manifest.yaml")
    host.unit, host.receipt = WORKING, "begun"
    assert state.inspect("init")["state"] == "running"


def test_half_an_init_that_we_began_may_be_cleaned(host: Host) -> None:
    host.has("admin.conf", "manifest.yaml")
    host.receipt = "begun"
    assert state.inspect("init")["state"] == "half"


def test_an_init_whose_last_phase_is_done_is_whole(host: Host) -> None:
    host.has("admin.conf", "kubelet.conf")
    host.receipt, host.api = "begun", ([], True)
    assert state.inspect("init")["state"] == "whole"
    assert host.known == {"whole": True}


def test_half_an_init_that_others_joined_is_refused(host: Host) -> None:
    host.has("admin.conf")
    host.receipt, host.api = "begun", (["gpu1"], False)
    with pytest.raises(HostError, match="gpu1") as caught:
        state.inspect("init")
    assert caught.value.code == "leftover-cluster"


@pytest.mark.parametrize("role", ["init", "control-plane", "worker"])
def test_somebody_elses_dead_cluster_is_refused(host: Host, role: str) -> None:
    host.has("config.yaml", "manifest.yaml")
    with pytest.raises(HostError) as caught:
        state.inspect(role)
    assert caught.value.code == "leftover-cluster"


@pytest.mark.parametrize("sign", ["marker", "receipt"])
def test_a_whole_cluster_is_never_half_because_its_api_is_down(host: Host, sign: str) -> None:
    host.has("admin.conf", "kubelet.conf")
    host.receipt = "complete" if sign == "receipt" else "begun"
    if sign == "marker":
        host.known["whole"] = True
    assert state.inspect("init")["state"] == "whole"


def test_a_live_cluster_without_receipt_is_adopted_even_without_kube_proxy(host: Host) -> None:
    host.has("admin.conf")
    host.api = ([], False)
    assert state.inspect("init")["state"] == "whole"


def test_a_worker_with_credentials_is_whole_and_one_without_is_half(host: Host) -> None:
    host.has("config.yaml")
    host.receipt = "begun"
    assert state.inspect("worker")["state"] == "half"
    host.has("kubelet.conf")
    assert state.inspect("worker")["state"] == "whole"


def test_half_a_control_plane_join_is_made_again(host: Host) -> None:
    host.has("admin.conf", "kubelet.conf")
    host.receipt, host.api = "begun", (["cp1"], True)
    assert state.inspect("control-plane")["state"] == "half"


def certificate(path: Path, *names: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(1))
    subjects = x509.SubjectAlternativeName([x509.DNSName(n) for n in names])
    built = builder.add_extension(subjects, critical=False).sign(key, hashes.SHA256())
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM))


class Node:
    """The commands that `_kubelet_config` and `_certificate` run, and the files that they change."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config, self.wanted = folder / "config.yaml", "a: 1\n"
        self.config.write_text("a: 1\n")
        self.commands: list[str] = []
        self.fails = ""
        self.folder = folder
        monkeypatch.setattr(ops, "KUBELET_CONFIG", str(self.config))
        monkeypatch.setattr(ops, "APISERVER_CERT", str(folder / "apiserver.crt"))
        monkeypatch.setattr(ops, "CA_KEY", str(folder / "ca.key"))
        monkeypatch.setattr(ops, "run", self.run)
        monkeypatch.setattr(ops, "wait_active", lambda *_: None)
        monkeypatch.setattr(ops, "_wait_healthz", lambda: None)
        path = str(folder / "state.json")
        monkeypatch.setattr(ops, "load_state", lambda: state.load_state(path))
        monkeypatch.setattr(ops, "save_state", lambda **more: state.save_state(path, **more))

    def run(self, argv: list[str], timeout_s: float = 60) -> Ran:
        del timeout_s
        line = " ".join(argv)
        self.commands.append(line)
        if self.fails and self.fails in line:
            return Ran(1, "", "no")
        if "kubelet-config" in line:
            self.config.write_text(self.wanted)
        if "certs apiserver" in line:
            certificate(self.folder / "apiserver.crt", "a", "b")
            (self.folder / "apiserver.key").touch()
        return Ran(0, "", "")

    @property
    def restarts(self) -> int:
        return sum(line.startswith("systemctl restart") for line in self.commands)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def test_the_same_kubelet_configuration_restarts_nothing(node: Node) -> None:
    assert ops._kubelet_config() == []
    assert node.restarts == 0


def test_another_kubelet_configuration_restarts_it_once(node: Node) -> None:
    node.wanted = "a: 2\n"
    assert ops._kubelet_config()
    assert ops._kubelet_config() == []
    assert node.restarts == 1


def test_a_run_killed_between_file_and_restart_is_made_good(node: Node) -> None:
    ops._kubelet_config()
    node.wanted, node.fails = "a: 2\n", "systemctl restart"
    with pytest.raises(HostError):
        ops._kubelet_config()
    node.fails = ""
    assert ops._kubelet_config()
    assert node.restarts == 2  # the one that failed, and the one that made it good


def test_a_certificate_that_has_all_names_stays(node: Node) -> None:
    certificate(node.folder / "apiserver.crt", "a", "b")
    assert ops._certificate(["a", "b"]) == []
    assert node.commands == []


def test_a_certificate_that_lacks_a_name_is_made_again(node: Node) -> None:
    certificate(node.folder / "apiserver.crt", "a")
    (node.folder / "apiserver.key").touch()
    (node.folder / "ca.key").touch()
    assert ops._certificate(["a", "b"]) == ["certificate of the API server made for b"]
    assert ops.certificate_names(str(node.folder / "apiserver.crt")) == ["a", "b"]
    assert not list(node.folder.glob("*.gpuctl-old"))


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_a_key_that_a_killed_run_put_aside_goes(node: Node, names: list[str]) -> None:
    certificate(node.folder / "apiserver.crt", "a")
    for name in ("apiserver.key", "ca.key", "apiserver.key.gpuctl-old", "apiserver.crt.gpuctl-old"):
        (node.folder / name).touch()
    ops._certificate(names)
    assert not list(node.folder.glob("*.gpuctl-old"))
    assert (node.folder / "apiserver.key").exists()


def test_the_old_certificate_comes_back_when_kubeadm_fails(node: Node) -> None:
    certificate(node.folder / "apiserver.crt", "a")
    (node.folder / "apiserver.key").touch()
    (node.folder / "ca.key").touch()
    node.fails = "certs apiserver"
    with pytest.raises(HostError):
        ops._certificate(["a", "b"])
    assert ops.certificate_names(str(node.folder / "apiserver.crt")) == ["a"]


def test_without_the_authoritys_key_no_certificate_is_touched(node: Node) -> None:
    certificate(node.folder / "apiserver.crt", "a")
    with pytest.raises(HostError) as caught:
        ops._certificate(["b"])
    assert caught.value.code == "pki-missing"
    assert node.commands == []


def test_only_our_rules_go_from_the_packet_filter() -> None:
    rules = "*nat\n:KUBE-SERVICES - [0:0]\n:MINE - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n-A MINE -j ACCEPT\nCOMMIT\n"
    flannel = '-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG\n'
    assert without_ours(rules + flannel) == "*nat\n:MINE - [0:0]\n-A MINE -j ACCEPT\nCOMMIT\n"


@pytest.mark.parametrize(
    ("state", "check", "left"), [("none", False, False), ("none", True, True), ("running", False, True)]
)
def test_what_an_interrupted_join_left_goes_unless_it_still_works(
    library: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    state: str,
    check: bool,
    left: bool,
) -> None:
    module, config = library("gpuctl_kubeadm"), tmp_path / "join.yaml"
    config.write_text("token")
    monkeypatch.setattr(module, "inspect", lambda _: {"state": state, "traces": []})
    asked = {"state": "inspected", "role": "worker", "stale": [str(config), str(tmp_path / "absent")]}
    assert module.act(HostModule(asked, check_mode=check))["found"] == state
    assert config.exists() is left
