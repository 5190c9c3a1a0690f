"""`gpuctl minikube up` and `start`: from each state that a machine can be in to a profile that runs, or to a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootstrap.apply.minikube_host import Prepared
from bootstrap.apply.results import HostOutcome, Outcome
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.minikube import gpus, mending, up
from bootstrap.minikube.command import MINIKUBE
from bootstrap.probe.ssh_errors import ConnectFailure
from bootstrap.verify.container import ContainerGpus
from tests.unit.minikube.conftest import Lane
from tests.unit.minikube.machine import STARTING, Machine, error, event, node, record, status_of

BUNDLE = {
    "base_image": "local/kicbase:v0.0.50",
    "kubernetes_version": "v1.36.3",
    "cni": "bridge",
    "addon_images": {"NvidiaDevicePlugin": "nvidia/plugin:v0.18.2"},
}
NO_TOOLKIT = error("GUEST_PROVISION", 80, 'could not select device driver "" with capabilities: [[gpu]]')
WAITING = {
    "status": {
        "phase": "Pending",
        "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such host"}}}],
    }
}


def refused(lane: Lane, verb: str = "up", **options: Any) -> tuple[ExitCode, str]:
    with pytest.raises(GpuctlError) as caught:
        getattr(lane, verb)(**options)
    return caught.value.exit_code, caught.value.problems[0].code


def codes(result: Any) -> list[str]:
    return [problem.code for problem in result.problems]


def test_a_machine_without_a_profile_gets_one(lane: Lane) -> None:
    result = lane.up(cpus="2")
    assert result.exit_code is ExitCode.OK
    assert (result.started, result.node, result.gpus, result.gpus_expected) == (True, "gpuctl", 8, 8)
    assert result.kubernetes_version == "v1.36.3"
    assert result.simulated
    assert lane.machine.verbs() == ["start"]
    [first, start] = lane.machine.calls
    assert first.argv == [MINIKUBE, "config", "set", "WantUpdateNotification", "false"]
    assert "--gpus=all" in start.argv
    assert "--force" not in start.argv
    assert start.environment == {}


def test_what_a_person_sees_of_it(lane: Lane) -> None:
    lane.up()
    assert lane.view.lines == [
        "box minikube started",
        "Docker | Give a container all GPUs",
        "Start 0 of 19 | minikube v1.38.1 on Debian 12",
        "Start 1 of 19 | Using the docker driver based on user configuration",
        "Download | kicbase.tar",
        "Download | kicbase.tar 25 %",
        'Start 19 of 19 | Done! kubectl is now configured to use "gpuctl" cluster and "default" namespace by default',
        "GPUs | Wait for 8 of them",
        "box minikube done",
    ]


def test_a_profile_that_runs_as_asked_is_left_alone(lane: Lane) -> None:
    lane.machine = Machine.running()
    result = lane.up(cpus="2", memory="4g", gpus="all")
    assert (result.exit_code, result.started, result.gpus) == (ExitCode.OK, False, 8)
    assert lane.machine.calls == []
    assert lane.roles_ran == 1


@pytest.mark.parametrize(
    "change",
    [
        {"container": "exited", "status": status_of("Stopped"), "node": None},
        {"status": status_of("Running", "Stopped", "Paused"), "node": None},
        {"status": status_of("Running", "Stopped", "Stopped"), "node": None},
        {"node": node(5)},
        {"node": node(ready=False)},
        {"status": status_of("Running", "Running", "Stopped"), "node": None},
    ],
    ids=["stopped", "paused", "kubelet down", "GPUs short", "not Ready", "no API"],
)
def test_a_profile_that_does_not_run_as_it_should_is_started_again(lane: Lane, change: dict[str, Any]) -> None:
    lane.machine = replace(Machine.running(), **change)
    result = lane.up()
    assert (result.exit_code, result.started, result.gpus) == (ExitCode.OK, True, 8)
    assert lane.machine.verbs() == ["start"]


def test_a_profile_is_started_again_with_what_it_was_made_with(lane: Lane) -> None:
    options = [{"Component": "kubelet", "Key": "fail-cgroupv1", "Value": "false"}]
    lane.machine = Machine.running(config=record(KubernetesConfig={"ExtraOptions": options, "CNI": "bridge"}))
    lane.machine.stops()
    lane.up()
    argv = lane.machine.calls[-1].argv
    for word in (
        "--extra-config=kubelet.fail-cgroupv1=false", "--cni=bridge", "--kubernetes-version=v1.36.3", "--gpus=all",
        "--base-image=local/kicbase:v0.0.50",
    ):  # fmt: skip
        assert word in argv


def test_a_newer_bundle_does_not_make_a_profile_differ(lane: Lane) -> None:
    lane.machine = Machine.running(bundle={**BUNDLE, "kubernetes_version": "v1.37.0", "base_image": "local/kicbase:9"})
    assert not lane.up().started


def test_what_runs_gets_its_addons_and_its_context_without_a_start(lane: Lane) -> None:
    """A start would end all its pods."""
    lane.machine = Machine.running()
    result = lane.up(addons=("ingress",))
    assert (result.exit_code, result.started) == (ExitCode.OK, True)
    assert [call.argv[1:] for call in lane.machine.calls] == [["addons", "enable", "ingress", "--profile", "gpuctl"]]
    assert not lane.up(addons=("ingress",)).started


@pytest.mark.parametrize(
    ("before", "use_context", "reached", "called", "kept"),
    [
        ("lab", False, False, True, ["lab"]),
        ("lab", True, False, True, []),
        ("lab", True, True, True, []),
        ("lab", False, True, False, []),
        ("gpuctl", True, True, False, []),
        ("", False, False, True, []),
    ],
)
def test_the_context_of_a_profile_that_runs(
    lane: Lane, before: str, *, use_context: bool, reached: bool, called: bool, kept: list[str]
) -> None:
    """Minikube makes the context that it puts right the current one."""
    lane.machine = Machine.running(kubeconfig=f"current-context: {before}")
    lane.machine.status = status_of("Running", kubeconfig="Configured" if reached else "Misconfigured")
    assert lane.up(use_context=use_context).exit_code is ExitCode.OK
    assert lane.machine.verbs() == ["update-context"] * called
    assert [words[4] for words in lane.machine.commands if words[3:4] == [mending._KEEP]] == kept


def test_a_mend_that_fails_is_named(lane: Lane) -> None:
    lane.machine = Machine.running()
    lane.machine.fails = {"addons": (10, (), "X Exiting due to MK_ADDON_ENABLE: no-such is not a valid addon")}
    result = lane.up(addons=("no-such",))
    assert (result.exit_code, codes(result)) == (ExitCode.STEP_FAILED, ["minikube-failed"])
    assert "no-such is not a valid addon" in result.problems[0].details


def test_pods_that_compute_are_worth_more_than_a_gpu_that_is_missing(lane: Lane) -> None:
    container = {"resources": {"limits": {"nvidia.com/gpu": "2"}}}
    lane.machine = Machine.running(7, pods=({"spec": {"containers": [{}, container]}}, {"spec": {"containers": [{}]}}))
    result = lane.up()
    assert (result.exit_code, codes(result)) == (ExitCode.NOT_READY, ["minikube-gpus-missing"])
    assert result.problems[0].message.endswith("; not started again, which would end what has GPUs (1 pod)")
    assert lane.machine.calls == []


def test_no_image_is_worth_the_pods_that_compute(lane: Lane) -> None:
    """The kubelet offers no GPU while the plugin's image is missing; what has some goes on."""
    container = {"resources": {"limits": {"nvidia.com/gpu": "8"}}}
    images = {"NvidiaDevicePlugin": "nvidia/plugin:v0.18.2"}
    pods = ({"spec": {"containers": [container]}},)
    lane.machine = Machine.running(0, plugin=WAITING, pods=pods, bundle={**BUNDLE, "addon_images": images})
    result = lane.up()
    assert (result.exit_code, codes(result)) == (ExitCode.NOT_READY, ["minikube-addon-image"])
    assert lane.machine.calls == []


def test_an_api_that_answers_a_little_later_is_waited_for_without_a_start(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane.machine = Machine.running()
    lane.machine.status, lane.machine.node = status_of("Running", "Running", "Stopped"), None
    monkeypatch.setattr(up, "PATIENCE_S", 10.0)
    looks = []

    def seen(machine: Machine) -> Any:
        looks.append(1)
        if len(looks) > 2:
            machine.runs()
        return run(machine)

    run = Machine._seen
    monkeypatch.setattr(Machine, "_seen", seen)
    result = lane.up()
    assert (result.exit_code, result.started, result.gpus) == (ExitCode.OK, False, 8)
    assert lane.machine.calls == []


@pytest.mark.parametrize(
    ("given", "before", "wanted"), [("none", None, "none"), ("", "", "none"), ("", "all", "auto"), ("", None, "auto")]
)
def test_a_node_without_gpus_needs_no_driver(
    lane: Lane, monkeypatch: pytest.MonkeyPatch, given: str, before: str | None, wanted: str
) -> None:
    """Neither the driver nor the toolkit is put on its host, nor Docker restarted for them."""
    prepared = []
    monkeypatch.setattr(up, "prepare", lambda inventory, *_: (prepared.append(inventory), lane.prepared())[1])
    if before is not None:
        lane.machine = Machine.running(config=record(GPUs=before))
    lane.up(gpus=given)
    assert [inventory.hosts[0].settings["cluster_gpu"] for inventory in prepared] == [wanted]


def test_settings_of_components_come_from_the_inventory_too(lane: Lane) -> None:
    lane.inventory.hosts[0].settings["minikube_extra_config"] = ["kubelet.fail-cgroupv1=false"]
    lane.up(extra_config=("kubelet.max-pods=200", "kubelet.fail-cgroupv1=false"))
    argv = lane.machine.calls[-1].argv
    assert [word for word in argv if word.startswith("--extra-config")] == [
        "--extra-config=kubelet.fail-cgroupv1=false",
        "--extra-config=kubelet.max-pods=200",
    ]


def test_a_machine_without_gpus_gets_a_node_without(lane: Lane) -> None:
    lane.machine.pci_gpus = 0
    result = lane.up()
    assert (result.exit_code, result.gpus, result.gpus_expected) == (ExitCode.OK, 0, 0)
    assert result.notes == ("there is no NVIDIA GPU on the PCI bus: the node gets none",)
    assert not [word for word in lane.machine.calls[-1].argv if word.startswith("--gpus")]


def test_gpus_that_are_not_there_are_refused_before_the_host_is_touched(lane: Lane) -> None:
    lane.machine.pci_gpus = 0
    assert refused(lane, gpus="all") == (ExitCode.PREFLIGHT, "gpu-missing")
    assert lane.roles_ran == 0


def test_a_profile_that_was_made_without_gpus_keeps_to_that_and_says_so(lane: Lane) -> None:
    lane.machine = Machine.running(0, config=record(GPUs=""))
    result = lane.up()
    assert (result.exit_code, result.started, result.gpus_expected) == (ExitCode.OK, False, 0)
    assert result.notes == (
        (
            "the profile was made without GPUs, and the machine has 8: "
            "`gpuctl minikube down --profile gpuctl` and `gpuctl minikube up --profile gpuctl` give it them"
        ),
    )


def test_an_inventory_may_want_no_gpus(lane: Lane) -> None:
    lane.inventory.hosts[0].settings["cluster_gpu"] = "none"
    assert lane.up().gpus_expected == 0
    assert refused(lane, gpus="all") == (ExitCode.USAGE, "usage")


@pytest.mark.parametrize(
    ("machine", "options", "code"),
    [
        (Machine(config=record(), folder=True), {}, "minikube-profile-broken"),
        (Machine.running(), {"memory": "64g"}, "minikube-differs"),
        (Machine(kubeconfig="clusters: [{name: gpuctl, cluster: {server: x}}]"), {}, "minikube-context-taken"),
    ],
)
def test_what_cannot_become_is_refused_before_the_host_is_touched(
    lane: Lane, machine: Machine, options: dict[str, Any], code: str
) -> None:
    lane.machine = machine
    assert refused(lane, **options) == (ExitCode.PREFLIGHT, code)
    assert lane.roles_ran == 0
    assert machine.calls == []


def test_options_are_refused_before_the_host_is_asked(lane: Lane) -> None:
    lane.machine.docker = ""
    assert refused(lane, container_runtime="containerd") == (ExitCode.USAGE, "minikube-gpus-runtime")


def test_a_machine_whose_docker_is_down_is_made_ready_first(lane: Lane) -> None:
    lane.machine = Machine.running()
    lane.machine.docker = ""

    def mended() -> Prepared:
        lane.machine.docker = "28.5.2"
        return replace(lane.ready(), outcomes=(HostOutcome("box", Outcome.DONE, ("docker",), changed=1),))

    lane.prepared = mended
    assert not lane.up().started


def test_a_docker_that_stays_down_is_named(lane: Lane) -> None:
    lane.machine.docker = ""
    assert refused(lane) == (ExitCode.PREFLIGHT, "minikube-docker-away")
    assert lane.roles_ran == 1


def test_a_host_that_did_not_come_out_stops_it(lane: Lane) -> None:
    problem = Problem("step-failed", "apt failed", "look", "box")
    lane.prepared = lambda: replace(lane.ready(), exit_code=ExitCode.STEP_FAILED, problems=(problem,))
    result = lane.up()
    assert (result.exit_code, result.started, codes(result)) == (ExitCode.STEP_FAILED, False, ["step-failed"])
    assert lane.machine.calls == []


def test_a_new_profile_that_comes_to_nothing_is_taken_away(lane: Lane) -> None:
    lane.machine.fails = {"start": (80, (*STARTING[:2], NO_TOOLKIT), "")}
    result = lane.up()
    assert (result.exit_code, codes(result)) == (ExitCode.STEP_FAILED, ["minikube-toolkit-missing"])
    assert lane.machine.verbs() == ["start", "delete"]
    assert lane.machine.calls[-1].argv == [MINIKUBE, "delete", "--profile", "gpuctl"]
    assert lane.view.lines[-1].startswith("box minikube failed: Docker cannot give a container GPUs")


def test_a_docker_that_hangs_is_named_before_minikube_is_called(lane: Lane) -> None:
    lane.container = ContainerGpus(have=8, rc=124, said="docker did not end within 120 s")
    result = lane.up()
    assert (result.exit_code, codes(result)) == (ExitCode.STEP_FAILED, ["minikube-docker-away"])
    assert "did not end within 120 s" in result.problems[0].message
    assert lane.machine.verbs() == []


@pytest.mark.parametrize(
    "found",
    [
        {"rc": 125, "said": 'docker: Error response from daemon: could not select device driver "" with capabilities'},
        {"rc": 127, "said": 'exec: "nvidia-container-runtime": executable file not found in $PATH'},
        {"rc": 125, "said": "Auto-detected mode as 'legacy'\nnvidia-container-cli: initialization error: nvml error"},
        {"rc": 0, "said": ""},
    ],
)
def test_a_toolkit_that_does_not_work_is_named_before_minikube_is_called(lane: Lane, found: dict[str, Any]) -> None:
    lane.container = ContainerGpus(have=8, **found)
    result = lane.up()
    assert (result.exit_code, codes(result)) == (ExitCode.STEP_FAILED, ["minikube-toolkit-missing"])
    assert "the same command again" in result.problems[0].fix  # with what was asked for, whatever that was
    assert (lane.machine.verbs(), result.started) == ([], False)


@pytest.mark.parametrize(
    "found",
    [
        {"error": "docker import failed"},
        {"have": 8, "got": 7},
        {"have": 8, "rc": 125, "said": "nvidia-container-cli: ldcache error: process /sbin/ldconfig failed"},
        {"have": 8, "rc": 1, "said": "ls: cannot access"},
    ],
)
def test_what_a_node_may_do_well_with_stops_nothing(lane: Lane, found: dict[str, Any]) -> None:
    lane.container = ContainerGpus(**found)
    assert lane.up(gpus="nvidia.com").exit_code is ExitCode.OK
    assert (lane.machine.verbs(), lane.tried) == (["start"], ["nvidia.com"])


@pytest.mark.parametrize("there", ["runs", "stopped", "without"])
def test_only_a_new_profile_with_gpus_is_tried_for(lane: Lane, there: str) -> None:
    lane.container = ContainerGpus(have=8)
    if there != "without":
        lane.machine = Machine.running()
    if there == "stopped":
        lane.machine.stops()
    assert lane.up(**({"gpus": "none"} if there == "without" else {})).exit_code is ExitCode.OK
    assert lane.tried == []


def test_a_profile_that_was_there_is_never_taken_away(lane: Lane) -> None:
    lane.machine = Machine.running()
    lane.machine.stops()
    lane.machine.fails = {"start": (80, (NO_TOOLKIT,), "")}
    assert lane.up().exit_code is ExitCode.STEP_FAILED
    assert lane.machine.verbs() == ["start"]


@pytest.mark.parametrize(("there", "verbs"), [(False, ["start", "delete"]), (True, ["start"])])
def test_ctrl_c_takes_away_only_what_this_run_began(lane: Lane, there: bool, verbs: list[str]) -> None:
    if there:
        lane.machine = Machine.running()
        lane.machine.stops()
    lane.machine.interrupted = "start"
    with pytest.raises(KeyboardInterrupt):
        lane.up()
    assert lane.machine.verbs() == verbs


def test_a_good_end_of_minikube_is_no_proof_of_gpus(lane: Lane) -> None:
    def short(machine: Machine) -> None:
        machine.runs(0)
        machine.plugin = WAITING

    lane.machine.after_start = short
    result = lane.up()
    assert (result.exit_code, codes(result)) == (ExitCode.NOT_READY, ["minikube-addon-image"])
    assert "ImagePullBackOff: no such host" in result.problems[0].message
    assert "Node | 0 of 8 GPUs allocatable; device plugin: ImagePullBackOff: no such host" in lane.view.lines
    assert lane.machine.verbs() == ["start"]  # the profile stays: it can be looked at


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (None, "8 GPUs are allocatable after 0 s; device plugin: no pod yet"),
        ({"status": {"phase": "Running"}}, "device plugin: Running"),
        ({"status": {}}, "device plugin: Unknown"),
    ],
)
def test_gpus_that_do_not_come(lane: Lane, plugin: dict[str, Any] | None, words: str) -> None:
    def short(machine: Machine) -> None:
        machine.runs(7)
        machine.plugin = plugin

    lane.machine.after_start = short
    result = lane.up()
    assert (codes(result), result.gpus) == (["minikube-gpus-missing"], 7)
    assert words in result.problems[0].message
    assert "`minikube -p gpuctl kubectl -- logs -n kube-system" in result.problems[0].fix


def test_a_node_that_is_not_ready_is_no_success(lane: Lane) -> None:
    def halfway(machine: Machine) -> None:
        machine.runs()
        machine.node = node(ready=False)

    lane.machine.after_start = halfway
    result = lane.up()
    assert (result.exit_code, codes(result)) == (ExitCode.NOT_READY, ["node-not-ready"])
    lane.machine = Machine(after_start=lambda machine: (machine.runs(), setattr(machine, "node", None))[0])
    assert "the API of the node does not answer" in lane.up(gpus="none").problems[0].message


def test_gpus_that_come_a_little_later_are_waited_for_without_a_start(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane.machine = Machine.running(0)
    monkeypatch.setattr(up, "PATIENCE_S", 10.0)

    def comes(argv: object, *rest: Any, **options: Any) -> Any:
        done = run(lane.machine, argv, *rest, **options)
        lane.machine.node = node(8)
        return done

    run = Machine.run
    monkeypatch.setattr(Machine, "run", lambda _self, argv, *rest, **options: comes(argv, *rest, **options))
    result = lane.up()
    assert (result.exit_code, result.started, result.gpus) == (ExitCode.OK, False, 8)
    assert lane.machine.calls == []


@pytest.mark.parametrize(("images", "started"), [({}, False), ({"NvidiaDevicePlugin": "nvidia/plugin:v0.18.2"}, True)])
def test_a_start_is_tried_for_an_image_only_where_the_bundle_has_one(
    lane: Lane, images: dict[str, str], started: bool
) -> None:
    lane.machine = Machine.running(0, plugin=WAITING, bundle={**BUNDLE, "addon_images": images})
    lane.machine.after_start = lambda machine: machine.runs(0)
    result = lane.up()
    assert (result.exit_code, codes(result)) == (ExitCode.NOT_READY, ["minikube-addon-image"])
    assert (result.started, lane.machine.verbs()) == (started, ["start"] if started else [])


def test_an_image_that_cannot_be_pulled_is_not_waited_for_to_the_end(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "GPUS_S", 60.0)
    monkeypatch.setattr(gpus, "PULLING_S", 0.05)
    lane.machine = Machine(plugin=WAITING, after_start=lambda machine: machine.runs(0))
    assert codes(lane.up()) == ["minikube-addon-image"]
    assert len([line for line in lane.view.lines if "ImagePullBackOff" in line and "failed" not in line]) == 1


def test_a_size_that_cannot_be_is_refused_before_the_host_is_touched(lane: Lane) -> None:
    assert refused(lane, memory="900g") == (ExitCode.PREFLIGHT, "minikube-resources")
    assert lane.roles_ran == 0


@pytest.mark.parametrize("runs", [True, False])
def test_a_lost_card_is_named_at_once_and_restarts_nothing_that_runs(lane: Lane, runs: bool) -> None:
    lane.known_gpus = 8
    lane.machine = Machine.running(7, pci_gpus=7)
    if not runs:
        lane.machine.stops()
    result = lane.up()
    assert (result.exit_code, codes(result), result.gpus) == (ExitCode.NOT_READY, ["gpu-missing"], 7)
    assert result.problems[0].message == "7 of 8 GPUs are on the bus"
    assert (result.started, lane.machine.verbs()) == ((False, []) if runs else (True, ["start"]))


def test_a_bundle_is_put_in_place_and_its_addons_are_loaded(lane: Lane) -> None:
    lane.machine.bundle = BUNDLE
    lane.machine.archives = ("/b/addons/b.tar", "/b/addons/a plugin.tar")
    result = lane.up()
    assert result.exit_code is ExitCode.OK
    machine = lane.machine
    assert machine.commands[0] == ["seed", "/var/lib/gpuctl/minikube-bundle", "local/kicbase:v0.0.50"]
    assert [command[-1] for command in machine.commands if "image" in command] == [
        "/b/addons/a plugin.tar",
        "/b/addons/b.tar",
    ]
    start = machine.calls[-1]
    assert start.environment == {"MINIKUBE_ADDON_IMAGES": "NvidiaDevicePlugin=nvidia/plugin:v0.18.2"}
    assert {"--preload=false", "--force", "--cni=bridge"} <= set(start.argv)


def test_an_addon_that_cannot_be_loaded_is_named(lane: Lane) -> None:
    lane.machine.bundle = BUNDLE
    lane.machine.archives = ("/b/addons/a.tar",)
    lane.machine.fails = {"image": (80, (), "no such image")}
    result = lane.up()
    assert (result.exit_code, codes(result)) == (ExitCode.STEP_FAILED, ["minikube-addon-image"])
    assert result.problems[0].details == "no such image"
    lane.machine.fails = {}
    assert not lane.up().started  # the node has its GPUs all the same
    lane.machine.node = node(0)
    lane.machine.commands.clear()
    assert lane.up().exit_code is ExitCode.OK
    assert [command[-1] for command in lane.machine.commands if "image" in command] == ["/b/addons/a.tar"]


def test_root_over_ssh_is_forced_and_told(lane: Lane) -> None:
    lane.machine.uid = 0
    result = lane.up()
    assert "--force" in lane.machine.calls[-1].argv
    assert result.notes == ("minikube refuses root unless forced: --force was given for it",)


def test_root_on_this_machine_has_to_say_force(lane: Lane) -> None:
    lane.is_local()
    lane.machine.uid = 0
    assert refused(lane) == (ExitCode.PREFLIGHT, "minikube-root")
    assert lane.roles_ran == 0
    result = lane.up(force=True)
    assert (result.exit_code, result.notes) == (ExitCode.OK, ())


def test_warnings_of_minikubes_are_notes(lane: Lane) -> None:
    warning = event("warning", message="The image is old\nmore")
    lane.machine.fails = {"start": (0, (warning, warning, *STARTING), "")}
    assert lane.up().notes == ("The image is old",)


@pytest.mark.parametrize(
    ("kubeconfig", "use_context", "keeps"),
    [
        ("", False, False),
        ("{", False, False),
        ("current-context: lab", False, True),
        ("current-context: lab", True, False),
    ],
)
def test_the_current_context_stays(lane: Lane, kubeconfig: str, use_context: bool, keeps: bool) -> None:
    lane.machine.kubeconfig = kubeconfig
    lane.up(use_context=use_context)
    assert f"--keep-context={str(keeps).lower()}" in lane.machine.calls[-1].argv  # minikube remembers the last


def test_a_connection_that_is_lost(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object, **__: object) -> None:
        raise ConnectFailure("unreachable", "the connection was lost", "look at the network")

    monkeypatch.setattr(Machine, "open_exec", lost)
    result = lane.up()  # minikube was called: no refusal, which would say that nothing was changed
    assert (result.exit_code, codes(result)) == (ExitCode.STEP_FAILED, ["unreachable"])


def test_a_connection_that_is_lost_before_is_a_refusal(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object, **__: object) -> None:
        raise ConnectFailure("unreachable", "the connection was lost", "look at the network")

    monkeypatch.setattr(Machine, "run", lost)
    assert refused(lane) == (ExitCode.PREFLIGHT, "unreachable")


def test_start_goes_on_with_a_profile_as_it_was_made(lane: Lane) -> None:
    lane.inventory.hosts[0].settings["minikube_extra_config"] = ["kubelet.max-pods=9"]
    lane.machine = Machine.running(config=record(CPUs=3))
    lane.machine.stops()
    result = lane.start()
    assert (result.exit_code, result.started, result.gpus) == (ExitCode.OK, True, 8)
    argv = lane.machine.calls[-1].argv
    assert not [word for word in argv if word.startswith(("--cpus", "--extra-config"))]


def test_start_without_an_inventory_leaves_the_host_as_it_is(lane: Lane) -> None:
    lane.machine = Machine.running()
    lane.machine.stops()
    result = up.start(replace(lane.of_profile(), bare=True), lane.view)
    assert (result.exit_code, result.started, lane.roles_ran) == (ExitCode.OK, True, 0)


def test_start_needs_a_profile(lane: Lane) -> None:
    assert refused(lane, "start") == (ExitCode.NOT_READY, "minikube-profile-unknown")
    assert lane.roles_ran == 0


def test_warnings_that_tell_nothing_are_not_passed_on(lane: Lane) -> None:
    warnings = (
        'Starting v1.39.0, minikube will default to "containerd" container runtime. See #21973 for more info.',
        "Specified Kubernetes version 1.36.3 not found in Kubernetes version list",
        "Your cgroup does not allow setting memory.",
    )
    lines = (*STARTING[:-1], *(event("warning", message=words) for words in warnings), STARTING[-1])
    lane.machine.fails = {"start": (0, lines, "")}
    assert lane.up().notes == warnings[1:]
    lane.machine.is_gone()
    lane.machine.bundle = {"base_image": "local/kicbase:v0.0.50", "kubernetes_version": "v1.36.3"}
    assert lane.up().notes == warnings[2:]
