"""Nine secrets, each with a value of its own, are looked for wherever a secret could get to: none is found.

Hosts are reached by a user with sudo by password and a key with a passphrase. Plain `ansible-playbook -vvv` makes the
cluster, two control planes of it; gpuctl changes it after that. The tests build on one another, in the file's order.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bootstrap.testvm import state
from bootstrap.testvm.names import LabPaths
from tests.doubles import wandb_api
from tests.e2e.conftest import made_lab
from tests.e2e.launching import ENTITY, PROJECT, QUEUE
from tests.e2e.playbooks import spoken
from tests.e2e.tool import Lab, wait_for
from tests.e2e.watching import Watch, hits_in

pytestmark = pytest.mark.e2e
LANE_COST_S = 350  # two cores, everything built, other lanes beside it

HOSTS = ("cp1", "gpu1")
GIVEN = {
    "W&B key": "c0ffee11c0ffee22c0ffee33c0ffee44c0ffee55",
    "sudo password": "Canary-sudo-7Qx1",
    "ssh passphrase": "Canary-passphrase-8Rw2",
    "apt URL password": "Canary-apt-9Sv3",
    "proxy password": "Canary-proxy-1Tu4",
}
# Made on the way, and gone with the run: known by their shape; in texts and files, where names look alike, beside their
# own name.
SHAPES = {
    "join token": re.compile(rb"(?<![a-z0-9.])(?=[a-z.]*[0-9])[a-z0-9]{6}\.[a-z0-9]{16}(?![a-z0-9.])"),
    "certificate key": re.compile(rb"(?i)certificate-?key[^0-9a-z]{1,6}[0-9a-f]{64}"),
}
NAMED = {**SHAPES, "join token": re.compile(rb"(?i)token[^0-9a-z]{1,6}[a-z0-9]{6}\.[a-z0-9]{16}(?![a-z0-9.])")}
USER = r"""
useradd --create-home --shell /bin/bash ops
printf 'ops:%s\n' "$1" | chpasswd
printf 'ops ALL=(ALL) ALL\n' > /etc/sudoers.d/ops
install -d -m 700 -o ops /home/ops/.ssh
cat > /home/ops/.ssh/authorized_keys
chown ops /home/ops/.ssh/authorized_keys
"""


@dataclass
class Told:
    """What was said so far: by name, with its bytes."""

    texts: dict[str, bytes] = field(default_factory=dict)
    canaries: dict[str, str] = field(default_factory=lambda: dict(GIVEN))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two hosts, both control planes; the W&B server is on the lab's network."""
    with made_lab(tmp_path_factory.mktemp("lab"), "k", "--hosts", "2", "--gpus", "1", "--open-port", "8123") as made:
        record = state.load(LabPaths.of(made.name))
        assert record is not None
        where = (str(record.subnet.gateway), 8123)
        with wandb_api.running(address=where, teams=[ENTITY], api_key=GIVEN["W&B key"]) as server:
            prepare(made, server.url)
            with agent_with(made):
                yield made


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


@pytest.fixture(scope="module")
def watch(lab: Lab) -> Iterator[Watch]:
    assert lab.inventory.exists()
    with Watch(SHAPES) as watching:
        for name, canary in GIVEN.items():
            watching.add(name, canary)
        yield watching


def prepare(lab: Lab, url: str) -> None:
    """A user with a password and an encrypted key, logins in addresses, an agent with a proxy."""
    key = lab.folder / "ops"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-f", str(key), "-N", GIVEN["ssh passphrase"]], check=True, timeout=30
    )
    for host in HOSTS:
        public = key.with_suffix(".pub").read_text()
        lab.ssh(host, "sh", "-ec", USER, "sh", GIVEN["sudo password"], stdin=public)
    secret = lab.folder / "wandb.key"
    secret.write_text(GIVEN["W&B key"] + "\n")
    secret.chmod(0o600)
    text = lab.inventory.read_text()
    text = re.sub(r"ansible_ssh_private_key_file=.*", f"ansible_ssh_private_key_file={key}", text)
    text = text.replace("ansible_user=root", "ansible_user=ops\nansible_become=true")
    text = text.replace('"url": "https://', f'"url": "https://apt:{GIVEN["apt URL password"]}@')
    text = text.replace("[workers]\n", "").replace("\n\n[all:vars]", "\n\n[launch_agent]\ncp1\n\n[all:vars]")
    proxy = json.dumps({"HTTPS_PROXY": f"http://proxy:{GIVEN['proxy password']}@127.0.0.1:9", "NO_PROXY": "*"})
    text += f"""
ansible_become_password={GIVEN["sudo password"]}
ansible_ssh_private_key_passphrase={GIVEN["ssh passphrase"]}
launch_agent_entity={ENTITY}
launch_agent_queues=["{QUEUE}"]
launch_agent_base_url={url}
launch_agent_api_key_file={secret.name}
launch_agent_host_environment={proxy}
nfs_client_enabled=false
"""
    lab.inventory.write_text(text)


@contextmanager
def agent_with(lab: Lab) -> Iterator[None]:
    """An ssh-agent that holds the key: Ansible takes a passphrase from nowhere else. gpuctl has it in the inventory."""
    ask, socket = lab.folder / "ask", lab.folder / "agent"
    ask.write_text(f"#!/bin/sh\necho {GIVEN['ssh passphrase']}\n")
    ask.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch, subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)]) as agent:
        try:
            wait_for("the agent", socket.exists, 10)
            patch.setenv("SSH_AUTH_SOCK", str(socket))
            asked = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
            subprocess.run(["ssh-add", str(lab.folder / "ops")], env=asked, check=True, timeout=30)
            yield
        finally:
            agent.terminate()


def run(lab: Lab, told: Told, *arguments: str, expect: int = 0) -> str:
    ran = lab.gpuctl(*arguments, expect=expect)
    name = f"gpuctl {' '.join(arguments[:3])}"
    told.texts[f"{name} ({len(told.texts)}): stdout"] = ran.out.encode()
    told.texts[f"{name} ({len(told.texts)}): stderr"] = ran.err.encode()
    return ran.out + ran.err


def test_ansible_playbook_makes_the_cluster_and_says_no_secret(lab: Lab, told: Told, watch: Watch) -> None:
    run(lab, told, "launch", "queue", "apply", QUEUE, "--preset", "job", *lab.named)
    said = spoken(lab, "site.yml", "-vvv")
    told.texts["ansible-playbook -vvv"] = said.encode()
    assert said.count("TASK [") > 50
    assert "Have a token" in said, "the second control plane has joined"
    assert watch.looks > 1000
    collect(lab, told, watch)


def test_gpuctl_changes_it_and_says_no_secret(lab: Lab, told: Told, watch: Watch) -> None:
    lab.inventory.write_text(lab.inventory.read_text() + "launch_agent_max_jobs=3\n")
    run(lab, told, "plan", *lab.named)
    run(lab, told, "-v", "bootstrap", *lab.named, "--output", "json")
    run(lab, told, "launch", "agent", "status", *lab.named)
    run(lab, told, "launch", "test", "-q", QUEUE, "--project", PROJECT, *lab.named)
    # A failure that quotes: the key is refused by the server, and the host cannot become root.
    lab.inventory.write_text(
        lab.inventory.read_text().replace(GIVEN["sudo password"], "wrong-" + GIVEN["sudo password"])
    )
    run(lab, told, "plan", *lab.named, expect=4)
    lab.inventory.write_text(lab.inventory.read_text().replace("wrong-", ""))
    assert watch.hits == set()


def test_no_canary_is_anywhere(lab: Lab, told: Told, watch: Watch, figure: Callable[[str], None]) -> None:
    hits = sorted(watch.hits)
    canaries = tuple(told.canaries.items())
    places = {**told.texts, **on_hosts(lab)}
    for path in (file for run in lab.runs for file in run.rglob("*") if file.is_file()):
        places[str(path)] = path.read_bytes()
    for place, text in places.items():
        hits += hits_in(place, text, canaries)
        for name, shape in NAMED.items():
            if match := shape.search(text):
                hits.append(f"{place}: {name}: {match[0][:12]!r}")
    names = {*told.canaries, *SHAPES}
    figure(
        f"canaries: {len(names)} secrets, {len(places)} texts and {watch.looks} looks at processes, {len(hits)} hits"
    )
    assert len(names) == 9
    assert hits == []


def collect(lab: Lab, told: Told, watch: Watch) -> None:
    """The secrets that the cluster has made: the agent's token, the administrator's key."""
    agent = lab.ssh("cp1", "cat", "/var/lib/gpuctl-launch/token")
    token = re.fullmatch(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", agent.strip())
    assert token is not None
    admin = lab.ssh("cp1", "cat", "/etc/kubernetes/admin.conf")
    key = re.search(r"client-key-data: (\S+)", admin)
    assert key is not None
    line = base64.b64decode(key[1]).decode().splitlines()[1]
    for name, canary in (("service-account token", token[0]), ("client key", line)):
        told.canaries[name] = canary
        watch.add(name, canary)


def on_hosts(lab: Lab) -> dict[str, bytes]:
    """What everybody on a host can read, and what systemd shows: by place."""
    found = {}
    readable = (
        "runuser -u nobody -- find / -xdev \\( -path /proc -o -path /sys -o -path /usr/share -o -path /usr/lib "
        "-o -path /var/lib/apt/lists \\) -prune -o -type f -readable -size -2000k -print0"
    )
    script = f"set -f; {readable} 2>/dev/null | xargs -0 -r cat 2>/dev/null || true"
    for host in HOSTS:
        for name, command in (
            ("journal", ("journalctl", "-o", "export", "--no-pager")),
            ("systemctl show", ("systemctl", "show", "*", "--no-pager")),
            ("files that everybody may read", ("sh", "-c", script)),
        ):
            path = Path(lab.folder) / f"{host}-{name.replace(' ', '-')}"
            found[f"{host}: {name}"] = bytes_of(lab, host, command, path)
            assert found[f"{host}: {name}"], f"{host}: {name}: nothing to look at"
    return found


def bytes_of(lab: Lab, host: str, command: tuple[str, ...], path: Path) -> bytes:
    import shlex

    from bootstrap.testvm.lab import ssh_command

    with path.open("wb") as out:
        subprocess.run(
            [*ssh_command(lab.name, host), shlex.join(command)],
            stdout=out,
            stdin=subprocess.DEVNULL,
            timeout=300,
            check=True,
        )
    return path.read_bytes()
