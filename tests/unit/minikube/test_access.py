"""Root's access to a profile, by the programs that make it and take it away, with a docker of the test's own."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.access import Access
from bootstrap.errors import GpuctlError
from bootstrap.minikube import access
from bootstrap.probe.session import Completed
from tests.unit.factories import minikube_inventory
from tests.unit.minikube.machine import Machine

CONF = """apiVersion: v1
clusters:
- cluster: {certificate-authority-data: QQ==}
  name: mk
    server: https://control-plane.minikube.internal:8443
"""
DOCKER = f"""#!/bin/sh
test "$DOCKER_CONTEXT" = default || exit 9
case $1 in
exec) cat <<'END'
{CONF}END
;;
container) echo '{{"gpuctl": {{"IPAddress": "192.0.2.2"}}}}';;
esac
"""


class Root:
    """What runs as root on a host with this umask; `units` is what systemd knows of the agent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "lib" / "minikube-access"
        self.umask = 0o077
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.write("docker", DOCKER)
        self.write("systemctl", f'#!/bin/sh\necho "$1" >> {folder}/asked\ntest "$1" = is-enabled')
        self.asked = folder / "asked"

    def write(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def run(self, _session: object, _host: object, text: str, **_: Any) -> Completed:
        environment = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "DOCKER_CONTEXT": "rootless"}
        done = subprocess.run(
            [sys.executable, "-I", "-c", text], env=environment, umask=self.umask, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return Completed(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Root]:
    found = Root(tmp_path)
    monkeypatch.setattr(access, "run_python", found.run)
    monkeypatch.setattr(access, "PROFILE_ACCESS", str(found.folder))
    return found


def give(profile: str = "gpuctl") -> bool:
    return access.give_access(Machine(), minikube_inventory().hosts[0], profile, Access())


def test_people_can_see_who_is_served_and_nobody_reads_the_key(root: Root) -> None:
    give()
    mine = root.folder / "gpuctl.conf"
    assert "server: https://192.0.2.2:8443" in mine.read_text()
    assert stat.S_IMODE(mine.stat().st_mode) == 0o600
    assert stat.S_IMODE(root.folder.stat().st_mode) == 0o755
    assert root.folder.parent.stat().st_mode & 0o111 == 0o111


def test_one_profile_has_it_at_a_time(root: Root) -> None:
    give("old")
    give()
    assert [path.name for path in root.folder.iterdir()] == ["gpuctl.conf"]


def test_a_node_that_does_not_say_how_is_named(root: Root) -> None:
    root.write("docker", "#!/bin/sh\necho 'No such container: gpuctl' >&2; exit 1")
    with pytest.raises(GpuctlError, match="No such container: gpuctl"):
        give()


def test_an_agent_of_another_profile_is_left_alone(root: Root) -> None:
    give("other")
    root.asked.unlink()
    assert not access.halt_agent(Machine(), minikube_inventory().hosts[0], "gpuctl", Access())
    assert not root.asked.exists()
