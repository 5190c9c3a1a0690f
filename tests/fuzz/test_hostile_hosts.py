"""One host that floods, one that is slow and one that nests among twenty: the others are reported, and in time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.unit.checks.recorded import read
from tests.unit.probe.sshd import SshServer

ROOT = Path(__file__).parents[2]
# What a host runs in place of Python: the program that is sent to it is not read.
FLOOD = "exec yes 0123456789012345678901234567890123456789"
SLOW = "while printf x; do sleep 1 || exit; done"
DEEP = "cat >/dev/null; printf '{\"os\": '; head -c 1000000 /dev/zero | tr '\\0' '['; echo"
HOSTILE = {"flood": "answer-too-long", "slow": "unreachable", "deep": "probe-failed"}
LIMIT_S, LIMIT_MIB = 35.0, 300.0


def test_three_hostile_hosts_among_twenty_harm_no_other(tmp_path: Path, figure: Callable[[str], None]) -> None:
    good = tmp_path / "answer"
    good.write_text(json.dumps(read("live-gpu-host")) + "\n", encoding="utf-8")
    scripts = {"flood": FLOOD, "slow": SLOW, "deep": DEEP, "good": f"cat >/dev/null; cat {good}"}
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    server = SshServer.start(tmp_path)
    connection = {
        "address": "127.0.0.1",
        "port": server.port,
        "user": "root",
        "key_file": str(server.folder / "client"),
        "ssh_common_args": f"-o UserKnownHostsFile={server.known_hosts} -o GlobalKnownHostsFile=/dev/null",
    }
    names = {name: str(tmp_path / name) for name in HOSTILE} | {f"gpu{n}": str(tmp_path / "good") for n in range(17)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.probe_hosts"],
            input=json.dumps({"hosts": names, "connection": connection}),
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            timeout=120,
            check=True,
        )
    finally:
        server.stop()
    found = json.loads(done.stdout)
    reported = sum(code == "facts" for code in found["hosts"].values())
    figure(
        f"a flooding, a slow and a deep-nesting host among 20: {reported} of 17 others reported in "
        f"{found['seconds']:.1f} s, controller {found['peak_mib']:.0f} MiB"
    )
    assert found["hosts"] == {**HOSTILE, **{f"gpu{n}": "facts" for n in range(17)}}
    assert found["seconds"] <= LIMIT_S
    assert found["peak_mib"] <= LIMIT_MIB
