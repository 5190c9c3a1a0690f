"""The NFS export in virtual machines: a real kernel server, clients on both machines, and no cluster around them.

The server mounts its own export as any other host does, by its address on the network: it is the second machine. Each
run of Ansible takes 10 to 45 s on an emulated machine, so there are few. The tests build on one another, in the order
of the file.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bootstrap.content import content_root
from bootstrap.testvm import requirements
from tests.e2e.conftest import made_lab
from tests.e2e.tool import GPUCTL, Lab, wait_for

pytestmark = pytest.mark.e2e
LANE_COST_S = 1000  # two cores, everything built, other lanes beside it

PLAYBOOK = Path(__file__).with_name("nfs.yml")
SERVER, CLIENT = "cp1", "gpu1"
PATH = "/srv/nfs/kubedata"
MOUNT = "/mnt/nfs"
OPTIONS = "vers=4.2,hard,nosuid,nodev"
# The server waits this long for clients that held locks (nfsd's grace period) before it lets anybody write.
GRACE_S = 90
POLL_S = 3  # a look at a machine takes it a second


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two virtual machines, with packages from where this machine has its own."""
    if missing := requirements.missing_tools("qemu"):
        pytest.skip(f"SKIPPED NFS in virtual machines: packages are missing: {' '.join(missing)}")
    options = ("--backend", "qemu", "--hosts", "2", "--components", "official")
    with made_lab(tmp_path_factory.mktemp("lab"), "n", *options) as made:
        yield made


@dataclass(frozen=True)
class Played:
    """What Ansible reports of a run: tasks that changed something, by host, and all that it said."""

    changed: dict[str, int]
    said: str


def roles(lab: Lab, room: str, expect: int = 0, limit: str = "all", **values: Any) -> Played:
    """Run one room of the roles on the machines."""
    both = [address(lab, SERVER), address(lab, CLIENT)]
    common = {"nfs_room": room, "nfs_host": SERVER, "nfs_server_clients": both, "nfs_server_min_free_gib": 1}
    extra = {**common, **values}
    program = Path(GPUCTL).with_name("ansible-playbook")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "GPUCTL_"))}
    done = subprocess.run(
        [program, "-i", lab.inventory, "-e", json.dumps(extra), "--limit", limit, PLAYBOOK],
        cwd=content_root(),
        env={**environment, "ANSIBLE_NOCOLOR": "1", "PATH": f"{program.parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == expect, said[-8000:]
    recap = done.stdout.partition("PLAY RECAP")[2]
    found = re.findall(r"^(\S+)\s+:.*\bchanged=(\d+)", recap, re.MULTILINE)
    return Played({host: int(count) for host, count in found}, said)


def address(lab: Lab, host: str) -> str:
    """By which the machines reach one another, as the inventory has it."""
    found = re.search(rf"^{host} ansible_host=(\S+)", lab.inventory.read_text(), re.MULTILINE)
    assert found, host
    return found[1]


def mount(lab: Lab, host: str) -> str:
    """Mount the export as kubelet does; what mount.nfs says when it is refused, else nothing.

    A mount without an answer is tried again: it was seen once, in a machine whose clock jumped.
    """
    source = f"{address(lab, SERVER)}:{PATH}"
    once = f"timeout 20 mount -t nfs4 -o {OPTIONS} {source} {MOUNT} 2>&1 || echo failed $?"
    command = f"mkdir -p {MOUNT}; mountpoint -q {MOUNT} || {once}"
    said: list[str] = []

    def answered() -> bool:
        said.append(lab.ssh(host, "sh", "-c", command))
        return "failed 124" not in said[-1]

    wait_for(f"an answer to the mount on {host}", answered, 180, POLL_S)
    return said[-1]


def listening(lab: Lab, host: str) -> set[int]:
    """Ports on which a machine takes connections or packets from elsewhere."""
    lines = lab.ssh(host, "ss", "-Hltun").splitlines()
    places = [line.split()[4] for line in lines]
    return {int(place.rpartition(":")[2]) for place in places if not place.startswith(("127.", "[::1]"))}


def traces(lab: Lab, host: str) -> list[str]:
    """What a removal left on a host: packages, files, notes and ports."""
    packages = "dpkg-query -Wf '${Package} ${db:Status-Status}\\n' | grep -E '^(nfs-|rpcbind|libnfs).* installed'"
    files = "/etc/exports.d /etc/nfs.conf.d/zz-gpuctl.conf /etc/systemd/system/rpc*"
    notes = "/var/lib/gpuctl/receipts/* /var/lib/gpuctl/before/*.json"
    found = lab.ssh(host, "sh", "-c", f"{packages}; ls -d {files} {notes} 2>/dev/null; true").splitlines()
    return [f"{host}: {line}" for line in [*found, *(f"port {port}" for port in listening(lab, host) - {22})]]


def test_only_named_clients_may_mount(lab: Lab) -> None:
    """The kernel's own answer to an address that is in no export."""
    assert set(roles(lab, "main", nfs_server_clients=[address(lab, CLIENT)]).changed) == {SERVER, CLIENT}
    assert mount(lab, CLIENT) == ""
    refused = mount(lab, SERVER)
    assert "access denied" in refused
    assert "failed 32" in refused


def test_a_new_client_needs_no_restart_of_the_server(lab: Lab) -> None:
    since = lab.ssh(SERVER, "systemctl", "show", "-p", "ActiveEnterTimestampMonotonic", "nfs-server.service")
    # On the server the file, and the table in force; nothing else, since all else is as it was left.
    assert roles(lab, "main").changed == {SERVER: 2, CLIENT: 0}
    assert mount(lab, SERVER) == ""
    assert lab.ssh(SERVER, "systemctl", "show", "-p", "ActiveEnterTimestampMonotonic", "nfs-server.service") == since


def test_what_one_writes_the_other_reads(lab: Lab) -> None:
    lab.ssh(CLIENT, "sh", "-c", f"echo weights > {MOUNT}/checkpoint && sync {MOUNT}/checkpoint")
    assert lab.ssh(SERVER, "cat", f"{MOUNT}/checkpoint") == "weights\n"
    assert lab.ssh(SERVER, "cat", f"{PATH}/checkpoint") == "weights\n"
    for host in (SERVER, CLIENT):
        assert "nosuid" in lab.ssh(host, "findmnt", "-t", "nfs4", "-no", "OPTIONS", MOUNT)


def test_root_is_squashed_to_the_owner(lab: Lab) -> None:
    """A client's root makes files of the mapped owner, and gives none of them to root or to anybody."""
    assert lab.ssh(SERVER, "stat", "-c", "%u:%g %a", PATH) == "1000:1000 2770\n"
    assert lab.ssh(SERVER, "stat", "-c", "%u:%g", f"{PATH}/checkpoint") == "1000:1000\n"
    lab.ssh(CLIENT, "chown", "0:0", f"{MOUNT}/checkpoint", expect=1)
    lab.ssh(CLIENT, "chown", "2000", f"{MOUNT}/checkpoint", expect=1)
    lab.ssh(SERVER, "sh", "-c", f"echo secret > {PATH}/of-root && chmod 600 {PATH}/of-root")
    lab.ssh(CLIENT, "cat", f"{MOUNT}/of-root", expect=1)
    lab.ssh(SERVER, "rm", f"{PATH}/of-root")


def test_a_user_needs_the_group(lab: Lab) -> None:
    """As a pod does: supplementalGroups of the client count, others have nothing to look for there."""
    as_user = ["setpriv", "--reuid=3000", "--regid=3000"]
    lab.ssh(CLIENT, *as_user, "--clear-groups", "cat", f"{MOUNT}/checkpoint", expect=1)
    assert lab.ssh(CLIENT, *as_user, "--groups=1000", "cat", f"{MOUNT}/checkpoint") == "weights\n"
    lab.ssh(CLIENT, *as_user, "--groups=1000", "touch", f"{MOUNT}/of-3000")
    assert lab.ssh(SERVER, "stat", "-c", "%u:%g", f"{PATH}/of-3000") == "3000:1000\n"


def test_nothing_but_nfsv4_listens(lab: Lab) -> None:
    assert listening(lab, SERVER) == {22, 2049}
    assert listening(lab, CLIENT) == {22}
    assert "-3 +4" in lab.ssh(SERVER, "cat", "/proc/fs/nfsd/versions")


def test_drift_is_seen_and_mended(lab: Lab) -> None:
    lab.ssh(SERVER, "sh", "-c", f"echo '{PATH} *(rw,no_root_squash)' >> /etc/exports.d/gpuctl.exports && exportfs -ra")
    said = roles(lab, "verify", expect=2, limit=SERVER).said
    assert "[nfs-export-drift]" in said
    assert f"{PATH} is exported to *" in said
    lab.ssh(SERVER, "sh", "-c", "rm /etc/nfs.conf.d/zz-gpuctl.conf; systemctl stop nfs-server.service")
    roles(lab, "main", limit=SERVER)
    assert "*" not in lab.ssh(SERVER, "exportfs", "-s")
    assert listening(lab, SERVER) == {22, 2049}


def test_somebody_elses_line_is_refused(lab: Lab) -> None:
    lab.ssh(SERVER, "sh", "-c", "echo '/srv *(rw)' >> /etc/exports")
    assert "[nfs-export-foreign]" in roles(lab, "main", expect=2, limit=SERVER).said
    lab.ssh(SERVER, "sed", "-i", "/^.srv /d", "/etc/exports")


def test_an_open_mount_outlives_a_restart_of_the_machine(lab: Lab) -> None:
    """A program on the client writes a line every second through one open file, while the server reboots."""
    lab.ssh(SERVER, "umount", MOUNT)
    program = f"exec 3>{MOUNT}/log; for i in $(seq 600); do echo $i >&3 || exit 1; sleep 1; done"
    lab.ssh(CLIENT, "systemd-run", "--unit=writer", "sh", "-c", program)
    wait_for("the first lines", lambda: "3\n" in lab.ssh(SERVER, "cat", f"{PATH}/log", expect=None), pause_s=POLL_S)
    boot = lab.ssh(SERVER, "cat", "/proc/sys/kernel/random/boot_id")
    lab.ssh(SERVER, "systemctl", "reboot", expect=None)

    def is_back() -> bool:
        now = lab.ssh(SERVER, "cat", "/proc/sys/kernel/random/boot_id", expect=None)
        return now not in ("", boot)

    wait_for("the server", is_back, 400, POLL_S)
    before = int(lab.ssh(SERVER, "tail", "-n1", f"{PATH}/log"))
    begun = time.monotonic()

    def goes_on() -> bool:
        return int(lab.ssh(SERVER, "tail", "-n1", f"{PATH}/log")) > before + 2

    wait_for("the writer to go on", goes_on, GRACE_S + 120, POLL_S)
    waited_s = time.monotonic() - begun
    assert waited_s < GRACE_S + 30, f"the writer went on {waited_s:.0f} s after the server took ssh"
    assert lab.ssh(CLIENT, "systemctl", "is-active", "writer.service") == "active\n"
    lab.ssh(CLIENT, "systemctl", "stop", "writer.service")
    lines = [int(line) for line in lab.ssh(CLIENT, "cat", f"{MOUNT}/log").split()]
    assert lines == list(range(1, len(lines) + 1))
    roles(lab, "verify", limit=SERVER)


def test_removal_keeps_the_data(lab: Lab) -> None:
    """Purging it is for tests/unit/plugins: to bring the server's packages back for that takes minutes here."""
    lab.ssh(CLIENT, "umount", MOUNT)
    roles(lab, "remove")
    assert lab.ssh(SERVER, "cat", f"{PATH}/checkpoint") == "weights\n"
    assert [line for host in (SERVER, CLIENT) for line in traces(lab, host)] == []
