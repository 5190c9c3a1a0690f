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
from bootstrap.testvm.components.cache import cache_root
from bootstrap.testvm.components.mirror import Mirror, make_current, save
from tests.e2e.traces import below

LANE_COST_S = 250  # two cores, everything built, other lanes beside it
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
    before = alone_on_machine(chosen)
    yield chosen
    lab.down(chosen)
    assert traces(chosen, tmp_path) == []
    after = alone_on_machine(chosen)
    if before and after:
        assert after == before


def alone_on_machine(chosen: str) -> tuple[dict[str, str], set[str]] | None:
    """The machine's settings and links while no other lab is there; None where one is, or came or went meanwhile."""
    alone = not machine.other_labs(chosen)
    seen = sysctls(), links()
    return seen if alone and not machine.other_labs(chosen) else None


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
    found += below("/sys/fs/cgroup", f"gpuctl-{name}*")
    found += [link for link in links() if link == f"gpuctl-{name}"]
    found += [line for line in output("nft", "list", "tables").splitlines() if f"gpuctl-{name}" in line]
    found += [line for line in output("iptables", "-S").splitlines() if f"gpuctl-{name}" in line]
    places = [Path("/run/gpuctl-testvm") / name, home / "state/gpuctl/labs" / name, home / "lab.ini"]
    found += [str(place) for place in places if place.exists() or place.is_symlink()]
    found += below("/run/systemd/nspawn", f"*gpuctl-{name}*")
    return found


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"}).stdout


def up(name: str, home: Path, hosts: int = 1, gpus: int = 0) -> lab.Lab:
    return lab.up(name, hosts, gpus, "t4", "official", home / "lab.ini")


def ssh(name: str, host: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*lab.ssh_command(name, host), *command], capture_output=True, text=True, check=False)


def up_in_child(name: str, home: Path, hosts: int = 3) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path; from bootstrap.testvm import lab; "
        f"lab.up({name!r}, {hosts}, 0, 'none', 'official', Path({str(home / 'lab.ini')!r}))"
    )
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
    while next(found for found in lab.list_labs() if found.name == name).hosts[0].state != "stopped":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert up(name, tmp_path, hosts=1).hosts[0].state == "running"
    # A host that does not answer init's signals is power-cycled; here its supervisor is gone with all of it.
    [supervisor] = lab.BACKENDS["nspawn"]._supervisors(names.LabPaths.of(name), "cp1")  # type: ignore[attr-defined]
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
    assert traces(other, tmp_path / "no") == []
    assert not (tmp_path / "other.ini").exists()


def test_two_ups_of_one_name_make_one_lab(name: str, tmp_path: Path) -> None:
    children = [up_in_child(name, tmp_path, hosts=2) for _ in range(2)]
    assert [child.wait(120) for child in children] == [0, 0]
    [made] = [found for found in lab.list_labs() if found.name == name]
    assert [host.state for host in made.hosts] == ["running", "running"]
    assert len(output("ip", "-br", "link", "show", "master", f"gpuctl-{name}").splitlines()) == 2


# Kills itself right before the Nth thing that it does to the machine; prints how many there were if it gets to the end.
KILLED_AT = """
import os, signal, sys
from pathlib import Path
from bootstrap.testvm import lab
CHANGES = {"subprocess.Popen", "os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.symlink", "os.chmod"}
last, count = int(sys.argv[1]), 0
def hook(event, arguments):
    global count
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in CHANGES:
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
if sys.argv[2] == "up":
    lab.up(sys.argv[3], 2, 2, "t4", "official", Path(sys.argv[4]))
else:
    lab.down(sys.argv[3])
print(count)
"""
MOMENTS = int(os.environ.get("GPUCTL_E2E_MOMENTS", "10"))


def killed_at(moment: int, verb: str, name: str, home: Path) -> int:
    """Run `verb` up to its change number `moment` (0: to the end); return the count of changes, or minus the signal."""
    argv = [sys.executable, "-c", KILLED_AT, str(moment), verb, name, str(home / "lab.ini")]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else done.returncode


def moments(total: int) -> list[int]:
    assert total > 20
    return sorted({1 + step * (total - 1) // MOMENTS for step in range(MOMENTS)})


def test_up_killed_at_any_change(name: str, tmp_path: Path) -> None:
    total = killed_at(0, "up", name, tmp_path)
    lab.down(name)
    for number, moment in enumerate(moments(total)):
        assert killed_at(moment, "up", name, tmp_path) == -signal.SIGKILL
        if number % 3 == 2:  # every third time the user tries again instead
            assert [host.state for host in up(name, tmp_path, hosts=2, gpus=2).hosts] == ["running"] * 2
        lab.down(name)
        assert traces(name, tmp_path) == [], f"killed before change {moment} of {total}"


def test_down_killed_at_any_change(name: str, tmp_path: Path) -> None:
    up(name, tmp_path, hosts=2, gpus=2)
    total = killed_at(0, "down", name, tmp_path)
    for moment in moments(total):
        up(name, tmp_path, hosts=2, gpus=2)
        assert killed_at(moment, "down", name, tmp_path) == -signal.SIGKILL
        lab.down(name)
        assert traces(name, tmp_path) == [], f"killed before change {moment} of {total}"


def test_the_mirror_is_served_to_hosts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = names.rootfs_cache()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache/gpuctl").mkdir(parents=True)
    (tmp_path / "cache/gpuctl/rootfs").symlink_to(cached)
    with pytest.raises(GpuctlError) as refused:
        lab.up(name, 1, 0, "none", "mirror", tmp_path / "lab.ini")
    assert refused.value.problems[0].code == "components-missing"
    assert not (names.RUNTIME_ROOT / name).exists()

    make_mirror(b"the key\n")
    lab.up(name, 1, 0, "none", "mirror", tmp_path / "lab.ini")
    text = (tmp_path / "lab.ini").read_text()
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    source = json.loads(settings["kubeadm_apt_source"])
    authority = Path(settings["cluster_ca_file"]).read_text()
    fetch = [*lab.ssh_command(name, "cp1"), "curl", "-sS", "--cacert", "/dev/stdin", source["key_url"]]
    assert subprocess.run(fetch, input=authority, capture_output=True, text=True, check=True).stdout == "the key\n"
    distrusted = ssh(name, "cp1", "curl", "-sS", source["key_url"])
    assert distrusted.returncode != 0

    paths = names.LabPaths.of(name)
    os.kill(int((paths.runtime / "mirror.pid").read_text()), signal.SIGKILL)
    lab.up(name, 1, 0, "none", "mirror", tmp_path / "lab.ini")
    assert (tmp_path / "lab.ini").read_text() == text
    assert subprocess.run(fetch, input=authority, capture_output=True, text=True, check=True).stdout == "the key\n"


def make_mirror(key: bytes) -> None:
    """A complete mirror with nothing in it, at the place where the build puts it."""
    root = cache_root()
    path = root / "mirrors" / "empty"
    for directory in ("apt", "oci/blobs/sha256", "keys"):
        (path / directory).mkdir(parents=True)
    (path / "keys/gpuctl-mirror.asc").write_bytes(key)
    (path / "oci/index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    made = Mirror(path, "0" * 64, "A" * 40, path / "keys/gpuctl-mirror.asc", {}, {}, complete=True, entries=())
    save(made)
    make_current(made, root)


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
        left = output("iptables", "-S", "FORWARD").splitlines()  # another lane's lab may have rules of its own there
        assert left[0] == "-P FORWARD DROP"
        assert not [line for line in left if f"gpuctl-{name} " in line]
    finally:
        subprocess.run(["iptables", "-P", "FORWARD", "ACCEPT"], check=True)


def test_state_of_another_home_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up(name, tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    assert state.load(names.LabPaths.of(name)) is not None
    assert up(name, tmp_path).hosts[0].state == "running"
    assert not (tmp_path / "elsewhere").exists()
