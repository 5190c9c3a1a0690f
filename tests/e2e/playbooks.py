"""Playbooks as a person runs them, without gpuctl."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from bootstrap.content import content_root
from tests.e2e.tool import GPUCTL, Lab


def playbook(lab: Lab, name: str) -> dict[str, dict[str, int]]:
    """Run a playbook as a person does, in the folder of the project; Ansible's own figures per host."""
    recap = spoken(lab, name).partition("PLAY RECAP")[2]
    return {
        host: {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", figures)}
        for host, figures in re.findall(r"^(\S+)\s+:\s+(ok=.*)$", recap, re.MULTILINE)
    }


def spoken(lab: Lab, name: str, *options: str) -> str:
    """The same; all that Ansible prints."""
    program = Path(GPUCTL).with_name("ansible-playbook")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "GPUCTL_"))}
    done = subprocess.run(
        [program, "-i", lab.inventory, f"playbooks/{name}", *options],
        cwd=content_root(),
        env={**environment, "ANSIBLE_NOCOLOR": "1", "PATH": f"{program.parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return f"{done.stdout}\n{done.stderr}"
