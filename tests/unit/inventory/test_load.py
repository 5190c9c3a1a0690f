from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap.content import ansible_config, inventories_path
from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.load import load_inventory
from bootstrap.inventory.scaffold import render_scaffold
from bootstrap.inventory.schema import variables

TREE = {
    "10-hosts.ini": """
[control_plane]
cp1 ansible_host=192.0.2.1 ansible_port=2222

[workers]
gpu[1:2] ansible_host="192.0.2.{{ 10 + inventory_hostname[-1] | int }}"

[fast]
gpu2

[fast:vars]
ansible_ssh_common_args=-o ProxyJump=bastion

[all:vars]
ansible_user=ops
ansible_become_password=s3cret-word
site=lab
cluster_name="{{ site }}-{{ 1 + 1 }}"
cluster_endpoint_port="8443"
""",
    "group_vars/all/main.yml": "cluster_gpu: required\n",
    "host_vars/gpu1.yml": "ansible_become: no\nansible_python_interpreter: /usr/bin/python3.9\n",
    "README.md": "not an inventory",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "site"


def problems_of_loading(path: Path) -> list[tuple[str, str]]:
    with pytest.raises(GpuctlError) as caught:
        load_inventory(path)
    assert caught.value.exit_code is ExitCode.SETTINGS
    return [(problem.code, problem.message) for problem in caught.value.problems]


def test_a_directory_is_resolved_as_ansible_does(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.parent)
    inventory = load_inventory(Path("site"))
    cp1, gpu1, gpu2 = inventory.hosts
    assert [h.name for h in inventory.hosts] == ["cp1", "gpu1", "gpu2"]
    assert [h.name for h in inventory.control_plane] == ["cp1"]
    assert (cp1.connection.address, cp1.connection.port, cp1.connection.user) == ("192.0.2.1", 2222, "ops")
    assert gpu2.connection.address == "192.0.2.12"
    assert gpu2.groups == {"all", "workers", "fast"}
    assert gpu2.connection.ssh_common_args == "-o ProxyJump=bastion"
    assert (cp1.connection.become, gpu1.connection.become) == (True, False)
    assert gpu1.connection.python == "/usr/bin/python3.9"
    assert inventory.cluster_name == "lab-2"
    assert gpu1.settings["cluster_endpoint_port"] == 8443
    assert gpu1.settings["cluster_gpu"] == "required"
    assert gpu1.settings["cluster_pod_cidr"] == "10.244.0.0/16"
    assert gpu1.explicit == {"cluster_name", "cluster_endpoint_port", "cluster_gpu"}
    assert gpu1.origins is not None
    assert gpu1.origins["cluster_name"] == "site/10-hosts.ini:18"
    assert gpu1.origins["cluster_gpu"] == "site/group_vars/all/main.yml:1"
    assert gpu1.origins["ansible_become"] == "site/host_vars/gpu1.yml:1"


def test_ansible_itself_uses_the_same_values(tree: Path) -> None:
    names = ("cluster_name", "cluster_endpoint_port", "cluster_gpu", "ansible_host", "ansible_user")
    command = Path(sys.executable).with_name("ansible")
    words = "{{ [" + ", ".join(names) + "] | to_json }}"
    argv = [str(command), "-i", str(tree), "gpu1", "--one-line", "-m", "ansible.builtin.debug", "-a", f"msg={words}"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ansible_config())}
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60, env=environment)
    said = json.loads(json.loads(done.stdout.partition("=>")[2])["msg"])
    gpu1 = load_inventory(tree).host("gpu1")
    assert gpu1.connection_vars is not None
    ours = [(gpu1.settings if name in gpu1.settings else gpu1.connection_vars)[name] for name in names]
    assert [str(value) for value in said] == [str(value) for value in ours]


def test_every_default_is_filled_in_and_is_plain_json(tree: Path) -> None:
    for host in load_inventory(tree).hosts:
        missing = {v.name for v in variables().values() if v.default is not None} - set(host.settings)
        assert not missing
        assert json.loads(json.dumps(host.settings)) == host.settings


def test_passwords_are_kept_but_not_shown(tree: Path) -> None:
    host = load_inventory(tree).hosts[0]
    assert host.connection_vars is not None
    assert host.connection_vars["ansible_become_password"] == "s3cret-word"
    assert "s3cret-word" not in repr(host)


def test_a_boolean_has_the_place_that_won(tmp_path: Path) -> None:
    path = tmp_path / "lab.ini"
    path.write_text("[control_plane]\ncp1 ansible_become=True\ncp2\n[all:vars]\nansible_become=False\nansible_user=u\n")
    cp1, cp2 = load_inventory(path).hosts
    assert cp1.origins is not None
    assert cp2.origins is not None
    assert (cp1.connection.become, cp1.origins["ansible_become"]) == (True, f"{path}:2")
    assert (cp2.connection.become, cp2.origins["ansible_become"]) == (False, f"{path}:5")


@pytest.mark.parametrize("name", ["lab.ini", "single-node.ini", "ha.ini", "launch.ini", "minikube.ini"])
def test_the_examples_load(name: str) -> None:
    found = load_inventory(inventories_path() / name)
    assert found.control_plane or found.minikube


@pytest.mark.parametrize("name", ["lab.ini", "single-node.ini", "ha.ini", "launch.ini", "minikube.ini"])
def test_what_the_examples_comment_out_loads_too(name: str, tmp_path: Path) -> None:
    text = (inventories_path() / name).read_text()
    lines = [line[1:] if line.startswith("#") and line[1:2].isalpha() else line for line in text.splitlines()]
    known = [
        line for line in lines if not is_setting(line) or line.split("=")[0] in {*variables(), *ansible_names(lines)}
    ]
    path = tmp_path / name
    path.write_text("\n".join(known) + "\n")
    found = load_inventory(path)
    assert found.control_plane or found.minikube


def is_setting(line: str) -> bool:
    return "=" in line and " " not in line.split("=")[0] and not line.startswith("#")


def ansible_names(lines: list[str]) -> set[str]:
    return {line.split("=")[0] for line in lines if line.startswith("ansible_")}


def test_the_lab_example_is_one_control_plane_and_two_workers() -> None:
    hosts = load_inventory(inventories_path() / "lab.ini").hosts
    assert [(h.name, h.is_control_plane) for h in hosts] == [("cp1", True), ("gpu1", False), ("gpu2", False)]


def test_what_init_writes_loads(tmp_path: Path) -> None:
    path = tmp_path / "lab.ini"
    path.write_text(render_scaffold(["192.0.2.1"], ["gpu7=192.0.2.7", "gpu8.example.org", "2001:db8::9"], "ops", "a1"))
    found = {h.name: h.connection.address for h in load_inventory(path).hosts}
    assert found == {
        "cp1": "192.0.2.1",
        "gpu7": "192.0.2.7",
        "gpu8.example.org": "gpu8.example.org",
        "gpu3": "2001:db8::9",
    }


@pytest.mark.parametrize("cluster", ["1e5", "007", "none", "true", "1-40"])
def test_init_quotes_names_that_are_no_words(cluster: str, tmp_path: Path) -> None:
    path = tmp_path / "lab.ini"
    path.write_text(render_scaffold(["cp1"], cluster=cluster))
    assert load_inventory(path).cluster_name == cluster


@pytest.mark.parametrize(
    ("control_plane", "workers"),
    [
        ([], ["a"]),
        (["a"], ["a"]),
        (["a"], ["b=192.0.2.1", "c=192.0.2.1"]),
        (["a b"], []),
        (["a#"], []),
        (["{{ x }}"], []),
    ],
)
def test_init_refuses_what_would_not_load(control_plane: list[str], workers: list[str]) -> None:
    with pytest.raises(GpuctlError) as caught:
        render_scaffold(control_plane, workers)
    assert caught.value.exit_code is ExitCode.USAGE


def test_missing_file(tmp_path: Path) -> None:
    assert problems_of_loading(tmp_path / "no.ini") == [
        ("inventory-missing", f"{tmp_path / 'no.ini'}: there is no such file")
    ]


def test_script(tmp_path: Path) -> None:
    path = tmp_path / "inventory"
    path.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    path.chmod(0o755)
    assert problems_of_loading(path)[0][0] == "inventory-invalid"
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "lab.ini"
    path.write_text("[control_plane]\ncp1\n")
    path.chmod(0)
    assert problems_of_loading(path)[0][0] == "inventory-unreadable"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[control_plane]\ncp1 cluster_name=\xff\n", b"\x00"])
def test_not_text(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lab.ini"
    path.write_bytes(content)
    assert problems_of_loading(path)


def test_an_empty_directory_has_no_hosts(tmp_path: Path) -> None:
    assert {code for code, _ in problems_of_loading(tmp_path)} <= {"inventory-empty", "inventory-invalid"}


def test_neither_the_callers_ansible_nor_the_working_directory_has_a_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bootstrap").mkdir()
    (tmp_path / "bootstrap" / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    (tmp_path / "ansible.cfg").write_text("[inventory]\nenable_plugins = script\n")
    (tmp_path / "lab.ini").write_text("[control_plane]\ncp1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANSIBLE_INVENTORY_ENABLED", "script")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert load_inventory(Path("lab.ini")).hosts[0].name == "cp1"


def test_it_is_quick() -> None:
    path = inventories_path() / "lab.ini"
    load_inventory(path)
    times = []
    for _ in range(3):
        start = sum(os.times()[:4])  # of the processor, ours and the child's: a busy machine makes no test fail
        load_inventory(path)
        times.append(sum(os.times()[:4]) - start)
    assert min(times) < 2.0  # the aim is 0.8 s; a slower processor gets some room
