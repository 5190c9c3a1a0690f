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
    program = Path(GPUCTL).with_name("ansible-playbook")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "GPUCTL_"))}
    done = subprocess.run(
        [program, "-i", lab.inventory, f"playbooks/{name}"],
        cwd=content_root(),
        env={**environment, "ANSIBLE_NOCOLOR": "1", "PATH": f"{program.parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    recap = done.stdout.partition("PLAY RECAP")[2]
    return {
        host: {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", figures)}
        for host, figures in re.findall(r"^(\S+)\s+:\s+(ok=.*)$", recap, re.MULTILINE)
    }
