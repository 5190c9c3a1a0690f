"""A lab of one virtual machine: it boots, reboots, dies, comes back with what it had, and goes without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.testvm import lab, machine, names, requirements
from tests.e2e.traces import below

LANE_COST_S = 250  # two cores, everything built, other lanes beside it
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.geteuid() != 0, reason="test hosts need root")]
REPOSITORY = Path(__file__).parents[2]
NAME = f"v{os.getpid() % 1000000:x}"
BOOT_ID = ("cat", "/proc/sys/kernel/random/boot_id")


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home of its own; whatever the test did, nothing of the lab is left after `down`."""
    if missing := requirements.missing_tools("qemu"):
        pytest.skip(f"SKIPPED virtual machines: packages are missing: {' '.join(missing)}")
    if missing_parts := requirements._problems_of_machines():
        pytest.skip(f"SKIPPED virtual machines: {missing_parts[0].message}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield
    lab.down(NAME)
    assert traces(tmp_path) == []


def traces(home: Path) -> list[str]:
    """What is left of the lab on this machine, found without the product's own code."""
    found: list[str] = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                words = (process / "cmdline").read_bytes().decode(errors="replace") + (process / "cgroup").read_text()
                dead = ") Z " in (process / "stat").read_text()
            except OSError:
                continue
            if not dead and (f"gpuctl-{NAME}" in words or f"/labs/{NAME}/" in words):
                found.append(f"process {words!r}")
    found += below("/sys/fs/cgroup", f"gpuctl-{NAME}*")
    found += [link.name for link in Path("/sys/class/net").iterdir() if link.name == f"gpuctl-{NAME}"]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    found += [line for line in tables.splitlines() if f"gpuctl-{NAME}" in line]
    places = (Path("/run/gpuctl-testvm") / NAME, home / "state/gpuctl/labs" / NAME, home / "lab.ini")
    return found + [str(place) for place in places if place.exists() or place.is_symlink()]


def up(home: Path) -> lab.Lab:
    return lab.up(NAME, 1, None, "none", "official", home / "lab.ini", lab.Machines("qemu"))


def ssh(*command: str) -> str:
    argv = [*lab.ssh_command(NAME, "cp1"), *command]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout


def qemu_pid() -> int:
    return int(json.loads((names.RUNTIME_ROOT / NAME / "cp1/status.json").read_text())["process"])


def cables(bridge: str) -> list[str]:
    return [port.name for port in Path(f"/sys/class/net/{bridge}/brif").iterdir()]


def wait_until_stopped() -> None:
    until = time.monotonic() + 60
    while next(made for made in lab.list_labs() if made.name == NAME).hosts[0].state != "stopped":
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_virtual_machine_from_up_to_down(tmp_path: Path) -> None:
    made = up(tmp_path)
    assert [(made.backend, host.name, host.state, host.gpus) for host in made.hosts] == [("qemu", "cp1", "running", 0)]
    assert "kubeadm_allow_cgroup_v1" not in (tmp_path / "lab.ini").read_text()
    assert up(tmp_path) == made

    # A kernel of its own, with the modules that containers lack; a network like theirs.
    release = ssh("uname", "-r").strip()
    assert release.endswith("-cloud-amd64")
    assert release != os.uname().release
    ssh("modprobe", "-a", "nfsd", "nfs", "overlay", "br_netfilter", "vxlan", "ip_vs")
    assert ssh("hostname") == "cp1\n"
    assert "cgroup2" in ssh("stat", "-fc", "%T", "/sys/fs/cgroup")
    assert ssh("systemctl", "--failed", "--plain", "--no-legend") == ""
    assert "Err:" not in ssh("apt-get", "update", "2>&1")

    # Rebooted from outside and from inside: a new boot each time, with the files of before.
    boots = [ssh(*BOOT_ID)]
    ssh("touch", "/etc/kept")
    lab.reboot(NAME, "cp1")
    boots.append(ssh(*BOOT_ID))
    first = qemu_pid()
    subprocess.run([*lab.ssh_command(NAME, "cp1"), "systemctl", "reboot"], check=False, timeout=120)
    until = time.monotonic() + 120
    while qemu_pid() == first:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert up(tmp_path).hosts[0].state == "running"
    boots.append(ssh(*BOOT_ID))
    assert len(set(boots)) == 3

    # Killed: noticed, its cable gone, and started again with its disk.
    os.kill(qemu_pid(), signal.SIGKILL)
    wait_until_stopped()
    assert cables(f"gpuctl-{NAME}") == []
    assert up(tmp_path).hosts[0].state == "running"
    assert ssh("ls", "/etc/kept") == "/etc/kept\n"

    # A lab keeps its kind.
    with pytest.raises(GpuctlError, match="backend qemu, not nspawn") as refused:
        lab.up(NAME, 1, 0, "none", "official", tmp_path / "lab.ini")
    assert refused.value.problems[0].code == "lab-differs"
    backend = lab.BACKENDS["qemu"]
    backend.stop(names.LabPaths.of(NAME), "cp1")
    assert not backend.is_running(names.LabPaths.of(NAME), "cp1")


def test_up_killed_while_the_machine_boots(tmp_path: Path) -> None:
    """Nothing is left after `down`, also where the record is lost with the process that made it."""
    code = (
        "import sys; from pathlib import Path; from bootstrap.testvm import lab; "
        "lab.up(sys.argv[1], 1, None, 'none', 'official', Path(sys.argv[2]), lab.Machines('qemu'))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, NAME, str(tmp_path / "lab.ini")], cwd=REPOSITORY)
    until = time.monotonic() + 120
    while not (names.RUNTIME_ROOT / NAME / "cp1/status.json").exists():
        assert time.monotonic() < until
        assert child.poll() is None
        time.sleep(0.05)
    child.kill()
    child.wait()
    names.LabPaths.of(NAME).record.unlink()
    assert lab.down(NAME) == (NAME,)
    assert traces(tmp_path) == []
    assert NAME not in machine.other_labs("")
