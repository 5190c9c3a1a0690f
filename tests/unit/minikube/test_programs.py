"""What gpuctl has run on a machine, with real processes and a docker and a minikube of the test's own."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.minikube import look as looking
from bootstrap.minikube import process
from bootstrap.minikube.events import Event, Remark, Step
from bootstrap.minikube.look import look
from bootstrap.minikube.options import Bundle
from bootstrap.minikube.process import run_minikube
from bootstrap.minikube.seed import load_addons, purge, seed
from bootstrap.minikube.state import Phase, phase_of
from bootstrap.probe import local
from bootstrap.probe.local import LocalSession
from tests.unit.minikube.machine import LABELS, Channel, Machine, error, event, node, record, step

Write = Callable[[str, str], str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "home"
    found.mkdir()
    monkeypatch.setenv("HOME", str(found))
    return found


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a program that is found before the system's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(local, "SYSTEM_PATH", f"{folder}:{local.SYSTEM_PATH}")
    monkeypatch.setattr(looking, "_PROGRAM", looking._PROGRAM.replace("/usr/local/bin", str(folder)))

    def write(name: str, text: str) -> str:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    return write


@pytest.fixture
def session() -> Iterator[LocalSession]:
    found = LocalSession()
    yield found
    found.close()


def profile(home: Path, text: str) -> None:
    folder = home / ".minikube" / "profiles" / "gpuctl"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(text, encoding="utf-8")


def test_a_look_at_a_profile_that_runs(
    home: Path, program: Write, session: LocalSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile(home, json.dumps(record()))
    (home / ".kube").mkdir()
    kubeconfig = (
        "current-context: lab\ncontexts: [{name: gpuctl, context: {cluster: gpuctl}}]\n"
        'clusters: [{name: gpuctl, cluster: {server: "https://127.0.0.1:32771"}}]\n'
    )
    (home / ".kube" / "config").write_text(kubeconfig, encoding="utf-8")
    program("minikube", "case $1 in version) echo v1.38.1;; *) exit 1;; esac")
    ports = '{"8443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32771"}]}'
    nodes = json.dumps({"items": [node(3)]})
    labels = json.dumps(LABELS)
    state = f'"status": "running", "network": {{"Ports": {ports}}}'
    (tmp_path / "access").mkdir()
    for name in ("gpuctl", "other", "gone"):
        (tmp_path / "access" / f"{name}.conf").touch()
    monkeypatch.setattr(looking, "PROFILE_ACCESS", str(tmp_path / "access"))
    program(
        "docker",
        f"""test "$DOCKER_CONTEXT" = default || exit 9
        test "$5" = gone && {{ echo "No such container: gone" >&2; exit 1; }}
        case $1 in
        version) echo '{{"Version": "28.5.2"}}';;
        container) echo '{{"name": "/gpuctl", {state}, "labels": {labels}}}';;
        volume) echo '{{"name": "gpuctl", "labels": {labels}}}';;
        network) echo '{{"name": "gpuctl", "labels": null}}';;
        exec) if test "$3" = systemctl; then echo active
              else test "$3" = /var/lib/minikube/binaries/v1.36.3/kubectl && echo '{nodes}'; fi;;
        esac""",
    )
    seen = look(session, "box", "gpuctl")
    assert phase_of(seen) is Phase.RUNNING  # without asking minikube, which takes longer than all else together
    assert (seen.version, seen.docker_version, seen.home) == ("v1.38.1", "28.5.2", str(home))
    assert seen.node is not None
    assert (seen.node.name, seen.node.ready, seen.node.gpus) == ("gpuctl", True, 3)
    assert (seen.remains, seen.taken) == (("volume",), ("network",))
    assert (seen.served, seen.others) == (True, ("other",))
    assert seen.kubeconfig == kubeconfig
    assert "lab" not in repr(seen)
    assert seen.root == (os.getuid() == 0)


@pytest.mark.usefixtures("home")
def test_a_look_at_a_machine_without_anything(program: Write, session: LocalSession) -> None:
    program("docker", "exit 127")
    program("minikube", "exit 127")
    seen = look(session, "box", "gpuctl")
    assert phase_of(seen) is Phase.ABSENT
    assert (seen.version, seen.docker_version, seen.config, seen.bundle) == ("", "", None, Bundle())


def test_a_look_at_a_profile_while_docker_is_down(home: Path, program: Write, session: LocalSession) -> None:
    profile(home, json.dumps(record()))
    program("docker", "echo null; echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    program("minikube", f"echo '{error('GUEST_STATUS', 80, 'host: state')}'; exit 80")
    seen = look(session, "box", "gpuctl")
    assert phase_of(seen) is Phase.UNKNOWN
    assert "Cannot connect" in seen.docker.err


@pytest.mark.usefixtures("home", "program")
def test_a_look_that_fails(session: LocalSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_PROGRAM", "raise SystemExit('no memory')")
    with pytest.raises(GpuctlError, match="no memory") as caught:
        look(session, "box", "gpuctl")
    assert (caught.value.exit_code, caught.value.problems[0].code) == (ExitCode.PREFLIGHT, "probe-failed")


def test_a_call_tells_its_events_while_it_runs(program: Write, session: LocalSession) -> None:
    name = program(
        "minikube",
        f"""echo '{step(1, "begin")}'
echo 'for people'
echo "$SECRET of $2" >&2
printf '%s' '{event("warning", message="last, without an end of line")}'
exit 23""",
    )
    heard: list[Event] = []
    done = run_minikube(
        session, [name, "start", "--profile=g1"], timeout_s=20, environment={"SECRET": "the word"}, heard=heard.append
    )
    assert done.rc == 23
    assert heard == [Step(1, 19, "begin"), Remark("for people"), Remark("last, without an end of line", warning=True)]
    assert done.events == tuple(heard)
    assert done.said == "for people\nthe word of --profile=g1"


def test_a_call_of_what_is_not_there(session: LocalSession) -> None:
    done = run_minikube(session, ["/nowhere/minikube", "start"], timeout_s=20)
    assert (done.rc, done.events) == (127, ())
    assert "/nowhere/minikube" in done.said


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def sleeping(program: Write, ended: Path) -> str:
    """A minikube that says one thing, works on, and has a child that does so; SIGTERM is noted."""
    return program(
        "minikube",
        f"""trap 'echo done > {ended}; exit 1' TERM
sleep 60 & echo $! > {ended}.part; mv {ended}.part {ended}.child
echo '{step(1, "begin")}'
wait""",
    )


def gone(path: Path) -> bool:
    return not Path("/proc", path.read_text().strip()).exists()


def test_ctrl_c_ends_it_with_all_that_it_started(tmp_path: Path, program: Write, session: LocalSession) -> None:
    name = sleeping(program, tmp_path / "ended")

    def press(_event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_minikube(session, [name, "start"], timeout_s=60, heard=press)
    until((tmp_path / "ended").exists)
    until(lambda: gone(tmp_path / "ended.child"))


def test_a_call_that_takes_too_long_is_ended_and_named(tmp_path: Path, program: Write, session: LocalSession) -> None:
    name = sleeping(program, tmp_path / "ended")
    with pytest.raises(GpuctlError, match=r"did not end within 1 s; its last words: begin$") as caught:
        run_minikube(session, [name, "start", "--profile=g1"], timeout_s=1)
    [problem] = caught.value.problems
    assert problem.code == "minikube-failed"
    assert "`minikube logs -p g1`" in problem.fix
    until((tmp_path / "ended").exists)


def test_a_session_that_ends_ends_it_too(tmp_path: Path, program: Write) -> None:
    name = sleeping(program, tmp_path / "ended")
    session = LocalSession()
    channel = session.open_exec(["python3", "-I", "-c", process._PROGRAM, "{}", name, "start"], 30)
    until((tmp_path / "ended.child").exists)
    session.close()
    assert channel.closed
    until(lambda: gone(tmp_path / "ended.child"))


class Overtaken(Channel):
    """Over ssh the exit status may come before the last words."""

    def __init__(self, last: str) -> None:
        super().__init__((), "", 80)
        self.eof_received = False
        self._last = f"{last}\n".encode()
        self._asked = 0

    def recv_ready(self) -> bool:
        self._asked += 1
        if self._asked == 3:
            self._out, self.eof_received = [self._last], True
        return super().recv_ready()


@pytest.mark.parametrize("comes", [True, False])
def test_last_words_are_waited_for_a_while(comes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = error("GUEST_PROVISION", 80, "no GPUs")
    channel = Overtaken(failed) if comes else Channel((), "", 80)
    channel.eof_received = False
    monkeypatch.setattr(process, "_LAST_WORDS_S", 5.0 if comes else 0.1)
    monkeypatch.setattr(Machine, "open_exec", lambda *_: channel)
    done = run_minikube(Machine(), ["minikube", "start"], timeout_s=20)
    assert done.rc == 80
    assert [str(item) for item in done.events] == (
        ["Failure(message='no GPUs', name='GUEST_PROVISION', exit_code=80, advice='')"] if comes else []
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    folder = tmp_path / "bundle"
    for name, text in {
        "cache/linux/amd64/v1.36.3/kubeadm": "a program",
        "cache/images/amd64/registry/pause_3.10": "an image",
        "node/kicbase.tar": "a node",
        "addons/plug in.tar": "an addon",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "cache/linux/amd64/v1.36.3/kubeadm").chmod(0o755)
    return Bundle(str(folder), base_image="local/kicbase:v1")


def test_a_bundle_is_put_where_minikube_looks(
    home: Path, program: Write, session: LocalSession, bundle: Bundle, tmp_path: Path
) -> None:
    program("docker", f'echo "$@" >> {tmp_path}/asked; test "$1" = load')
    assert sorted(seed(session, bundle, "box")) == [
        "images/amd64/registry/pause_3.10",
        "kicbase.tar",
        "linux/amd64/v1.36.3/kubeadm",
    ]
    kubeadm = home / ".minikube/cache/linux/amd64/v1.36.3/kubeadm"
    assert kubeadm.read_text() == "a program"
    assert os.access(kubeadm, os.X_OK)
    assert (tmp_path / "asked").read_text().splitlines() == [
        "image inspect local/kicbase:v1",
        f"load --input {bundle.path}/node/kicbase.tar",
    ]


def test_what_is_there_is_left_alone(
    home: Path, program: Write, session: LocalSession, bundle: Bundle, tmp_path: Path
) -> None:
    program("docker", f'echo "$@" >> {tmp_path}/asked')
    seed(session, bundle, "box")
    image = home / ".minikube/cache/images/amd64/registry/pause_3.10"
    image.write_text("an IMAGE")  # of the same size: it may be in use
    (home / ".minikube/cache/linux/amd64/v1.36.3/kubeadm").write_text("half")
    assert seed(session, bundle, "box") == ("linux/amd64/v1.36.3/kubeadm",)
    assert image.read_text() == "an IMAGE"
    assert "load" not in (tmp_path / "asked").read_text()


def test_only_what_the_bundle_brought_is_purged(
    home: Path, program: Write, session: LocalSession, bundle: Bundle
) -> None:
    program("docker", "exit 0")
    cache = home / ".minikube/cache"
    mine = cache / "images/amd64/registry/mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("as in the bundle")
    (Path(bundle.path) / "cache/images/amd64/registry/mine").write_text("as in the bundle")
    seed(session, bundle, "box")
    (cache / "linux/amd64/v1.35.1").mkdir()
    (cache / "linux/amd64/v1.35.1/kubeadm").write_text("of minikube's own")
    (cache / "images/amd64/registry/pause_3.10").write_text("another image of that name")
    assert purge(session, "gpuctl", "box") == (1, ())
    assert sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()) == [
        "images/amd64/registry/mine",
        "images/amd64/registry/pause_3.10",
        "linux/amd64/v1.35.1/kubeadm",
    ]
    assert not (cache / "linux/amd64/v1.36.3").exists()
    assert purge(session, "gpuctl", "box") == (0, ())


def test_nothing_is_purged_while_there_are_other_profiles(
    home: Path, program: Write, session: LocalSession, bundle: Bundle
) -> None:
    program("docker", "exit 0")
    seed(session, bundle, "box")
    profile(home, "{}")
    assert purge(session, "gpuctl", "box")[0] == 2
    seed(session, bundle, "box")
    assert purge(session, "g2", "box") == (0, ("gpuctl",))
    assert (home / ".minikube/cache/images/amd64/registry/pause_3.10").exists()


@pytest.mark.usefixtures("home")
def test_a_node_image_that_docker_refuses(program: Write, session: LocalSession, bundle: Bundle) -> None:
    program("docker", "echo 'no space left on device' >&2; exit 1")
    with pytest.raises(GpuctlError, match="no space left on device") as caught:
        seed(session, bundle, "box")
    assert caught.value.problems[0].code == "minikube-bundle-invalid"


def test_addons_are_loaded_into_the_node(program: Write, session: LocalSession, bundle: Bundle, tmp_path: Path) -> None:
    name = program("minikube", f'echo "$@" >> {tmp_path}/asked')
    assert load_addons(session, bundle, "gpuctl", name, "box") is None
    assert (tmp_path / "asked").read_text() == f"--profile gpuctl image load {bundle.path}/addons/plug in.tar\n"
    program("minikube", "echo 'no such node' >&2; exit 85")
    problem = load_addons(session, bundle, "gpuctl", name, "box")
    assert problem is not None
    assert (problem.code, problem.details) == ("minikube-addon-image", "no such node")
