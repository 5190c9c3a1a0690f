"""What the probe is told of a host is what Ansible will do with it; Ansible's ssh and `ssh -G` are the judges."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.inventory.load import load_inventory
from bootstrap.probe.ssh_config import ansible_arguments
from tests.fuzz.share import cases
from tests.unit.inventory.ansible_ssh import by_ansible, meaning

_HOSTS = 20  # of one inventory: starting Ansible costs more than a host
_VALUES: dict[str, tuple[Any, ...]] = {
    "ansible_host": ("192.0.2.10", "ubuntu@192.0.2.11", "gpu.example", None, "{{ own_address }}"),
    "ansible_ssh_host": ("192.0.2.99", "198.51.100.7", None),
    "ansible_user": ("ubuntu", "root", None, "{{ own_user }}"),
    "ansible_ssh_user": ("deploy", "root", None),
    "ansible_port": (22, 2222, "2200", None),
    "ansible_ssh_port": (2022, "22", None),
    "ansible_private_key_file": ("/keys/one", "~/.ssh/two", None),
    "ansible_ssh_private_key_file": ("/keys/a b", None),
    "ansible_ssh_args": ("-F ssh.cfg", "-o User=early", "-l early -p 2299", "", "-o ControlMaster=no"),
    "ansible_ssh_common_args": ("-o ProxyJump=bastion", "-o 'ProxyCommand=nc %h %p'", "-o User=late", "-J me@hop:22"),
    "ansible_ssh_extra_args": ("-o HostKeyAlias=other", "-o Port=2", "-o UserKnownHostsFile=/known"),
    "ansible_become": (True, "yes"),
    "ansible_become_method": ("sudo", "ansible.builtin.sudo"),
    "ansible_become_exe": ("/usr/local/bin/sudo",),
    "ansible_sudo_exe": ("/opt/bin/sudo",),
    "ansible_python_interpreter": ("/usr/bin/python3", "/usr/bin/env python3", "/usr/local/bin/python3.12"),
}


def _inventory(chance: random.Random, folder: Path) -> Path:
    """Variables of each host by the inventory, its groups and a file of host_vars: the same name at several places."""

    def some(most: int) -> dict[str, Any]:
        return {name: chance.choice(_VALUES[name]) for name in chance.sample(sorted(_VALUES), chance.randint(0, most))}

    names = [chance.choice(("h{}", "n-{}", "admin@192.0.2.{}")).format(number + 1) for number in range(_HOSTS)]
    groups: dict[str, Any] = {
        group: {"hosts": {}, "vars": some(2)} for group in ("control_plane", "workers", "rack_a", "rack_b")
    }
    folder.mkdir()
    (folder / "host_vars").mkdir()
    for number, name in enumerate(names):
        groups[chance.choice(("control_plane", "workers")) if number else "control_plane"]["hosts"][name] = some(5)
        for group in chance.sample(("rack_a", "rack_b"), chance.randint(0, 2)):
            groups[group]["hosts"][name] = None
        if chance.random() < 0.3:
            (folder / "host_vars" / f"{name}.yml").write_text(yaml.safe_dump(some(4)))
    everybody = {"vars": {"own_address": "203.0.113.5", "own_user": "templated", **some(1)}, "children": groups}
    path = folder / chance.choice(("hosts", "hosts.yml"))
    path.write_text(yaml.safe_dump({"all": everybody}))
    return path


@pytest.mark.skipif(shutil.which("ssh") is None, reason="OpenSSH, the judge, is not installed")
@pytest.mark.parametrize("part", range(2))
def test_the_probe_goes_where_ansible_goes(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Callable[[str], None]
) -> None:
    monkeypatch.setattr("bootstrap.inventory.validate._same_address", lambda _: ())  # the pool of addresses is small
    compared = 0
    for number in range(cases(40)):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        monkeypatch.chdir(scratch)
        (scratch / "ssh.cfg").write_text("Host *\n  User configured\n  Port 2020\n")
        chance = random.Random(1000 * part + number)  # noqa: S311 - the same inventories on every run
        path = _inventory(chance, scratch / "site")
        inventory = load_inventory(path)
        ansible = by_ansible(path, [host.name for host in inventory.hosts], scratch)
        for host in inventory.hosts:
            ours = meaning([*ansible_arguments(host), host.connection.address])
            assert ours == dict(ansible[host.name].meaning), (path, host)
            command = ansible[host.name].command
            assert host.connection.python in command
            if "ansible_become" in (host.origins or {}):  # the run's inventory says it for the others as well
                expected = host.connection.become and host.connection.user != "root"
                assert (f"{host.connection.become_exe} -H -S -n" in command) == expected
            compared += 1
    figure(f"hosts reached as Ansible reaches them, part {part + 1} of 2: {compared} compared, {compared} alike")
