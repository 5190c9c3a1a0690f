"""Bad input: a clear error with host, fix, place and exit code; every problem of every host in one report; no change.

What is wrong with an inventory alone is tested case by case in tests/unit/inventory; here the command answers.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bootstrap.testvm import firewall, procs
from bootstrap.testvm.mirror import SERVER_MODULE
from bootstrap.testvm.names import LabPaths
from tests.e2e.conftest import made_lab
from tests.e2e.tool import Lab, wait_for

pytestmark = pytest.mark.e2e
LANE_COST_S = 250  # two cores, everything built, other lanes beside it


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two hosts without GPUs and without a cluster."""
    with made_lab(tmp_path_factory.mktemp("lab"), "b", "--hosts", "2", "--gpu-model", "none") as made:
        yield made


@pytest.fixture(scope="module")
def good(lab: Lab) -> str:
    """The text of the lab's own inventory."""
    return lab.inventory.read_text()


@pytest.fixture(autouse=True)
def _own_inventory(lab: Lab, good: str) -> Iterator[None]:
    yield
    lab.inventory.write_text(good)


def replaced(text: str, host: str, line: str) -> str:
    """The inventory with another line for the host."""
    lines = [line if old.split(maxsplit=1)[:1] == [host] else old for old in text.splitlines()]
    return "\n".join(lines) + "\n"


def line_of(text: str, host: str) -> str:
    return next(line for line in text.splitlines() if line.split(maxsplit=1)[:1] == [host])


def state(lab: Lab, host: str) -> tuple[str, ...]:
    """What a run that changes nothing leaves as it is."""
    return (
        lab.ssh(host, "sh", "-c", "find /etc /usr/local /opt /var/lib/gpuctl -printf '%p %C@\\n' 2>/dev/null | sort"),
        lab.ssh(host, "sha256sum", "/var/lib/dpkg/status"),
    )


def errors_of(lab: Lab, verb: str, code: int) -> list[dict[str, Any]]:
    """The errors of a command that fails with the exit code; each one is complete."""
    document = lab.json(verb, *lab.named, expect=code)
    assert (document["status"], document["exit_code"], document["command"]) == ("failed", code, verb)
    errors: list[dict[str, Any]] = document["errors"]
    for error in errors:
        assert error["message"], error
        assert error["fix"], error
        assert "Traceback" not in json.dumps(error), error
    return errors


SETTINGS = {
    "wrong-group": ("[workers]", "[gpu-workers]", [("group-unknown", ":6", "did you mean `workers`?")]),
    "unknown-variable": ("cluster_name=", "cluster_nmae=", [("variable-unknown", ":", "did you mean `cluster_name`?")]),
    "mistyped-variable": (
        "kubeadm_allow_cgroup_v1=true",
        "cluster_endpoint_port=https",
        [("variable-invalid", ":", "must be of type int")],
    ),
    "no-such-inventory": (None, None, [("inventory-missing", None, "")]),
}


@pytest.mark.parametrize("verb", ["plan", "bootstrap", "reset", "verify-gpus"])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_refused_by_every_command(lab: Lab, good: str, name: str, verb: str) -> None:
    old, new, expected = SETTINGS[name]
    if old is None or new is None:
        lab.inventory.unlink()
    elif old in good:
        lab.inventory.write_text(good.replace(old, new))
    else:  # a line that only some machines need
        lab.inventory.write_text(f"{good}\n[all:vars]\n{new}\n")
    errors = errors_of(lab, verb, 3)
    for code, place, words in expected:
        assert any(e["code"] == code and (place is None or place in (e["at"] or "")) for e in errors), errors
        assert words in " ".join(e["message"] for e in errors)


def test_all_problems_of_an_inventory_are_in_one_report(lab: Lab, good: str) -> None:
    before = state(lab, "cp1")
    address = line_of(good, "gpu1").partition("ansible_host=")[2].split()[0]
    text = good.replace("[workers]", f"[workers]\ntwin ansible_host={address}\ngpu1 ansible_host={address}")
    text = text.replace("cluster_name=", "cluster_nmae=") + "\n[all:vars]\ncluster_gpu=sometimes\n[worker]\nnas1\n"
    lab.inventory.write_text(text)
    errors = errors_of(lab, "bootstrap", 3)
    assert {e["code"] for e in errors} == {"host-duplicate", "variable-unknown", "variable-invalid", "group-unknown"}
    assert all(lab.inventory.name in (e["at"] or "") for e in errors), errors
    said = " ".join(e["message"] for e in errors)
    assert "listed twice in group `workers`" in said
    assert f"has the same address as twin: {address}" in said or f"has the same address as gpu1: {address}" in said
    text_form = lab.gpuctl("bootstrap", *lab.named, expect=3)
    assert "nothing was changed" in text_form.err
    assert text_form.out == ""
    assert state(lab, "cp1") == before


def test_a_name_that_limit_does_not_know(lab: Lab) -> None:
    document = lab.json("bootstrap", *lab.named, "--limit", "gpu9", expect=2)
    assert [(e["code"], "hosts are: cp1, gpu1" in e["fix"]) for e in document["errors"]] == [("usage", True)]


def test_all_problems_of_all_hosts_are_in_one_report(lab: Lab, good: str) -> None:
    """Five hosts, five troubles: a full disk, one machine under two names, a strange key, a refused one, nobody."""
    network = line_of(good, "cp1").partition("ansible_host=")[2].split()[0].rpartition(".")[0]
    known = lab.folder / "known_hosts"
    lines = LabPaths.of(lab.name).known_hosts.read_text().splitlines()
    of_gpu1 = next(line for line in lines if line.startswith(f"{network}.12 "))
    extra = [of_gpu1.replace(f"{network}.12 ", f"{network}.{n} ") for n in (112, 113)]
    known.write_text("\n".join([*lines, *extra]) + "\n")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", lab.folder / "strange"], check=True, timeout=30
    )
    ours = good.replace(str(LabPaths.of(lab.name).known_hosts), str(known))
    more = f"""[workers]
twin ansible_host={network}.112
locked ansible_host={network}.113 ansible_ssh_private_key_file={lab.folder}/strange
unknown ansible_host={network}.114
gone ansible_host={network}.115
"""
    lab.inventory.write_text(ours.replace("[workers]\n", more))
    link = lab.ssh("gpu1", "sh", "-c", "ip -o route get 192.0.2.1 | sed 's/.* dev \\([^ ]*\\).*/\\1/'").strip()
    with full_disk(lab, "cp1", "/var/lib/containerd"):
        for number in (112, 113, 114):
            lab.ssh("gpu1", "ip", "address", "add", f"{network}.{number}/24", "dev", link)
        before = state(lab, "cp1"), state(lab, "gpu1")
        try:
            errors = errors_of(lab, "bootstrap", 4)
            assert {(e["host"], e["code"]) for e in errors} == {
                ("cp1", "disk-low"),
                ("gpu1", "identity-duplicate"),
                ("twin", "identity-duplicate"),
                ("locked", "auth-failed"),
                ("unknown", "host-key-unknown"),
                ("gone", "unreachable"),
            }
            assert any("one machine" in e["message"] for e in errors if e["host"] == "twin")
            assert "ssh-copy-id" in next(e["fix"] for e in errors if e["host"] == "locked")
            said = lab.gpuctl("bootstrap", *lab.named, expect=4).err
            assert "nothing was changed" in said
            assert all(host in said for host in ("cp1", "gpu1", "twin", "locked", "unknown", "gone"))
            assert (state(lab, "cp1"), state(lab, "gpu1")) == before
        finally:
            for number in (112, 113, 114):
                lab.ssh("gpu1", "ip", "address", "delete", f"{network}.{number}/24", "dev", link)


def test_a_wrong_key_a_broken_package_and_no_mirror_at_all(lab: Lab, good: str) -> None:
    """Each stops both hosts in the same step with its own error, and the next run takes nothing of it for whole."""
    wrong = "0" * 40
    fingerprint = good.partition('"key_fingerprint": "')[2].partition('"')[0]
    lab.inventory.write_text(
        "\n".join(
            line.replace(fingerprint, wrong) if line.startswith("containerd_apt_source") else line
            for line in good.splitlines()
        )
        + "\n"
    )
    stopped_in_containerd(lab, "key-mismatch", f"expected {wrong}")

    with broken_mirror(lab) as address:
        served = good.partition('containerd_apt_source={"url": "')[2].partition("/apt")[0]
        lab.inventory.write_text(good.replace(served, address))
        stopped_in_containerd(lab, "package-install-failed", "containerd.io: E: Failed to fetch")

    lab.inventory.write_text(good)
    stop_mirror(lab)
    stopped_in_containerd(lab, "repository-unreachable", "")
    for host in ("cp1", "gpu1"):
        assert lab.ssh(host, "sh", "-c", "dpkg -l containerd.io 2>/dev/null | grep '^ii'", expect=None) == ""
        audit = lab.ssh(host, "dpkg", "--audit")
        assert audit == "", "no package is half installed"

    lab.gpuctl("testvm", "up", "--name", lab.name, "--hosts", "2", "--gpu-model", "none")
    lab.inventory.write_text(replaced(good, "gpu1", ""))  # one host is enough to see that it goes on
    ran = lab.json("bootstrap", *lab.named)
    assert [(node["name"], node["ready"]) for node in ran["data"]["readiness"]["nodes"]] == [("cp1", True)]
    assert lab.plan() == {}


def stopped_in_containerd(lab: Lab, code: str, words: str) -> None:
    errors = errors_of(lab, "bootstrap", 5)
    assert [(e["host"], e["code"]) for e in errors] == [("cp1", code), ("gpu1", code)], errors
    for error in errors:
        assert words in error["message"], error
        assert error["at"].startswith("roles/containerd/tasks/install.yml:"), error
    plan = lab.plan()
    for host in ("cp1", "gpu1"):
        assert "interrupted" in plan[f"{host} containerd"]
        assert f"{host} kubeadm" in plan
        assert f"{host} kube_host" not in plan


@contextmanager
def full_disk(lab: Lab, host: str, path: str) -> Iterator[None]:
    """A file system of 64 MiB at the path."""
    lab.ssh(host, "sh", "-c", f"mkdir -p {path} && mount -t tmpfs -o size=64m tmpfs {path}")
    try:
        yield
    finally:
        lab.ssh(host, "umount", path)


@contextmanager
def broken_mirror(lab: Lab) -> Iterator[str]:
    """A copy of the lab's mirror in which a package is not the one that the index names; its https address."""
    paths = LabPaths.of(lab.name)
    record = json.loads(paths.record.read_text())
    root = lab.folder / "mirror"
    shutil.copytree(record["mirror_root"], root, copy_function=_link)
    package = next((root / "apt").rglob("containerd.io_*.deb"))
    content = bytearray(package.read_bytes())
    content[len(content) // 2] ^= 0xFF
    package.unlink()
    package.write_bytes(content)
    gateway = lab.inventory.read_text().partition('_apt_source={"url": "https://')[2].partition(":")[0]
    with socket.socket() as probe:
        probe.bind((gateway, 0))
        port = probe.getsockname()[1]
    certificate = paths.state / "mirror" / "server.pem"
    server = subprocess.Popen(
        [sys.executable, "-m", SERVER_MODULE, "--root", root, "--address", gateway, "--port", str(port),
         "--cert", certificate, "--key", certificate.with_suffix(".key")],
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for("the broken mirror", lambda: _listens(gateway, port), 30)
        firewall.open_ports(lab.name, [port])
        yield f"https://{gateway}:{port}"
    finally:
        server.kill()
        server.wait(10)
        shutil.rmtree(root)


def stop_mirror(lab: Lab) -> None:
    """End the lab's mirror, as when its machine goes down."""
    pid_file = LabPaths.of(lab.name).runtime / "mirror.pid"
    procs.end_all(procs.has_arguments(SERVER_MODULE, str(pid_file)))


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def _listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
