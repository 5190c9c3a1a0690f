"""The context here of a profile on another machine: ours alone is written and taken away."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.minikube.contexts import Credentials, bring_home, credentials, forget
from bootstrap.minikube.look import read_look
from tests.unit.factories import minikube_inventory
from tests.unit.minikube.conftest import Lane
from tests.unit.minikube.machine import PKI, Machine

HOST = minikube_inventory().hosts[0]
FOUND = Credentials("127.0.0.1", 32771, "CA", "CERT", "KEY")
MINE = {
    "clusters": [{"name": "lab", "cluster": {"server": "https://192.0.2.1:6443"}}],
    "users": [],
    "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
    "current-context": "lab",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kube" / "config"


def held(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def names(path: Path) -> list[list[str]]:
    return [[item["name"] for item in held(path)[section]] for section in ("clusters", "users", "contexts")]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_what_lets_a_user_in_is_read_where_the_profile_is() -> None:
    machine = Machine.running()
    found = credentials(machine, read_look(machine._seen()), "gpuctl")
    ca, mine, key = (PKI[name] for name in ("ca.crt", "client.crt", "client.key"))
    assert found == Credentials("127.0.0.1", 32771, ca, mine, key)
    assert key not in repr(found)
    assert machine.commands[2] == ["cat", "/home/ada/.minikube/profiles/gpuctl/client.key"]


@pytest.mark.parametrize("change", [{"pki": False}, {"published": ""}])
def test_what_cannot_be_read_is_named(change: dict[str, Any]) -> None:
    machine = replace(Machine.running(), **change)
    with pytest.raises(GpuctlError) as caught:
        credentials(machine, read_look(machine._seen()), "gpuctl")
    assert (caught.value.exit_code, caught.value.problems[0].code) == (ExitCode.NOT_READY, "minikube-profile-broken")


@pytest.mark.parametrize("published", ["nonsense\n", "127.0.0.1:99999\n", "evil.example:6443\n", "127.0.0.1:1 -o x\n"])
def test_a_port_that_is_none_is_not_used(published: str) -> None:
    machine = replace(Machine.running(), published=published)
    with pytest.raises(GpuctlError) as caught:
        credentials(machine, read_look(machine._seen()), "gpuctl")
    assert (caught.value.exit_code, caught.value.problems[0].code) == (ExitCode.NOT_READY, "kubeconfig-refused")


def test_a_context_that_needs_a_tunnel(path: Path) -> None:
    home = bring_home(FOUND, HOST, "g1", path, use_context=False)
    assert (home.context, home.path, home.current) == ("gpuctl-g1", str(path), True)
    assert home.tunnel == "ssh -N -L 32771:127.0.0.1:32771 root@198.51.100.20"
    assert held(path)["clusters"] == [
        {
            "name": "gpuctl-g1",
            "cluster": {
                "certificate-authority-data": "Q0E=",  # CA
                "tls-server-name": "control-plane.minikube.internal",
                "server": "https://127.0.0.1:32771",
            },
        }
    ]
    assert held(path)["users"] == [
        {"name": "gpuctl-g1", "user": {"client-certificate-data": "Q0VSVA==", "client-key-data": "S0VZ"}}
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_command_of_the_tunnel_names_port_and_user_where_there_are_any(path: Path) -> None:
    other = replace(HOST, connection=replace(HOST.connection, user=None, port=2222))
    assert bring_home(FOUND, other, "g1", path, use_context=False).tunnel == (
        "ssh -N -p 2222 -L 32771:127.0.0.1:32771 198.51.100.20"
    )
    key = replace(HOST.connection, key_file="/keys/gpu box", ssh_common_args="-J gate.example")
    assert bring_home(FOUND, replace(HOST, connection=key), "g1", path, use_context=False).tunnel == (
        "ssh -N -i '/keys/gpu box' -J gate.example -L 32771:127.0.0.1:32771 root@198.51.100.20"
    )


@pytest.mark.parametrize(
    ("published", "address", "server"),
    [
        ("0.0.0.0", "192.0.2.20", "https://192.0.2.20:32771"),  # noqa: S104 - what Docker prints
        ("::", "2001:db8::20", "https://[2001:db8::20]:32771"),
    ],
)
def test_an_api_that_is_published_needs_none(path: Path, published: str, address: str, server: str) -> None:
    host = replace(HOST, connection=replace(HOST.connection, address=address))
    home = bring_home(replace(FOUND, host=published), host, "g1", path, use_context=False)
    assert home.tunnel == ""
    assert held(path)["clusters"][0]["cluster"]["server"] == server


def test_what_else_is_in_the_file_stays(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(MINE), encoding="utf-8")
    assert not bring_home(FOUND, HOST, "g1", path, use_context=False).current
    assert names(path) == [["lab", "gpuctl-g1"], ["gpuctl-g1"], ["lab", "gpuctl-g1"]]
    assert held(path)["current-context"] == "lab"
    assert bring_home(FOUND, HOST, "g1", path, use_context=True).current
    assert forget(path, "g1", encoded(FOUND.ca))
    assert names(path) == [["lab"], [], ["lab"]]


def test_a_port_that_changed_is_followed(path: Path) -> None:
    bring_home(FOUND, HOST, "g1", path, use_context=False)
    bring_home(replace(FOUND, port=32790), HOST, "g1", path, use_context=False)
    assert [item["cluster"]["server"] for item in held(path)["clusters"]] == ["https://127.0.0.1:32790"]


def test_a_context_of_another_machine_is_left_alone(path: Path) -> None:
    bring_home(FOUND, HOST, "g1", path, use_context=False)
    before = path.read_text(encoding="utf-8")
    with pytest.raises(GpuctlError, match="of another cluster") as caught:
        bring_home(replace(FOUND, ca="OTHER"), HOST, "g1", path, use_context=True)
    assert caught.value.problems[0].code == "minikube-context-taken"
    assert not forget(path, "g1", "T1RIRVI=")
    assert path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("text", [None, "", "{", "[]", "clusters: [1]", "clusters: 1"])
def test_there_may_be_nothing_to_forget(path: Path, text: str | None) -> None:
    if text is not None:
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
    assert not forget(path, "g1", "Q0E=")


def test_up_brings_the_context_and_down_takes_it_away(lane: Lane, path: Path) -> None:
    lane.kubeconfig = path
    home = lane.up().home
    assert (home.context, home.tunnel) == ("gpuctl-gpuctl", "ssh -N -L 32771:127.0.0.1:32771 root@198.51.100.20")
    assert lane.up().home == home
    lane.machine.published = "127.0.0.1:40000\n"
    lane.stop()
    assert lane.start().home.tunnel.startswith("ssh -N -L 40000:")
    assert names(path)[0] == ["gpuctl-gpuctl"]
    result = lane.down()
    assert result.notes == (f"context gpuctl-gpuctl was taken out of {path}",)
    assert names(path)[0] == []


def test_on_this_machine_there_is_none_to_bring(lane: Lane, path: Path) -> None:
    lane.is_local()
    lane.kubeconfig = path
    assert lane.up().home is None
    lane.down()
    assert not path.exists()


@pytest.mark.parametrize("text", ["[]", "clusters: [{name: gpuctl-gpuctl, cluster: {}}]"])
def test_a_profile_runs_without_its_context_here(lane: Lane, path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    lane.kubeconfig = path
    result = lane.up()
    assert (result.exit_code, result.home) == (ExitCode.OK, None)
    assert result.notes[0].startswith(f"no context here: {path}")
    assert path.read_text(encoding="utf-8") == text
    assert lane.down().exit_code is ExitCode.OK
    assert path.read_text(encoding="utf-8") == text


def test_a_profile_that_did_not_come_out_brings_none(lane: Lane, path: Path) -> None:
    lane.kubeconfig = path
    lane.machine.fails = {"start": (80, (), "no")}
    assert lane.up().home is None
    assert not path.exists()


def test_what_is_left_of_a_profile_keeps_its_context(lane: Lane, path: Path) -> None:
    lane.kubeconfig = path
    lane.up()
    lane.machine.left = {"container": "9f2e\n"}
    lane.down()
    assert names(path)[0] == ["gpuctl-gpuctl"]
