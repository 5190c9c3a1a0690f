"""A person who works on a test host, and has gpuctl there: no ssh, no root, sudo by password."""

from __future__ import annotations

import json
import shlex
import subprocess
import sysconfig
import tarfile
from pathlib import Path
from typing import Any

from tests.e2e.tool import DEADLINE_S, Lab

ROOT = Path(__file__).parents[2]
USER, PASSWORD = "ann", "correct horse"
_HOME = f"/home/{USER}/work"
# What only the project's own checks need.
_LEFT_OUT = ("mypy", "ruff", "hypothesis", "ansiblelint", "__editable__", "_pytest", "yamllint")
_INSTALL = r"""
set -eu
python3 -m venv --without-pip /opt/gpuctl-here/venv
site=$(/opt/gpuctl-here/venv/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '/opt/gpuctl-here/packages\n/opt/gpuctl-here/source\n' > "$site/gpuctl.pth"
program() {
  printf '#!/opt/gpuctl-here/venv/bin/python3\nimport sys\nfrom %s import main\nsys.exit(main())\n' "$2" > "$1"
  chmod 755 "$1"
}
cd /opt/gpuctl-here/venv/bin
program gpuctl bootstrap.cli.main
program ansible-playbook ansible.cli.playbook
ln -sf /opt/gpuctl-here/venv/bin/gpuctl /usr/local/bin/gpuctl
chmod -R a+rX /opt/gpuctl-here
cd /
useradd --create-home --shell /bin/bash "$1"
printf '%s:%s\n' "$1" "$2" | chpasswd
printf '%s ALL=(ALL) ALL\n' "$1" > "/etc/sudoers.d/$1"
install -d -m 700 -o "$1" -g "$1" "$3"
"""


class Researcher:
    """`environment` is what the person has set; files of theirs are in one folder."""

    def __init__(self, lab: Lab, host: str) -> None:
        self.lab = lab
        self.host = host
        self.environment: dict[str, str] = {}
        self._install()

    def run(self, *command: str, expect: int | None = 0) -> str:
        """A command as that person, in their folder; also what it says on standard error."""
        return self._run(command, "2>&1", expect)

    def gpuctl(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """`gpuctl ... --output json`: its document."""
        document: dict[str, Any] = json.loads(self._run(("gpuctl", *arguments, "--output", "json"), "", expect))
        return document

    def _run(self, command: tuple[str, ...], redirected: str, expect: int | None) -> str:
        assigned = [f"{name}={value}" for name, value in self.environment.items()]
        line = f"cd {_HOME} && {shlex.join(['env', *assigned, *command])} {redirected} < /dev/null"
        return self.lab.ssh(self.host, "su", "-", USER, "-c", line, expect=expect, deadline_s=DEADLINE_S)

    def write(self, name: str, text: str) -> str:
        """A file that nobody else can read; its path."""
        path = f"{_HOME}/{name}"
        script = f"umask 077 && cat > {shlex.quote(path)} && chown {USER}: {shlex.quote(path)}"
        self.lab.ssh(self.host, "sh", "-c", script, stdin=text)
        return path

    def _install(self) -> None:
        """This checkout, and the packages that it runs with, on the host."""
        packages = Path(sysconfig.get_path("purelib"))
        kept = [path for path in sorted(packages.iterdir()) if not path.name.lstrip("_").startswith(_LEFT_OUT)]
        tracked = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.split("\n")  # fmt: skip
        self._send("packages", [(path, path.name) for path in kept])
        self._send("source", [(ROOT / name, name) for name in tracked if name and (ROOT / name).is_file()])
        self.lab.ssh(self.host, "bash", "-s", USER, PASSWORD, _HOME, stdin=_INSTALL)

    def _send(self, folder: str, files: list[tuple[Path, str]]) -> None:
        from bootstrap.testvm.lab import ssh_command

        target = f"/opt/gpuctl-here/{folder}"
        command = [*ssh_command(self.lab.name, self.host), f"mkdir -p {target} && tar x -C {target}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
            assert child.stdin is not None
            with tarfile.open(fileobj=child.stdin, mode="w|") as archive:
                for path, name in files:
                    archive.add(path, name)
            child.stdin.close()
        assert child.returncode == 0, f"{folder} did not get onto {self.host}"
