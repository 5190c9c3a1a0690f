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
import yaml

from bootstrap.access import Access
from bootstrap.errors import GpuctlError
from bootstrap.hostside.gpuctl_kube import kubeconfig_server, kubeconfig_value
from bootstrap.minikube import access
from bootstrap.probe.session import Completed
from tests.unit.certificates import admin_conf, admin_config, certificate, key_pem
from tests.unit.factories import minikube_inventory
from tests.unit.minikube.machine import Machine

CONF = admin_conf("https://control-plane.minikube.internal:8443")
DOCKER = f"""#!/bin/sh
test "$DOCKER_CONTEXT" = default || exit 9
case $1 in
exec) cat <<'END'
{CONF}
END
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


def test_root_gets_the_checked_values_and_finds_them_line_by_line(root: Root) -> None:
    give()
    text = (root.folder / "gpuctl.conf").read_text()
    assert kubeconfig_server(text) == "https://192.0.2.2:8443"
    assert kubeconfig_value(text, "certificate-authority") == certificate("ca", "ca").encode()
    assert kubeconfig_value(text, "client-key") == key_pem("admin").encode()


@pytest.mark.parametrize("change", [{"exec": {"command": "sh"}}, {"client-key": "/etc/shadow"}, {"tokenFile": "/x"}])
def test_what_a_node_has_more_is_refused_and_nothing_is_written(root: Root, change: dict[str, Any]) -> None:
    config = admin_config("https://control-plane.minikube.internal:8443")
    config["users"][0]["user"].update(change)
    root.write("docker", DOCKER.replace(CONF, yaml.safe_dump(config)))
    with pytest.raises(GpuctlError) as caught:
        give()
    [problem] = caught.value.problems
    assert (problem.code, problem.host) == ("kubeconfig-refused", minikube_inventory().hosts[0].name)
    assert not root.folder.exists()


def test_a_node_that_floods_is_cut_off(root: Root) -> None:
    root.write("docker", DOCKER.replace(CONF, "x" * 500_000))
    with pytest.raises(GpuctlError, match="more than 64 KiB"):
        give()


def test_an_address_that_is_none_is_not_written(root: Root) -> None:
    root.write("docker", DOCKER.replace("192.0.2.2", "gpu1 proxy: x"))
    with pytest.raises(GpuctlError, match="its node has no address"):
        give()


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
