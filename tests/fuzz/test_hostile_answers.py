"""60 answers that a hostile host, API or server gives, in the lanes that read them: none does anything here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import kubernetes.client
import kubernetes.config
import pytest
import yaml

from bootstrap.printable import printable
from bootstrap.ui.problems import problem_lines
from tests.fuzz import conflanes, modulelane, serverlanes
from tests.fuzz.controller import Bait, Watch
from tests.fuzz.hostlanes import (
    ANSWERS,
    RECEIPT_PLACES,
    HostLanes,
    as_answer,
    everywhere,
    in_receipts,
    one_place,
    recorded,
)
from tests.fuzz.share import cases

# One place in so many of a probe's answer is tried under `make fuzz`, by itself.
_STRIDE = 47
_ROOT = Path(__file__).parents[2]


class Tally:
    """What was tried, and what came of it."""

    def __init__(self, folder: Path) -> None:
        self.bait = Bait.lay(folder / "controller")
        self.work = folder / "work"
        self.work.mkdir()
        self.watch = Watch(self.work)
        self.answers: set[str] = set()
        self.pairs: set[tuple[str, str]] = set()
        self.calls = 0
        self.leaks: list[str] = []
        self.tracebacks: Counter[str] = Counter()

    def try_(self, kind: str, name: str, lane: str, call: Callable[[], list[str]]) -> None:
        """Have one lane read one answer, and look at what it does and shows."""
        self.answers.add(f"{kind}: {name}")
        self.pairs.add((f"{kind}: {name}", lane))
        self.calls += 1
        try:
            with self.watch.on():
                shown = printable("\n".join(call()))
        except Exception as error:  # noqa: BLE001 - a traceback for what others say is what is looked for
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.tracebacks[f"{kind}: {name}, {lane}: {error!r:.200} at {place.filename}:{place.lineno}"] += 1
            return
        if self.bait.word in shown:
            self.leaks.append(f"{kind}: {name}, {lane}")

    @property
    def harm(self) -> list[str]:
        """All that should not have happened."""
        left = [str(path) for path in self.bait.marker.parent.glob(f"{self.bait.marker.name}*")]
        return [*self.watch.seen, *self.leaks, *self.tracebacks, *left]

    def figure(self) -> str:
        """What is counted, in a line."""
        watch = self.watch
        return (
            f"hostile answers: {len(self.answers)} × lanes = {len(self.pairs)} ({self.calls} calls), "
            f"commands run: {len(watch.commands)}, files read: {len(watch.reads) + len(self.leaks)}, "
            f"files written: {len(watch.writes)}, connections: {len(watch.connections)}, "
            f"tracebacks: {self.tracebacks.total()}"
        )


@pytest.fixture
def tally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tally:
    found = Tally(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(found.work))  # where the Kubernetes client puts certificates
    monkeypatch.setenv("HOME", str(found.work))
    return found


def _hosts(tally: Tally) -> HostLanes:
    """Probes and receipts: all texts at once, those that are taken at once, and single ones."""
    lanes = HostLanes(tally.work)
    whole = cases(40) == 40
    for number, (name, text) in enumerate(tally.bait.texts().items()):
        lanes.text = text
        fixtures = list(ANSWERS) if whole else [list(ANSWERS)[number % 2]]
        for fixture in fixtures:
            document = recorded(fixture)
            documents = [lanes.taken(document, text), everywhere(document, text)]
            documents += islice(one_place(document, text), number, None, _STRIDE) if whole else []
            for at, changed in enumerate(documents if whole else documents[:1]):
                lanes.keep = at == 0 and (whole or number % 6 == 0)
                _tried(tally, lanes, "probe", name, fixture, as_answer(changed))
    texts = list(tally.bait.texts().values())
    for number, place in enumerate(RECEIPT_PLACES):
        for fixture in list(ANSWERS) if whole else [list(ANSWERS)[number % 2]]:
            for at, text in enumerate(texts if whole else [texts[number]]):
                lanes.text, lanes.keep = text, at == 0 and (whole or number % 6 == 0)
                _tried(tally, lanes, "receipt", place, fixture, as_answer(in_receipts(recorded(fixture), place, text)))
    return lanes


def _tried(tally: Tally, lanes: HostLanes, kind: str, name: str, fixture: str, answer: str) -> None:
    for lane, read in lanes.lanes.items():
        tally.try_(kind, name, lane, lambda read=read: read(fixture, answer))  # type: ignore[misc]


def _confs(tally: Tally) -> None:
    for name, change in conflanes.answers(tally.bait).items():
        for lane, read in conflanes.lanes(tally.work).items():
            text = change(conflanes.good(lane))
            tally.try_("admin.conf", name, lane, lambda read=read, text=text: read(text))  # type: ignore[misc]


def _servers(tally: Tally) -> None:
    for kind, answers, lanes in (
        ("API", serverlanes.api_answers(tally.bait), serverlanes.API_LANES),
        ("W&B", serverlanes.wandb_answers(tally.bait), serverlanes.WANDB_LANES),
    ):
        for name, reply in answers.items():
            with serverlanes.server(reply) as address:
                for lane, read in lanes.items():
                    tally.try_(kind, name, lane, lambda read=read, address=address: read(address))  # type: ignore[misc]


def _modules(tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ansible itself, in its own processes: what it does is seen by the marker, the secret and its own words."""
    done, kept, hosts = modulelane.run_playbook(tally.work, tally.bait, monkeypatch)
    control = tally.bait.marker.with_name(f"{tally.bait.marker.name}-{modulelane.CONTROL}")
    assert control.exists(), (done.status, [problem.message for problem in done.problems])
    control.unlink()
    assert set(done.hosts) == set(hosts), "a host made another one"
    assert "bait is unset" in kept
    assert kept.count("bait is ") == kept.count("bait is unset"), "a host set a variable"
    for name, host in zip(modulelane.answers(tally.bait), hosts, strict=True):
        problems = [problem for problem in done.problems if problem.host == host]
        for lane in (
            ("bootstrap", "reset", "minikube") if name != modulelane.CONTROL else ()
        ):  # all run Ansible this way
            tally.try_("module", name, lane, lambda problems=problems: [kept, *problem_lines(problems)])  # type: ignore[misc]
        broken = [problem.message for problem in problems if "Task failed" in problem.message]
        tally.tracebacks.update(f"module: {name}: {message}" for message in broken)


def templated(folder: Path, inventories: list[str]) -> dict[str, list[str]]:
    """What Ansible does with inventories of runs, by a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.templating", str(folder), *inventories],
        cwd=_ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(_ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_no_answer_does_anything_on_the_controller(
    tally: Tally, monkeypatch: pytest.MonkeyPatch, figure: Callable[[str], None]
) -> None:
    lanes = _hosts(tally)
    _confs(tally)
    _servers(tally)
    _modules(tally, monkeypatch)
    seen = templated(tally.work, lanes.inventories)
    for name in ("commands", "reads", "writes", "connections"):
        getattr(tally.watch, name).extend(seen[name])
    figure(tally.figure())
    figure(f"inventories of runs after hostile answers: {len(lanes.inventories)}, values templated: {seen['values']}")
    assert seen["changed"] == 0
    assert len(tally.answers) == 60
    assert lanes.inventories
    assert tally.harm == []


def _attacks(bait: Bait) -> Iterator[tuple[str, Callable[[], object]]]:
    """What the texts are to bring about, done outright."""
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [str(bait.marker)]}
    config = conflanes.good("verify")
    config["users"][0]["user"] = {"exec": {**run, "interactiveMode": "Never"}}
    yield "commands", lambda: serverlanes.client_of(config)
    yield "commands", lambda: yaml.unsafe_load(bait.texts()["YAML tag"])
    yield "commands", lambda: subprocess.run(["true"], check=True)
    yield "reads", lambda: bait.secret.read_text(encoding="ascii")
    yield "writes", lambda: bait.marker.write_text("", encoding="ascii")
    yield "writes", bait.marker.unlink
    yield "connections", lambda: socket.create_connection(("192.0.2.1", 80), timeout=0.01)


def test_the_watch_sees_each_kind_of_harm(tally: Tally) -> None:
    for kind, attack in _attacks(tally.bait):
        watch = Watch(tally.work)
        with watch.on(), suppress(OSError, kubernetes.config.ConfigException):
            attack()
        assert getattr(watch, kind), (kind, watch)
    with Watch(tally.work).on() as watch:
        (tally.work / "x").write_text("", encoding="ascii")
        assert watch.seen == []


def test_an_inventory_without_its_tags_does_harm(tally: Tally) -> None:
    texts = tally.bait.texts()
    hosts = {"h1": {"bait_1": texts["look-up pipe"]}, "h2": {"bait_2": texts["other delimiters"]}}
    path = tally.work / "untagged.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": hosts}}), encoding="utf-8")
    assert len(templated(tally.work, [str(path)])["commands"]) == 2
    assert tally.bait.marker.exists()
