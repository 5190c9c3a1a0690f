"""Virtual machines of labs: what is asked for, what their initrd holds, how qemu is called, watched and proven."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import cpio, lab, procs, qemu, requirements, seed, shapes, ssh, supervisor, vmimage
from bootstrap.testvm.backend import HostSpec
from bootstrap.testvm.names import LANES, LabPaths
from bootstrap.testvm.state import HostRecord

HOST = HostRecord("gpu1", "10.206.55.12", 0, "none")
NAMES = st.lists(st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True), min_size=1, max_size=3).map("/".join)


def facts(tmp_path: Path) -> seed.SeedFacts:
    ssh.make_key(tmp_path / "hostkey", "gpu1")
    return seed.SeedFacts(
        lab="lab", host=HOST, neighbours=(HOST,), gateway="10.206.55.1", resolvers=("192.0.2.53",),
        authorized_key="ssh-ed25519 AAAA lab\n", host_key=tmp_path / "hostkey", mtu=1460, cgroup_v1=True,
    )  # fmt: skip


def spec(tmp_path: Path, memory_mib: int = 0, cpus: int = 0) -> HostSpec:
    paths = LabPaths("lab", tmp_path / "a,b", tmp_path / "run")
    return HostSpec(paths, HOST, tmp_path / "r/root", facts(tmp_path), memory_mib, cpus)


@pytest.mark.parametrize(
    ("gpus", "machines", "words"),
    [
        (2, lab.Machines("qemu"), "virtual machines have no simulated GPUs"),
        (None, lab.Machines("qemu", memory_mib=100), "384 MiB of memory or more, not 100"),
        (None, lab.Machines("qemu", cpus=65), "1 to 64 CPUs, not 65"),
        (None, lab.Machines("qemu", cpus=-1), "1 to 64 CPUs, not -1"),
        (None, lab.Machines("vbox"), "unknown backend 'vbox'"),
        (None, lab.Machines("nspawn", memory_mib=640), "containers have the memory and the CPUs of this machine"),
        (None, lab.Machines(lane="kind"), "unknown lane 'kind'"),
        (None, lab.Machines("qemu", lane="minikube"), "the test host of minikube is a container"),
    ],
)
def test_what_no_lab_can_be_is_a_usage_error(gpus: int | None, machines: lab.Machines, words: str) -> None:
    with pytest.raises(GpuctlError, match=words) as refused:
        lab.up("lab", 1, gpus, machines=machines)
    assert refused.value.exit_code is ExitCode.USAGE
    assert refused.value.problems[0].fix or "memory or more" in words or "CPUs, not" in words


def test_what_is_left_out_has_defaults() -> None:
    machines = shapes.checked(None, "a100", "official", lab.Machines("qemu"))
    assert (machines.gpus, machines.gpu_model, machines.memory_mib, machines.cpus) == (0, "none", 640, 1)
    assert shapes.checked(0, "a100", "official", lab.Machines("qemu", 800, 2)).memory_mib == 800
    containers = shapes.checked(None, "t4", "mirror", lab.Machines())
    assert (containers.backend, containers.gpus, containers.gpu_model, containers.memory_mib) == ("nspawn", 8, "t4", 0)
    assert shapes.checked(None, "none", "mirror", lab.Machines()).gpus == 0
    assert [shapes.host_count(None, lane) for lane in LANES] == [3, 1]
    with pytest.raises(GpuctlError, match="minikube runs on one host, not on 2"):
        shapes.host_count(2, "minikube")


@given(st.dictionaries(NAMES, st.tuples(st.binary(max_size=99), st.sampled_from([0o600, 0o644, 0o755])), max_size=5))
def test_every_archive_can_be_unpacked(files: dict[str, tuple[bytes, int]]) -> None:
    files = {name: what for name, what in files.items() if not any(other.startswith(f"{name}/") for other in files)}
    archive = cpio.archive(cpio.members(files))
    assert len(archive) % 4 == 0
    assert unpacked(archive) == files


def unpacked(archive: bytes) -> dict[str, tuple[bytes, int]]:
    """The files of an archive, read by the rules of the kernel's documentation."""
    found: dict[str, tuple[bytes, int]] = {}
    folders, at = {""}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        at = (at + 110 + length + 3) // 4 * 4
        data, at = archive[at : at + size], (at + size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        assert name.rpartition("/")[0] in folders, "the kernel makes no directories by itself"
        if stat.S_ISDIR(mode):
            folders.add(name)
        else:
            found[name] = (data, stat.S_IMODE(mode))


@pytest.mark.skipif(shutil.which("cpio") is None, reason="no cpio here")
def test_cpio_itself_reads_an_archive(tmp_path: Path) -> None:
    archive = cpio.archive(cpio.members({"a/b": (b"text", 0o600)}))
    subprocess.run(["cpio", "-idm", "--quiet"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "a/b").read_bytes() == b"text"


def test_a_host_brings_its_files_and_its_network(tmp_path: Path) -> None:
    files = unpacked(qemu.host_archive(facts(tmp_path)))
    assert files["lab/network"][0] == b"address=10.206.55.12/24\ngateway=10.206.55.1\nmtu=1460\n"
    assert files["seed/etc/hostname"] == (b"gpu1\n", 0o644)
    assert files["seed/root/.ssh/authorized_keys"] == (b"ssh-ed25519 AAAA lab\n", 0o600)
    assert files["seed/etc/ssh/ssh_host_ed25519_key"][1] == 0o600
    assert b"iface eth0 inet manual" in files["seed/etc/network/interfaces"][0]
    # What a container needs because it shares a kernel is not for a machine.
    assert not [name for name in files if "gpuctl-lab-mounts" in name or "containerd" in name]
    modes = {m.name: stat.S_IMODE(m.mode) for m in cpio.members(dict(files), private=("seed/root",))}
    assert (modes["seed/root"], modes["seed/root/.ssh"], modes["seed/etc"]) == (0o700, 0o700, 0o755)


def test_the_first_program_is_a_valid_script() -> None:
    script = vmimage.INIT.format(marker=vmimage.MARKER, modules="virtio virtio_net")
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert "for module in virtio virtio_net; do" in script
    assert "{" not in script.replace("{ echo", "")


def test_the_command_line_of_a_machine(tmp_path: Path) -> None:
    argv = qemu.command(spec(tmp_path, 800, 2), vmimage.Image(tmp_path / "image"), "tcg")
    assert argv[argv.index("-m") + 1] == "800"
    assert argv[argv.index("-smp") + 1] == "2"
    assert f"file={tmp_path}/a,,b/hosts/gpu1/disk.raw,format=raw" in argv[argv.index("-drive") + 1]
    assert "-no-reboot" in argv
    assert "net.ifnames=0" in argv[argv.index("-append") + 1]
    assert argv[-1].endswith("mac=52:54:0a:ce:37:0c")
    assert qemu.command(spec(tmp_path), vmimage.Image(tmp_path), "kvm")[1:5] == ["-accel", "kvm", "-cpu", "host"]


def test_another_recipe_or_root_is_another_image(tmp_path: Path) -> None:
    one = vmimage.Recipe("a")
    assert one.digest == vmimage.Recipe("a").digest
    assert len({one.digest, vmimage.Recipe("b").digest, replace(one, masked=()).digest}) == 3
    assert vmimage.of(tmp_path, Path("/cache/a/root")).place == tmp_path / one.digest


def test_the_kernel_package_is_found() -> None:
    shown = "Package: linux-image-cloud-amd64\nDepends: x, linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\n"
    assert vmimage.kernel_package(shown) == "linux-image-6.1.0-56-cloud-amd64"
    with pytest.raises(GpuctlError) as refused:
        vmimage.kernel_package("")
    assert refused.value.problems[0].code == "image-failed"


@pytest.mark.parametrize(
    ("script", "expected"),
    [(f"echo '{vmimage.MARKER}'", "kvm"), ("exit 1", "tcg"), ("exec sleep 5", "tcg"), (None, "tcg")],
)
def test_kvm_counts_only_when_a_kernel_ran(
    script: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device node that is there, a qemu that aborts, one that hangs and one that is not installed prove nothing."""
    if script is not None:
        (tmp_path / qemu.QEMU).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / qemu.QEMU).chmod(0o755)
    monkeypatch.setattr(procs, "environment", lambda: {"PATH": f"{tmp_path}:/bin:/usr/bin"})
    monkeypatch.setattr(qemu, "QEMU", str(tmp_path / qemu.QEMU))
    monkeypatch.setattr(qemu, "_PROBE_S", 0.5)
    qemu.accelerator.cache_clear()
    assert qemu.accelerator(vmimage.Image(tmp_path)) == expected
    qemu.accelerator.cache_clear()


def test_what_qemu_needs_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(procs, "environment", lambda: {"PATH": str(tmp_path)})
    monkeypatch.setattr(requirements, "TUN", tmp_path / "tun")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    found = requirements.problems(tmp_path, "qemu")
    [packages] = [problem for problem in found if problem.code == "tool-missing"]
    assert "qemu-system-x86" in packages.fix
    assert "systemd-container" not in packages.fix
    assert len([problem for problem in found if problem.code == "vm-unsupported"]) == 2
    assert not [problem for problem in requirements.problems(tmp_path) if problem.code == "vm-unsupported"]


# Stands for qemu: it does what its second argument says, over the monitor that the supervisor hands to it.
STAND_IN = """
import json, socket, sys
fd = int(next(a for a in sys.argv if a.startswith("socket,id=qmp,fd=")).rpartition("=")[2])
with open(sys.argv[1], "a") as runs: runs.write("x")
count = len(open(sys.argv[1]).read())
monitor = socket.socket(fileno=fd)
def event(reason): monitor.sendall(json.dumps({"event": "SHUTDOWN", "data": {"reason": reason}}).encode() + b"\\n")
lines = monitor.makefile("r")
assert "qmp_capabilities" in lines.readline()
if sys.argv[2] == "keys":
    assert "delete" in lines.readline()
    event("guest-reset")
elif sys.argv[2] == "twice":
    event("guest-reset" if count < 3 else "guest-shutdown")
sys.exit(0 if sys.argv[2] != "die" else 9)
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, object]]:
    monkeypatch.setattr(supervisor, "_QUICK_S", 0.01)
    monkeypatch.setattr(supervisor, "cable", lambda _bridge: os.open(os.devnull, os.O_RDONLY))
    (tmp_path / "stand_in.py").write_text(STAND_IN)

    def orders(behaviour: str) -> dict[str, object]:
        argv = [sys.executable, str(tmp_path / "stand_in.py"), str(tmp_path / "runs"), behaviour]
        return {"qemu": argv, "bridge": "none", "paths": {"status": str(tmp_path / "status.json")}}

    return orders


def test_a_machine_runs_again_after_a_reset_only(
    machine: Callable[[str], dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert supervisor.keep(machine("twice"), []) == 0
    assert (tmp_path / "runs").read_text() == "xxx"
    assert json.loads((tmp_path / "status.json").read_text())["boots"] == 3
    (tmp_path / "runs").unlink()
    assert supervisor.keep(machine("die"), []) == 9, "a killed qemu is not started again"
    assert (tmp_path / "runs").read_text() == "x"


def test_a_machine_is_shut_down_by_its_keyboard(
    machine: Callable[[str], dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers: dict[int, Callable[[int, object], None]] = {}
    monkeypatch.setattr(signal, "signal", lambda number, handler: handlers.setdefault(number, handler))
    noted = threading.Event()
    monkeypatch.setattr(supervisor, "note", lambda *_a, **_k: noted.set())

    def press() -> None:
        assert noted.wait(10)
        while not (tmp_path / "runs").exists():
            noted.wait(0.01)
        handlers[signal.SIGTERM](0, None)

    presser = threading.Thread(target=press)
    presser.start()
    # The guest answers with a reset, which is not obeyed: the host was to end.
    assert supervisor.keep(machine("keys"), []) == 0
    presser.join()
    assert (tmp_path / "runs").read_text() == "x"
    assert set(handlers) == {signal.SIGTERM, signal.SIGHUP}


def test_a_monitor_that_is_gone_is_no_error() -> None:
    host = supervisor.VirtualMachine.__new__(supervisor.VirtualMachine)
    ours, theirs = socket.socketpair()
    theirs.close()
    host._monitor = ours
    host.shut_down()
    ours.close()
    host.shut_down()
    host._monitor = None
    host.shut_down()
