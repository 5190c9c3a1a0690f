"""Labs on this machine: made, used, killed in the middle, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.testvm import lab, machine, names, requirements, rootfs, state

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="test hosts need root"),
]
REPOSITORY = Path(__file__).parents[2]
SYSCTLS = [name for name in machine.KEPT if (machine.SYS / name).exists()]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing := requirements.missing_tools():
        pytest.skip(f"packages are missing: {' '.join(missing)}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def sysctls() -> dict[str, str]:
    return {name: (machine.SYS / name).read_text() for name in SYSCTLS}


@pytest.fixture
def name(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A lab's name; whatever the test did, nothing of the lab may be left after `down`."""
    chosen = f"e{os.getpid() % 100000}{len(request.node.name) % 10}x"[:8]
    before, cables = sysctls(), links()
    alone = not machine.other_labs(chosen)
    yield chosen
    lab.down(chosen)
    assert traces(chosen, tmp_path) == []
    if alone and not machine.other_labs(chosen):
        assert sysctls() == before
        assert links() == cables


def links() -> set[str]:
    return {entry.name for entry in Path("/sys/class/net").iterdir()}


def traces(name: str, home: Path) -> list[str]:
    """Everything of a lab that is still on this machine, found without the product's own code."""
    found: list[str] = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes().decode(errors="replace")
                group = (process / "cgroup").read_text()
                dead = ") Z " in (process / "stat").read_text()
            except OSError:
                continue
            if dead:
                continue  # ended; its parent has not asked for its status yet
            if f"gpuctl-{name}" in line + group or f"/labs/{name}/" in line:
                found.append(f"process {line!r}")
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/{name}/" in line]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/gpuctl-{name}*")]
    found += [link for link in links() if link == f"gpuctl-{name}"]
    found += [line for line in output("nft", "list", "tables").splitlines() if f"gpuctl-{name}" in line]
    found += [line for line in output("iptables", "-S").splitlines() if f"gpuctl-{name}" in line]
    places = [Path("/run/gpuctl-testvm") / name, home / "state/gpuctl/labs" / name, home / "lab.ini"]
    found += [str(place) for place in places if place.exists() or place.is_symlink()]
    found += [str(path) for path in Path("/run/systemd/nspawn").glob(f"**/*gpuctl-{name}*")]
    return found


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"}).stdout


def up(name: str, home: Path, hosts: int = 1, gpus: int = 0) -> lab.Lab:
    return lab.up(name, hosts, gpus, "a100", "official", home / "lab.ini")


def ssh(name: str, host: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*lab.ssh_command(name, host), *command], capture_output=True, text=True, check=False)


def up_in_child(name: str, home: Path, hosts: int = 3) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path; from bootstrap.testvm import lab; "
        f"lab.up({name!r}, {hosts}, 0, 'none', 'official', Path({str(home / 'lab.ini')!r}))"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)


def down_in_child(name: str) -> subprocess.Popen[bytes]:
    code = f"from bootstrap.testvm import lab; lab.down({name!r})"
    return subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)


def test_three_hosts_live_and_go(name: str, tmp_path: Path) -> None:
    made = up(name, tmp_path, hosts=3, gpus=4)
    assert [(host.name, host.state, host.gpus) for host in made.hosts] == [
        ("cp1", "running", 0), ("gpu1", "running", 4), ("gpu2", "running", 4),
    ]  # fmt: skip

    started = time.monotonic()
    assert up(name, tmp_path, hosts=3, gpus=4) == made
    assert time.monotonic() - started < 2
    assert made in lab.list_labs()

    assert ssh(name, "gpu1", "cat", "/etc/gpuctl-lab.json").stdout == json.dumps({"name": name, "host": "gpu1"}) + "\n"
    assert len(ssh(name, "gpu1", "ls", "/sys/bus/pci/devices").stdout.split()) == 4
    assert ssh(name, "cp1", "ls", "/sys/bus/pci/devices").stdout == ""
    assert ssh(name, "gpu2", "systemctl", "is-system-running", "--wait").stdout.strip() == "running"
    assert (
        ssh(name, "gpu1", "sysctl", "-w", "net.netfilter.nf_conntrack_tcp_be_liberal=1", "kernel.panic=7").returncode
        == 0
    )
    updated = ssh(name, "cp1", "apt-get", "update")
    assert updated.returncode == 0, updated.stderr
    assert "Err:" not in updated.stdout
    # Each host has its own identity.
    identities = [ssh(name, host.name, "cat", "/etc/machine-id").stdout for host in made.hosts]
    assert len(set(identities)) == 3


def test_reboot_is_a_new_boot_and_a_dead_host_is_restarted(name: str, tmp_path: Path) -> None:
    up(name, tmp_path, hosts=1)
    first = ssh(name, "cp1", "cat", "/proc/sys/kernel/random/boot_id").stdout
    ssh(name, "cp1", "touch", "/etc/kept")
    lab.reboot(name, "cp1")
    second = ssh(name, "cp1", "cat", "/proc/sys/kernel/random/boot_id").stdout
    assert second
    assert second != first
    assert ssh(name, "cp1", "test", "-e", "/etc/kept").returncode == 0

    ssh(name, "cp1", "poweroff")
    until = time.monotonic() + 30
    while lab.list_labs()[0].hosts[0].state != "stopped":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert up(name, tmp_path, hosts=1).hosts[0].state == "running"
    # A host that does not answer init's signals is power-cycled; here its supervisor is gone with all of it.
    [supervisor] = lab.BACKEND._supervisors(names.LabPaths.of(name), "cp1")  # type: ignore[attr-defined]
    os.kill(supervisor, signal.SIGKILL)
    assert up(name, tmp_path, hosts=1).hosts[0].state == "running"
    assert ssh(name, "cp1", "test", "-e", "/etc/kept").returncode == 0


def test_a_lab_grows_and_its_first_hosts_keep_running(name: str, tmp_path: Path) -> None:
    up(name, tmp_path, hosts=1)
    before = ssh(name, "cp1", "cat", "/proc/sys/kernel/random/boot_id").stdout
    grown = up(name, tmp_path, hosts=2)
    assert [host.name for host in grown.hosts] == ["cp1", "gpu1"]
    assert ssh(name, "cp1", "cat", "/proc/sys/kernel/random/boot_id").stdout == before
    assert "gpu1 ansible_host=" in (tmp_path / "lab.ini").read_text()
    with pytest.raises(GpuctlError) as refused:
        up(name, tmp_path, hosts=2, gpus=2)
    assert refused.value.problems[0].code == "lab-differs"


def test_labs_do_not_meet_and_private_networks_are_out_of_reach(name: str, tmp_path: Path) -> None:
    other = f"{name[:7]}z"
    mine = up(name, tmp_path, hosts=2)
    try:
        theirs = lab.up(other, 1, 0, "none", "official", tmp_path / "other.ini")
        reach = "exec 3<>/dev/tcp/{}/22"
        inside = ssh(name, "cp1", f"bash -c '{reach.format(mine.hosts[1].address)}'")
        assert inside.returncode == 0, inside.stderr
        for address in (
            theirs.hosts[0].address,
            str(theirs.subnet).replace(".0/24", ".1"),
            "10.96.0.1",
            "192.168.250.1",
        ):
            started = time.monotonic()
            outside = ssh(name, "cp1", f"timeout 5 bash -c '{reach.format(address)}'")
            assert outside.returncode == 1, address
            assert "refused" in outside.stderr, address
            assert time.monotonic() - started < 3, f"{address}: rejected, not dropped"
        assert {found.name for found in lab.list_labs()} >= {name, other}
    finally:
        lab.down(other)
    assert traces(other, tmp_path) == []
    assert not (tmp_path / "other.ini").exists()


def test_two_ups_of_one_name_make_one_lab(name: str, tmp_path: Path) -> None:
    children = [up_in_child(name, tmp_path, hosts=2) for _ in range(2)]
    assert [child.wait(120) for child in children] == [0, 0]
    [made] = [found for found in lab.list_labs() if found.name == name]
    assert [host.state for host in made.hosts] == ["running", "running"]
    assert len(output("ip", "-br", "link", "show", "master", f"gpuctl-{name}").splitlines()) == 2


@pytest.mark.parametrize("after_s", [0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 1.0, 2.0])
def test_up_killed_then_down(name: str, tmp_path: Path, after_s: float) -> None:
    child = up_in_child(name, tmp_path)
    time.sleep(after_s)
    child.kill()
    child.wait()
    lab.down(name)
    assert traces(name, tmp_path) == []


@pytest.mark.parametrize("after_s", [0.2, 0.3, 0.5, 1.0])
def test_up_killed_then_up(name: str, tmp_path: Path, after_s: float) -> None:
    child = up_in_child(name, tmp_path)
    time.sleep(after_s)
    child.kill()
    child.wait()
    made = up(name, tmp_path, hosts=3)
    assert [host.state for host in made.hosts] == ["running"] * 3


@pytest.mark.parametrize("after_s", [0.15, 0.2, 0.25, 0.3, 0.4, 0.5])
def test_down_killed_then_down(name: str, tmp_path: Path, after_s: float) -> None:
    up(name, tmp_path, hosts=3)
    child = down_in_child(name)
    time.sleep(after_s)
    child.kill()
    child.wait()
    lab.down(name)
    assert traces(name, tmp_path) == []


def test_root_file_system_builder_killed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    wanted = replace(rootfs.recipe(), packages=("systemd",))
    code = (
        "import sys; from dataclasses import replace; from pathlib import Path; from bootstrap.testvm import rootfs; "
        "rootfs.ensure(Path(sys.argv[1]), replace(rootfs.recipe(), packages=('systemd',)), print)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(cache)], cwd=REPOSITORY)
    until = time.monotonic() + 30
    while not list(cache.glob("*.part/root/*")):
        assert time.monotonic() < until
        time.sleep(0.1)
    child.kill()
    child.wait()
    time.sleep(0.5)
    assert str(cache) not in output("ps", "-eo", "args")
    assert str(cache) not in Path("/proc/self/mountinfo").read_text()
    assert rootfs.cached(cache, wanted) is None
    rootfs.clean_if_idle(cache)
    assert list(cache.iterdir()) == []


def test_edited_and_foreign_inventories_are_kept(name: str, tmp_path: Path) -> None:
    inventory = tmp_path / "lab.ini"
    inventory.write_text("[mine]\n")
    with pytest.raises(GpuctlError) as refused:
        up(name, tmp_path)
    assert refused.value.problems[0].code == "inventory-taken"
    assert not (names.RUNTIME_ROOT / name).exists()
    inventory.unlink()
    up(name, tmp_path)
    edited = inventory.read_text() + "# mine\n"
    inventory.write_text(edited)
    up(name, tmp_path)
    assert inventory.read_text() == edited
    lab.down(name)
    assert inventory.read_text() == edited
    inventory.unlink()


def test_a_machine_with_a_dropping_firewall(name: str, tmp_path: Path) -> None:
    if "-P FORWARD ACCEPT" not in output("iptables", "-S", "FORWARD"):
        pytest.skip("the firewall is somebody's")
    subprocess.run(["iptables", "-P", "FORWARD", "DROP"], check=True)
    try:
        up(name, tmp_path)
        updated = ssh(name, "cp1", "apt-get", "update")
        assert "Err:" not in updated.stdout, updated.stdout
        lab.down(name)
        assert output("iptables", "-S", "FORWARD") == "-P FORWARD DROP\n"
    finally:
        subprocess.run(["iptables", "-P", "FORWARD", "ACCEPT"], check=True)


def test_state_of_another_home_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up(name, tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    assert state.load(names.LabPaths.of(name)) is not None
    assert up(name, tmp_path).hosts[0].state == "running"
    assert not (tmp_path / "elsewhere").exists()
