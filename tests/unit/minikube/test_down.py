"""`gpuctl minikube status`, `stop` and `down`: what is said of a profile, and that nothing is left of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.minikube.command import MINIKUBE
from bootstrap.probe.session import Completed
from bootstrap.probe.ssh_errors import ConnectFailure
from bootstrap.ui.minikube import status_screen
from tests.unit.minikube.conftest import Lane
from tests.unit.minikube.machine import FOREIGN, LABELS, Machine, error, node, record, status_of, step


def refused(lane: Lane, verb: str, **options: Any) -> tuple[ExitCode, str]:
    with pytest.raises(GpuctlError) as caught:
        getattr(lane, verb)(**options)
    assert caught.value.problems[0].host == "box"
    return caught.value.exit_code, caught.value.problems[0].code


def codes(result: Any) -> list[str]:
    return [problem.code for problem in result.problems]


def test_the_agent_that_lives_by_a_profile_is_told(lane: Lane) -> None:
    lane.machine = Machine.running(served=True)
    found = lane.status()
    assert found.agent == "inactive"
    assert "  Launch agent   inactive" in status_screen(found, [])
    lane.machine = Machine.running()
    assert lane.status().agent == ""


def test_the_status_of_a_profile_that_runs(lane: Lane) -> None:
    lane.machine = Machine.running()
    result = lane.status()
    assert (result.exit_code, result.phase, result.ready, result.gpus) == (ExitCode.OK, "running", True, 8)
    assert (result.kubernetes_version, result.docker_version) == ("v1.36.3", "28.5.2")
    assert result.minikube_version == "v1.38.1"
    assert result.parts == {
        "Host": "Running",
        "Kubelet": "Running",
        "APIServer": "Running",
        "Kubeconfig": "Configured",
    }
    assert lane.machine.calls == []


@pytest.mark.parametrize(
    ("change", "phase"),
    [
        ({"container": "exited", "status": status_of("Stopped"), "node": None}, "stopped"),
        ({"status": status_of("Running", "Stopped", "Paused"), "node": None}, "paused"),
        ({"status": status_of("Running", "Stopped", "Stopped"), "node": None}, "impaired"),
        ({"container": ""}, "broken"),
        ({"node": node(ready=False)}, "running"),
        ({"node": None}, "running"),
    ],
)
def test_a_profile_that_is_not_ready_exits_six(lane: Lane, change: dict[str, Any], phase: str) -> None:
    lane.machine = replace(Machine.running(), **change)
    result = lane.status()
    assert (result.exit_code, result.phase) == (ExitCode.NOT_READY, phase)


@pytest.mark.parametrize("verb", ["status", "stop"])
def test_a_profile_that_is_not_there_is_named(lane: Lane, verb: str) -> None:
    assert refused(lane, verb) == (ExitCode.NOT_READY, "minikube-profile-unknown")


@pytest.mark.parametrize("verb", ["status", "stop", "down"])
def test_a_docker_that_is_down_hides_a_profile_and_does_not_break_it(lane: Lane, verb: str) -> None:
    lane.machine = Machine.running()
    lane.machine.docker = ""
    assert refused(lane, verb) == (ExitCode.PREFLIGHT, "minikube-docker-away")
    assert lane.machine.calls == []


@pytest.mark.parametrize("verb", ["stop", "down"])
def test_somebodys_container_is_not_taken_for_that_of_a_record(lane: Lane, verb: str) -> None:
    lane.machine = Machine(config=record(), folder=True, named={"container": None})
    assert refused(lane, verb) == (ExitCode.PREFLIGHT, "minikube-name-taken")
    assert lane.machine.calls == []


def test_what_somebody_else_has_under_the_name_is_no_profile(lane: Lane) -> None:
    lane.machine = Machine(named={"container": {}, "volume": {}, "network": {}})
    assert lane.down().was == "absent"
    assert refused(lane, "status") == (ExitCode.NOT_READY, "minikube-profile-unknown")
    assert lane.machine.calls == []


def test_what_is_left_of_a_profile_is_taken_away(lane: Lane) -> None:
    lane.machine = Machine(named={"volume": LABELS})
    lane.machine.on_delete = lambda machine: setattr(machine, "named", {})
    assert (lane.down().exit_code, lane.machine.verbs()) == (ExitCode.OK, ["delete"])


def test_stop(lane: Lane) -> None:
    lane.machine = Machine.running()
    result = lane.stop()
    assert (result.exit_code, result.was) == (ExitCode.OK, "running")
    assert lane.machine.calls[0].argv == [MINIKUBE, "stop", "--profile", "gpuctl", "--output=json"]
    assert lane.machine.container == "exited"


def test_a_stop_that_fails(lane: Lane) -> None:
    lane.machine = Machine.running()
    failed = error("GUEST_STOP_TIMEOUT", 82, "Unable to stop VM")
    lane.machine.fails = {"stop": (82, (step(0, 'Stopping node "gpuctl"  ...'), failed), "")}
    result = lane.stop()
    assert (result.exit_code, codes(result)) == (ExitCode.STEP_FAILED, ["minikube-failed"])
    assert lane.view.lines == [
        "box minikube started",
        'Stop | Stopping node "gpuctl"  ...',
        "box minikube failed: minikube ended with status 82, which is about the node: Unable to stop VM",
    ]


@pytest.mark.parametrize(
    "machine",
    [
        Machine.running(),
        replace(Machine.running(), container="exited", status=status_of("Stopped")),
        Machine(config=record(), folder=True),
        Machine(folder=True),
        Machine(named={"volume": LABELS}),
    ],
    ids=["running", "stopped", "record alone", "folder alone", "volume alone"],
)
def test_down_takes_a_profile_away_whole_or_half(lane: Lane, machine: Machine) -> None:
    lane.machine = machine
    result = lane.down()
    assert (result.exit_code, result.left) == (ExitCode.OK, ())
    assert machine.verbs() == ["delete"]
    listed = [command for command in machine.commands if command[0] == "docker"]
    assert [command[1] for command in listed] == ["container", "volume", "network"]
    assert all("label=name.minikube.sigs.k8s.io=gpuctl" in command for command in listed)


def test_there_may_be_nothing_to_take_away(lane: Lane) -> None:
    result = lane.down()
    assert (result.exit_code, result.was) == (ExitCode.OK, "absent")
    assert lane.machine.calls == []


def test_what_is_left_is_named(lane: Lane) -> None:
    lane.machine = Machine.running()
    lane.machine.left = {"volume": "gpuctl\n", "network": "9f2e\n"}
    result = lane.down()
    assert (result.exit_code, result.left) == (ExitCode.STEP_FAILED, ("a volume", "a network"))
    assert codes(result) == ["minikube-profile-broken"]
    assert result.problems[0].message == "profile gpuctl was deleted, and this is still there: a volume, a network"


def test_a_deletion_that_fails_has_its_own_reason(lane: Lane) -> None:
    lane.machine = Machine.running()
    failed = error("GUEST_DELETION", 80, "Failed to delete cluster")
    lane.machine.fails = {"delete": (80, (failed,), "")}
    result = lane.down()
    assert (result.exit_code, codes(result)) == (ExitCode.STEP_FAILED, ["minikube-failed"])
    assert result.left == ("its record in /home/ada/.minikube/profiles",)


def test_a_deletion_that_complained_and_left_nothing_is_one(lane: Lane) -> None:
    lane.machine = Machine.running()
    lane.machine.fails = {"delete": (37, (), "cannot write the kubeconfig")}
    lane.machine.on_delete = Machine.is_gone
    assert lane.down().exit_code is ExitCode.OK


def test_docker_that_goes_away_meanwhile_leaves_it_open(lane: Lane) -> None:
    def gone(machine: Machine) -> None:
        machine.is_gone()
        machine.docker = ""

    lane.machine = Machine.running(on_delete=gone)
    result = lane.down()
    assert result.exit_code is ExitCode.STEP_FAILED
    assert result.left[0] == "perhaps a container: Docker does not say"


def test_a_program_that_is_not_there_cannot_take_away(lane: Lane) -> None:
    lane.machine = Machine.running()
    lane.machine.fails = {"delete": (127, (), "No such file or directory: '/usr/local/bin/minikube'")}
    assert codes(lane.down()) == ["minikube-missing"]


def test_a_bundle_stays_in_the_cache_unless_its_files_are_to_go(lane: Lane) -> None:
    lane.machine = Machine.running(bundle={})
    assert lane.down().purged == 0
    assert not [command for command in lane.machine.commands if command[0] == "purge"]
    result = lane.down(purge=True)
    assert (result.was, result.purged, result.notes) == ("absent", 2, ())
    assert lane.machine.commands[-1] == ["purge", "gpuctl"]


def test_other_profiles_keep_the_bundle(lane: Lane) -> None:
    lane.machine = Machine.running(bundle={}, purged=Completed(0, '{"removed": [], "others": ["mine"]}\n', ""))
    result = lane.down(purge=True)
    assert (result.exit_code, result.purged) == (ExitCode.OK, 0)
    assert result.notes == ("the bundle's files stay in minikube's cache: the other profiles (mine) may need them",)


def test_without_a_bundle_there_is_nothing_to_purge(lane: Lane) -> None:
    lane.machine = Machine.running()
    assert lane.down(purge=True).notes == ("there is no bundle on the host: gpuctl put nothing into minikube's cache",)


def test_what_is_left_of_a_profile_keeps_the_bundle(lane: Lane) -> None:
    lane.machine = Machine.running(bundle={}, left={"volume": "gpuctl\n"})
    assert lane.down(purge=True).exit_code is ExitCode.STEP_FAILED
    assert not [command for command in lane.machine.commands if command[0] == "purge"]


def test_a_cache_that_cannot_be_cleared(lane: Lane) -> None:
    lane.machine = Machine.running(bundle={}, purged=Completed(1, "", "PermissionError: kubeadm"))
    assert refused(lane, "down", purge=True) == (ExitCode.STEP_FAILED, "minikube-failed")


def test_a_connection_that_is_lost(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    lane.machine = Machine.running()

    def lost(*_: object, **__: object) -> None:
        raise ConnectFailure("unreachable", "the connection was lost", "look at the network")

    monkeypatch.setattr(Machine, "open_exec", lost)
    assert refused(lane, "down") == (ExitCode.PREFLIGHT, "unreachable")


def orphaned(**changes: Any) -> Machine:
    return Machine(container="running", **changes)


def refused_down(lane: Lane) -> str:
    with pytest.raises(GpuctlError) as caught:
        lane.down()
    assert caught.value.exit_code is ExitCode.PREFLIGHT
    assert lane.machine.calls == []
    return caught.value.problems[0].code


def test_another_user_s_profile_is_not_deleted_unless_said_so(lane: Lane) -> None:
    lane.machine = orphaned()
    assert refused_down(lane) == "minikube-profile-orphan"
    assert lane.down(orphan=True).exit_code is ExitCode.OK
    assert lane.machine.verbs() == ["delete"]


def test_a_profile_of_another_driver_is_left_to_minikube(lane: Lane) -> None:
    lane.machine = Machine(config=record(Driver="kvm2"), folder=True, status=status_of("Running"))
    assert refused_down(lane) == "minikube-differs"
    assert lane.status().phase == "running"


@pytest.mark.parametrize("machine", [Machine(named={"volume": LABELS}), Machine(config=record(), folder=True)])
def test_a_context_of_another_cluster_is_not_deleted(lane: Lane, machine: Machine) -> None:
    """Minikube deletes the cluster, the user and the context of the name, whoever's they are."""
    machine.kubeconfig = FOREIGN
    lane.machine = machine
    assert refused_down(lane) == "minikube-context-taken"


def test_what_docker_does_not_say_is_not_taken_for_gone(lane: Lane) -> None:
    lane.machine = replace(Machine.running(), unclear="Error response from daemon: timeout")
    assert refused_down(lane) == "minikube-docker-away"


def test_docker_that_is_down_says_nothing_of_a_profile(lane: Lane) -> None:
    lane.machine.docker = ""
    assert refused_down(lane) == "minikube-docker-away"


def test_half_a_profile_is_named_and_not_stopped(lane: Lane) -> None:
    lane.machine = Machine(config=record(), folder=True, named={"volume": LABELS})
    with pytest.raises(GpuctlError, match="half there: minikube's record, no container, a volume") as caught:
        lane.stop()
    assert (caught.value.exit_code, caught.value.problems[0].code) == (ExitCode.PREFLIGHT, "minikube-profile-broken")
    assert lane.machine.calls == []
    status = lane.status()
    assert (status.exit_code, [problem.code for problem in status.problems]) == (
        ExitCode.NOT_READY,
        ["minikube-profile-broken"],
    )


def test_what_starts_a_docker_that_is_down_is_said(lane: Lane) -> None:
    lane.machine = replace(Machine.running(), docker="")
    for verb in (lane.status, lane.stop, lane.down):
        with pytest.raises(GpuctlError) as caught:
            verb()
        assert caught.value.problems[0].fix.startswith("`gpuctl minikube up` starts it; there, ")


def test_a_context_that_does_not_lead_to_the_profile_is_told_of_with_the_way_to_mend_it(lane: Lane) -> None:
    lane.machine = Machine.running()
    assert not any(line.startswith("next:") for line in status_screen(lane.status(), ()))
    lane.machine.status = status_of("Running", kubeconfig="Misconfigured")
    assert status_screen(lane.status(), ())[-1] == "next: gpuctl minikube up --profile gpuctl"
