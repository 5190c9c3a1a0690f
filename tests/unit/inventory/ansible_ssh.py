"""How Ansible itself reaches hosts: its own ssh connection, with a program in the place of ssh that notes its words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootstrap.content import ansible_config

_NOTE = """#!{python} -IS
import json, os, sys
with open(os.path.join(os.path.dirname(sys.argv[0]), "words"), "a") as stream:
    stream.write(json.dumps(sys.argv[1:]) + chr(10))
sys.exit(1)
"""
# What decides which machine is reached, as whom and how.
_KEYS = ("hostname", "user", "port", "identityfile", "proxyjump", "proxycommand", "hostkeyalias", "userknownhostsfile")


@dataclass(frozen=True, slots=True)
class Reached:
    """`meaning` is what `ssh -G` says of the words that Ansible gave ssh; `command` is what was to run on the host."""

    meaning: Mapping[str, tuple[str, ...]]
    command: str


def by_ansible(inventory: Path, names: Iterable[str], scratch: Path) -> dict[str, Reached]:
    """Name in the inventory → how `ansible -m command` would reach the host."""
    programs = {name: scratch / "bin" / name / "ssh" for name in names}
    for program in programs.values():
        program.parent.mkdir(parents=True)
        program.write_text(_NOTE.format(python=sys.executable))
        program.chmod(0o755)
    instead = {"ansible_ssh_executable": f"{scratch}/bin/{{{{ inventory_hostname }}}}/ssh", "ansible_ssh_retries": 0}
    argv = [str(Path(sys.executable).with_name("ansible")), ",".join(programs), "-i", str(inventory), "-f", "4"]
    argv += ["-m", "ansible.builtin.command", "-a", "true", "-e", json.dumps(instead)]
    variables = {"ANSIBLE_CONFIG": str(ansible_config()), "ANSIBLE_LOCAL_TEMP": str(scratch / "tmp")}
    done = subprocess.run(
        argv,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    noted = {name: program.with_name("words") for name, program in programs.items()}
    missing = [name for name, file in noted.items() if not file.is_file()]
    assert not missing, f"{missing}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return {name: _reached(file.read_text().splitlines()) for name, file in noted.items()}


def _reached(noted: Sequence[str]) -> Reached:
    calls = [json.loads(line) for line in noted]
    return Reached(meaning(calls[0][:-1]), "\n".join(call[-1] for call in calls))


def meaning(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What OpenSSH makes of these words, as far as it decides where the way leads (`ssh -G`)."""
    done = subprocess.run(["ssh", "-G", *words], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, (words, done.stderr)
    found: dict[str, tuple[str, ...]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        if key in _KEYS:
            found[key] = (*found.get(key, ()), value)
    return found
