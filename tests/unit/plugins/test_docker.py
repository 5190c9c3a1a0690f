"""Docker on a host: keys in daemon.json, and what the daemon is told of them."""

from __future__ import annotations

import functools
import json
import os
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bootstrap.content import playbooks_path
from bootstrap.hostside import gpuctl_apt as apt
from bootstrap.hostside import gpuctl_docker as docker
from bootstrap.hostside import gpuctl_dockerlive as live
from bootstrap.hostside import gpuctl_evidence as evidence
from bootstrap.hostside import gpuctl_filesync as filesync
from bootstrap.hostside import gpuctl_jsonfile as jsonfile
from bootstrap.hostside import gpuctl_receipts as receipts
from bootstrap.hostside import gpuctl_systemd as systemd
from bootstrap.hostside.gpuctl_hostio import HostError, Ran
from bootstrap.hostside.gpuctl_module import HostModule, answer

LOGS = {"log-driver": "json-file", "log-opts": {"max-size": "100m"}}
DEFAULTS = [{"live-restore": True}, LOGS]
NVIDIA = {"default-runtime": "nvidia"}


class Daemon:
    """A dockerd that was started at `since` with `flags`, and everything that it was told."""

    def __init__(self, place: Path) -> None:
        self.config = place / "docker" / "daemon.json"
        self.since: float | None = 1.0
        self.active, self.version = "active", "28.5.2"
        self.flags: list[str] = []
        self.told: list[str] = []
        self.info: dict[str, Any] = {"ContainersRunning": 0, "LiveRestoreEnabled": False}
        self.accepts = True
        self.containers: list[str] = []
        self.asked = 0

    def show(self, names: list[str]) -> dict[str, systemd.Unit]:
        unit = systemd.Unit(
            names[0], "loaded", self.active, "running", "enabled", self.since, stale=False, condition=True
        )
        return {names[0]: unit}

    def control(self, verb: str, _names: list[str], _timeout_s: float = 0) -> None:
        self.told.append(verb)
        if verb == "reload":
            self.info["LiveRestoreEnabled"] = self.content().get("live-restore", False)
        else:
            self.since, self.active = time.time() + 1, "active"

    def run(self, argv: list[str], *_: object) -> Ran:
        if argv[0] == "dockerd" and "--version" in argv:
            return Ran(0 if self.version else 127, f"Docker version {self.version}+dfsg4, build 89c5e8f", "")
        if argv[0] == "dockerd":
            return Ran(0 if self.accepts else 1, "", "" if self.accepts else "unknown key")
        if argv[:2] == ["docker", "ps"]:
            return Ran(0, "".join(f"{name}\n" for name in self.containers), "")
        self.asked += 1
        return Ran(0, json.dumps({**self.info, "ContainersRunning": len(self.containers)}), "")

    def content(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.config.read_text())
        return found

    def write(self, **keys: Any) -> None:
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_text(json.dumps(keys, indent=4) + "\n")


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Daemon:
    made, base = Daemon(tmp_path), str(tmp_path / "gpuctl")
    calls = ("read_before", "remember_before", "renew_before", "forget_before")
    kept = SimpleNamespace(**{name: functools.partial(getattr(receipts, name), base=base) for name in calls})
    for module in (jsonfile, filesync):
        monkeypatch.setattr(module, "receipts", kept)
    monkeypatch.setattr(evidence, "read_before", kept.read_before)
    monkeypatch.setattr(docker, "CONFIG", str(made.config))
    monkeypatch.setattr(docker, "PENDING", str(tmp_path / "run" / "pending.json"))
    monkeypatch.setattr(docker, "DATA", str(tmp_path / "data"))
    monkeypatch.setattr(docker, "flags", lambda: made.flags)
    for module in (docker, live):
        monkeypatch.setattr(module, "run", made.run)
    monkeypatch.setattr(apt, "installed", lambda: {"toolkit": apt.Package("1.20.1-1", held=True)})
    for name in ("show", "control"):
        monkeypatch.setattr(systemd, name, getattr(made, name))
    monkeypatch.setattr(systemd, "wait_active", lambda *_: None)
    return made


def configure(daemon: Daemon, component: str = "docker", **keys: Any) -> list[str]:
    del daemon
    return docker.names(docker.configure(component, keys, DEFAULTS if component == "docker" else [], check=False))


def proof(daemon: Daemon, component: str = "docker") -> str:
    return evidence.file_state(str(daemon.config), f"json-keys {component}")


def test_a_new_file_is_made_and_goes_again(daemon: Daemon) -> None:
    assert configure(daemon) == ["live-restore", "log-driver", "log-opts.max-size"]
    assert daemon.content() == {"live-restore": True, **LOGS}
    assert stat.S_IMODE(daemon.config.stat().st_mode) == 0o644
    assert configure(daemon) == []
    docker.take_out("docker", check=False)
    assert not daemon.config.parent.exists()


def test_keys_of_others_stay_and_ours_go(daemon: Daemon) -> None:
    daemon.write(**{"registry-mirrors": ["https://m"], "runtimes": {"other": {"path": "/x"}}})
    daemon.config.chmod(0o600)
    before = daemon.config.read_text()
    configure(daemon)
    docker.configure("toolkit", NVIDIA, [{"runtimes": {"nvidia": {"path": "n"}}}], check=False)
    assert daemon.content()["runtimes"] == {"other": {"path": "/x"}, "nvidia": {"path": "n"}}
    assert stat.S_IMODE(daemon.config.stat().st_mode) == 0o600
    docker.take_out("toolkit", check=False)
    assert "default-runtime" not in daemon.content()
    docker.take_out("docker", check=False)
    assert daemon.config.read_text() == before


def test_a_conflict_names_key_both_values_and_fix(daemon: Daemon) -> None:
    daemon.write(**{"default-runtime": "crun"})
    with pytest.raises(HostError) as caught:
        configure(daemon, "toolkit", **NVIDIA)
    assert caught.value.code == "docker-config-conflict"
    assert 'default-runtime: "crun"' in caught.value.message
    assert '"nvidia"' in caught.value.message
    assert "remove default-runtime" in caught.value.fix
    assert daemon.content() == {"default-runtime": "crun"}


def test_a_flag_that_says_the_same_is_a_conflict_and_lets_a_default_be(daemon: Daemon) -> None:
    daemon.flags = ["-H", "fd://", "--log-driver=journald", "--add-runtime=x=/y"]
    assert configure(daemon) == ["live-restore"]
    with pytest.raises(HostError, match="--add-runtime=x=/y"):
        configure(daemon, "toolkit", runtimes={"nvidia": {"path": "n"}})


@pytest.mark.parametrize("word", ["-s", "-soverlay2", "-s=overlay2", "--storage-driver=overlay2"])
def test_a_flag_of_one_letter_is_seen(daemon: Daemon, word: str) -> None:
    daemon.flags = ["-H", "fd://", word]
    with pytest.raises(HostError, match=f"started with {word}"):
        configure(daemon, **{"storage-driver": "overlay2"})
    with pytest.raises(HostError, match="started with -H"):
        configure(daemon, hosts=["fd://"])
    configure(daemon, **{"max-concurrent-downloads": 3})


def test_a_key_that_its_owner_changed_since_stays(daemon: Daemon) -> None:
    configure(daemon, **{"max-concurrent-downloads": 3})
    configure(daemon, **{"max-concurrent-downloads": 4})
    tree = daemon.content()
    tree["max-concurrent-downloads"] = 9
    daemon.config.write_text(json.dumps(tree))
    docker.take_out("docker", check=False)
    assert daemon.content() == {"max-concurrent-downloads": 9}


def test_a_node_of_a_swarm_has_no_live_restore(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "data" / "swarm").mkdir(parents=True)
    (tmp_path / "data" / "swarm" / "docker-state.json").touch()
    assert configure(daemon) == ["log-driver", "log-opts.max-size"]


def test_what_dockerd_refuses_is_not_written(daemon: Daemon) -> None:
    daemon.accepts = False
    with pytest.raises(HostError) as caught:
        configure(daemon, nonsense=1)
    assert caught.value.code == "docker-config-invalid"
    assert not daemon.config.exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1, "a": 2}'])
def test_a_broken_file_is_left_and_named(daemon: Daemon, text: str) -> None:
    daemon.write()
    daemon.config.write_text(text)
    with pytest.raises(HostError) as caught:
        configure(daemon)
    assert caught.value.code == "docker-config-invalid"
    assert daemon.config.read_text() == text


def test_an_owner_s_link_is_followed(daemon: Daemon, tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    real.write_text('{"debug": true}\n')
    daemon.config.parent.mkdir()
    daemon.config.symlink_to(real)
    configure(daemon)
    assert daemon.config.is_symlink()
    assert json.loads(real.read_text())["debug"] is True


def test_evidence_sees_our_keys_only(daemon: Daemon) -> None:
    daemon.write(debug=True)
    configure(daemon)
    recorded = proof(daemon)
    daemon.write(**{**daemon.content(), "debug": False, "labels": ["a=b"]})
    assert proof(daemon) == recorded
    daemon.write(**{**daemon.content(), "live-restore": False})
    assert proof(daemon) != recorded
    assert configure(daemon) == ["live-restore"], "an edit of ours is undone"
    assert proof(daemon) == recorded
    daemon.config.write_text("{")
    assert proof(daemon) == "keys:invalid"
    daemon.config.unlink()
    assert proof(daemon) == "absent"


def test_what_is_wanted_no_more_goes_and_is_forgotten(daemon: Daemon) -> None:
    configure(daemon, labels=["a=b"])
    assert configure(daemon) == ["labels"]
    assert ("labels",) not in jsonfile.owned_by("docker", str(daemon.config))


def test_keys_that_can_be_read_anew_take_a_reload(daemon: Daemon) -> None:
    configure(daemon, "toolkit", **NVIDIA)
    assert docker.follow([], check=True) == ["reload docker.service"]
    assert docker.follow([], check=False) == ["reload docker.service"]
    assert daemon.told == ["reload"]
    assert docker.follow([], check=False) == []


def test_other_keys_take_a_restart_that_containers_survive(daemon: Daemon) -> None:
    daemon.containers = ["a", "b"]
    configure(daemon)
    assert docker.follow([], check=False) == ["restart docker.service"]
    assert daemon.told == ["reload", "restart"], "live-restore is in force first"
    assert docker.follow([], check=False) == []


def test_a_daemon_that_started_since_follows_already(daemon: Daemon) -> None:
    configure(daemon)
    daemon.since = time.time() + 5
    assert docker.follow([], check=False) == []


def test_a_kill_between_file_and_reload_is_made_good(daemon: Daemon) -> None:
    configure(daemon, "toolkit", **NVIDIA)
    assert configure(daemon, "toolkit", **NVIDIA) == []
    assert docker.follow([], check=False) == ["reload docker.service"]


@pytest.mark.usefixtures("daemon")
def test_a_program_that_is_looked_up_at_the_start_takes_a_restart(tmp_path: Path) -> None:
    (tmp_path / "hook").touch()
    assert docker.follow([str(tmp_path / "hook")], check=False) == ["restart docker.service"]
    assert docker.follow([str(tmp_path / "hook")], check=False) == []


def test_an_owner_s_own_edit_restarts_nothing(daemon: Daemon) -> None:
    """They may not want it in force yet."""
    daemon.write(debug=True)
    assert docker.follow([], check=False) == []


def test_a_daemon_that_does_not_run_is_started_or_left(daemon: Daemon) -> None:
    daemon.active = "inactive"
    assert docker.follow([], check=True, enabled=False) == []
    assert docker.follow([], check=False) == ["start docker.service"]


@pytest.mark.parametrize(("version", "refused"), [("20.10.24", True), ("24.0.7", True), ("25.0.0", False), ("", False)])
def test_an_old_engine_is_refused(daemon: Daemon, version: str, refused: bool) -> None:
    daemon.version = version
    if not refused:
        assert docker.refuse_old(25) == (version + "+dfsg4" if version else None)
        return
    with pytest.raises(HostError) as caught:
        docker.refuse_old(25)
    assert caught.value.code == "minikube-docker-old"


def test_the_mode_stat_sees_another_file_of_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "minikube"
    path.write_bytes(b"a" * 10)
    os.utime(path, ns=(5, 5))
    first = evidence.file_state(str(path), evidence.STAT)
    assert first.startswith("stat:10:5,0")
    path.write_bytes(b"b" * 10)
    assert evidence.file_state(str(path), evidence.STAT) != first


def check(newer_than: tuple[str, ...] = (), packages: tuple[dict[str, Any], ...] = (), **keys: Any) -> None:
    """What the role's check looks at, without the log driver that takes a restart by itself."""
    live.refuse_end(docker.plan("docker", keys, [{"live-restore": True}]), newer_than, packages)


def refused(*given: Any, **keys: Any) -> HostError:
    with pytest.raises(HostError) as caught:
        check(*given, **keys)
    assert caught.value.code == "docker-containers-end"
    return caught.value


def test_containers_that_would_end_are_named_before_anything_is_changed(daemon: Daemon) -> None:
    daemon.write(**{"live-restore": False})
    daemon.containers = ["train", "web", "db", "mail", "wiki"]
    error = refused(**LOGS)
    assert error.message.endswith("would end with it: train, web, db and 2 more")
    assert f'set "live-restore": true in {daemon.config}, stop them, or' in error.fix
    assert "docker_end_containers=true" in error.fix
    assert daemon.content() == {"live-restore": False}
    assert daemon.told == []
    daemon.write(**{"live-restore": True})  # the way on
    check(**LOGS)


def test_containers_that_live_on_and_hosts_without_any_are_no_reason(daemon: Daemon) -> None:
    daemon.containers = ["train"]
    check(**LOGS)  # live-restore is among the new keys
    daemon.flags, daemon.info["LiveRestoreEnabled"] = ["--live-restore"], True
    check(**LOGS)
    daemon.flags, daemon.containers = ["--live-restore=false"], []
    check(**LOGS)
    daemon.active, daemon.containers = "inactive", ["train"]
    check(**LOGS)


def test_the_way_on_fits_what_keeps_live_restore_off(daemon: Daemon, tmp_path: Path) -> None:
    daemon.containers = ["train"]
    daemon.flags = ["--live-restore=false"]
    assert refused(**LOGS).fix.startswith("remove the flag --live-restore=false")
    daemon.flags = []
    (tmp_path / "data" / "swarm").mkdir(parents=True)
    (tmp_path / "data" / "swarm" / "docker-state.json").touch()
    assert refused(**LOGS).fix.startswith("stop them")


def test_docker_is_asked_only_where_a_restart_is_due(daemon: Daemon, tmp_path: Path) -> None:
    daemon.write(**{"live-restore": False})
    daemon.containers = ["train"]
    toolkit = {"name": "toolkit", "version": "1.20.1-*"}
    check((str(tmp_path / "hook"),), (toolkit, {"name": "toolkit", "version": None}), **NVIDIA)
    assert daemon.asked == 0
    refused((), ({**toolkit, "version": "1.21.0-*"},))
    refused((), ({"name": "nothing"},))
    (tmp_path / "hook").touch()
    refused((str(tmp_path / "hook"),))
    (tmp_path / "hook").unlink()
    docker.configure("docker", {**LOGS}, [], check=False)
    refused(**LOGS)  # written by a run that was killed: the daemon does not follow it yet


@pytest.mark.parametrize(("allowed", "code"), [(False, "docker-containers-end"), (True, None)])
def test_the_consent_of_the_machine_s_owner(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, allowed: bool, code: str | None
) -> None:
    monkeypatch.syspath_prepend(str(playbooks_path()))
    daemon.write(**{"live-restore": False})
    daemon.containers = ["train"]
    given = {"component": "docker", "state": "checked", "at_least": 25, "keys": LOGS, "defaults": [], "users": []}
    given |= {"newer_than": [], "packages": [], "end_containers": allowed}
    assert answer("gpuctl_docker", HostModule(given)).get("code") == code
    assert daemon.content() == {"live-restore": False}


@pytest.mark.parametrize(
    ("there", "changed"),
    [
        ({"nvidia": {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": "/x"}}}, ["default-runtime"]),
        ({"nvidia": {"path": "/opt/nvidia-container-runtime", "runtimeArgs": []}}, ["default-runtime"]),
        ({"crun": {"runtimeType": "io.containerd.runc.v2"}}, ["default-runtime", "runtimes.nvidia.path"]),
    ],
)
def test_a_runtime_of_any_form_stays(there: dict[str, Any], changed: list[str], daemon: Daemon) -> None:
    daemon.write(runtimes=there)
    keys = {"default-runtime": "nvidia"}
    defaults = [{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}]
    assert docker.names(docker.configure("toolkit", keys, defaults, check=False)) == changed
    for name, form in there.items():
        assert daemon.content()["runtimes"][name] == form
