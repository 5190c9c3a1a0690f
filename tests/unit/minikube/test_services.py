"""A Launch agent and an export beside a profile: what the options make of the inventory, and when they are had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.apply.minikube_host import Prepared
from bootstrap.apply.results import HostOutcome, Outcome
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import LAUNCH_AGENT, NFS_SERVER
from bootstrap.minikube import down, up
from bootstrap.minikube.services import Services, with_services
from bootstrap.ui.minikube import down_screen
from tests.unit.minikube.conftest import Lane
from tests.unit.minikube.machine import Machine

AGENT = Services(launch_agent=True, queues=("gpus",), entity="vision")


def test_the_options_put_the_host_into_the_groups(lane: Lane) -> None:
    given = replace(
        AGENT, max_jobs=4, base_url="http://w:8080", api_key_file=Path("/k/wandb.key"), nfs_export="/srv/data"
    )
    host = with_services(lane.inventory, given).hosts[0]
    assert {LAUNCH_AGENT, NFS_SERVER} <= host.groups
    settings = {name: host.settings[name] for name in host.explicit if name.startswith(("launch", "nfs"))}
    assert settings == {
        "launch_agent_queues": ["gpus"],
        "launch_agent_entity": "vision",
        "launch_agent_max_jobs": 4,
        "launch_agent_base_url": "http://w:8080",
        "launch_agent_api_key_file": "/k/wandb.key",
        "nfs_server_path": "/srv/data",
    }


def test_without_options_the_inventory_stays_as_it_is(lane: Lane) -> None:
    # WANDB_ENTITY and WANDB_BASE_URL are set on many machines, and ask for nothing by themselves.
    given = Services(entity="vision", base_url="http://w:8080")
    assert with_services(lane.inventory, given) is lane.inventory


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (replace(AGENT, queues=()), "--launch-agent needs a queue"),
        (replace(AGENT, entity=""), "--launch-agent needs the user or team"),
        (Services(queues=("gpus",)), "--queue and --max-jobs are about the Launch agent"),
        (Services(max_jobs=2), "--queue and --max-jobs are about the Launch agent"),
        (replace(AGENT, max_jobs=-2), "`launch_agent_max_jobs` must be between"),
        (replace(AGENT, base_url="ftp://w"), "`launch_agent_base_url` must match"),
        (Services(nfs_export="data"), "`nfs_server_path` must match"),
    ],
)
def test_what_cannot_be_is_refused(lane: Lane, given: Services, words: str) -> None:
    with pytest.raises(GpuctlError) as caught:
        with_services(lane.inventory, given)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.problems[0].message.startswith(words)
    assert caught.value.problems[0].fix


class Beside:
    """What is done as root beside the profile, in order."""

    def __init__(self, lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lane = lane
        self.done: list[str] = []
        self.halted = False
        self.filled = Prepared(ExitCode.OK, lane.ready().facts, (HostOutcome("box", Outcome.DONE, ("launch_agent",)),))
        monkeypatch.setattr(up, "give_access", lambda *_: self._do("give", answer=self.halted))
        monkeypatch.setattr(up, "fill", self._fill)
        monkeypatch.setattr(down, "halt_agent", lambda *_: self._do("halt", answer=True))
        monkeypatch.setattr(down, "take_access", lambda *_: self._do("take", answer=True))

    def _do(self, what: str, *, answer: bool) -> bool:
        self.done += [*self.lane.machine.verbs()[len([d for d in self.done if d not in VERBS]) :], what]
        return answer

    def _fill(self, *_: object) -> Prepared:
        self._do("fill", answer=True)
        return self.filled


VERBS = {"give", "fill", "halt", "take"}


@pytest.fixture
def beside(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> Beside:
    return Beside(lane, monkeypatch)


def test_services_wait_for_the_profile(lane: Lane, beside: Beside) -> None:
    lane.prepared = lambda: replace(lane.ready(), later=True)
    result = lane.up()
    assert beside.done == ["start", "give", "fill"]
    assert (result.exit_code, result.outcomes[0].completed) == (ExitCode.OK, ("launch_agent",))


def test_a_profile_that_runs_is_not_started_for_them(lane: Lane, beside: Beside) -> None:
    lane.machine = Machine.running()
    lane.prepared = lambda: replace(lane.ready(), later=True)
    assert not lane.up().started
    assert beside.done == ["give", "fill"]


def test_nothing_is_done_where_nothing_is_planned(lane: Lane, beside: Beside) -> None:
    lane.machine = Machine.running(served=True)
    lane.up()
    assert beside.done == []


def test_a_service_that_fails_is_told(lane: Lane, beside: Beside) -> None:
    problem = Problem("launch-key-refused", "the server refuses the key", "get another", "box")
    beside.filled = replace(beside.filled, exit_code=ExitCode.STEP_FAILED, problems=(problem,))
    lane.prepared = lambda: replace(lane.ready(), later=True)
    result = lane.up()
    assert (result.exit_code, result.started, result.problems) == (ExitCode.STEP_FAILED, True, (problem,))


def test_a_profile_that_comes_to_nothing_gets_none(lane: Lane, beside: Beside) -> None:
    lane.machine.fails = {"start": (80, (), "no")}
    lane.prepared = lambda: replace(lane.ready(), later=True)
    assert lane.up().exit_code is ExitCode.STEP_FAILED
    assert "fill" not in beside.done


def test_the_agent_stops_before_its_profile_and_starts_after_it(lane: Lane, beside: Beside) -> None:
    lane.machine = Machine.running(served=True)
    assert "Launch agent is stopped" in lane.stop().notes[0]
    assert beside.done == ["halt"]
    beside.halted = True
    assert "the Launch agent runs again" in lane.start().notes
    assert beside.done == ["halt", "stop", "start", "give"]


def test_the_agent_goes_before_its_profile(lane: Lane, beside: Beside) -> None:
    lane.machine = Machine.running(served=True)
    assert "`gpuctl minikube up --launch-agent --profile gpuctl` brings it back" in lane.down().notes[0]
    assert beside.done == ["take"]


def test_access_to_a_profile_that_somebody_deleted_goes_too(lane: Lane, beside: Beside) -> None:
    lane.machine = Machine(served=True)
    lane.down()
    assert beside.done == ["take"]


@pytest.mark.parametrize("given", [Services(launch_agent=True, queues=("q",), entity="e"), Services(nfs_export="/srv")])
def test_services_of_another_profile_are_not_taken_from_it(lane: Lane, beside: Beside, given: Services) -> None:
    lane.inventory = with_services(lane.inventory, given)
    lane.machine.others = ("lab",)
    with pytest.raises(GpuctlError, match="profile lab has this host's Launch agent and volumes") as caught:
        lane.up()
    assert (caught.value.exit_code, caught.value.problems[0].code) == (ExitCode.PREFLIGHT, "minikube-services-taken")
    assert "`gpuctl minikube down --profile lab`" in caught.value.problems[0].fix
    assert (lane.roles_ran, beside.done) == (0, [])


def test_a_second_profile_without_services_is_no_matter(lane: Lane, beside: Beside) -> None:
    lane.machine.others = ("lab",)
    assert lane.up().exit_code is ExitCode.OK
    assert beside.done == []


def test_an_agent_that_is_stopped_for_nothing_is_told_of(lane: Lane, beside: Beside) -> None:
    lane.machine = Machine.running(served=True)
    lane.machine.fails = {"stop": (80, (), "no")}
    result = lane.stop()
    assert (result.exit_code, beside.done) == (ExitCode.STEP_FAILED, ["halt"])
    assert any("the Launch agent is stopped" in line for line in down_screen(result, "stop", ()))


def test_a_profile_that_is_started_again_takes_no_services_from_another(
    lane: Lane, beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inventory has them for the profile that was first."""
    prepared = []
    monkeypatch.setattr(up, "prepare", lambda inventory, *_: (prepared.append(inventory), lane.prepared())[1])
    lane.inventory = with_services(lane.inventory, AGENT)
    lane.machine = Machine.running(others=("lab",))
    lane.machine.stops()
    result = lane.start()
    assert (result.exit_code, result.queues, beside.done) == (ExitCode.OK, (), [])
    assert LAUNCH_AGENT not in prepared[0].hosts[0].groups
