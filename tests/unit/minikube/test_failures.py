"""How minikube fails → which of our problems it is. Names and statuses are those of 1.38.1 (pkg/minikube/reason)."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.minikube.events import Event, Failure, Remark, Step, parse_event
from bootstrap.minikube.failures import _RULES, FAMILIES, problem_of, toolkit_problem

TABLE = Path(__file__).with_name("reasons.tsv")
REASONS = [tuple(line.split()) for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
ADVICE = "Look at the journal\nand then again"


@pytest.mark.parametrize(("name", "status", "code"), REASONS)
def test_each_name_of_minikubes(name: str, status: str, code: str) -> None:
    failed = Failure("it failed", name, int(status), ADVICE)
    problem = problem_of(int(status), [Step(1, 19, "begin"), failed], "", "box", "g1")
    assert problem.code == code
    assert problem.host == "box"
    assert problem.fix
    assert "it failed" in problem.message
    assert "minikube's advice: Look at the journal\nand then again" in problem.details


def test_every_family_of_statuses_has_a_name() -> None:
    assert {int(status) // 10 for _, status, _ in REASONS} - {0} <= set(FAMILIES)


@pytest.mark.parametrize(
    ("name", "status", "text", "code"),
    [
        (
            "GUEST_PROVISION", 80,
            'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]]',
            "minikube-toolkit-missing",
        ),
        (
            "GUEST_PROVISION", 80, 'runtime create failed: exec: "nvidia-container-runtime": executable file not found',
            "minikube-toolkit-missing",
        ),
        ("GUEST_PROVISION", 80, "unresolvable CDI devices nvidia.com/gpu=all", "minikube-toolkit-missing"),
        (
            "MK_USAGE", 14,
            "The gpus flag can only be used with the docker driver and docker container-runtime",
            "minikube-gpus-runtime",
        ),
        ("GUEST_PROVISION", 80, "Bind for 127.0.0.1:32772 failed: port is already allocated", "minikube-port-taken"),
        ("GUEST_START", 80, "write /var: no space left on device", "minikube-resources"),
        ("GUEST_PROVISION", 80, "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs", "minikube-resources"),
        ("MK_USAGE", 14, "Docker has only 1984MB memory but you specified 4096MB", "minikube-resources"),
        ("GUEST_PROVISION", 80, "Unable to find image 'kicbase' locally", "minikube-image-pull"),
        ("PROVIDER_DOCKER_ERROR", 69, "Cannot connect to the Docker daemon", "minikube-docker-away"),
    ],
)  # fmt: skip
def test_words_tell_more_than_a_name(name: str, status: int, text: str, code: str) -> None:
    assert problem_of(status, [Failure(text, name, status)], "", "box", "g1").code == code


CLI = (
    "docker: Error response from daemon: OCI runtime create failed: error running prestart hook: nvidia-container-cli: "
)


@pytest.mark.parametrize(
    ("said", "code", "fix"),
    [
        (CLI + "initialization error: nvml error: driver/library version mismatch", "docker-driver-mismatch", "reboot"),
        ("Failed to initialize NVML: Driver/library version mismatch", "docker-driver-mismatch", "reboot"),
        (CLI + "initialization error: nvml error: driver not loaded", "docker-driver-not-loaded", "modprobe nvidia"),
        (CLI + "initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file",
         "docker-driver-missing", "install the driver"),
        (CLI + "requirement error: unsatisfied condition: cuda>=12.4, please update your driver to a newer version",
         "docker-driver-old", "nvidia_driver_branch"),
        (CLI + "mount error: failed to add device rules: bpf_prog_query(BPF_CGROUP_DEVICE) failed: not permitted",
         "docker-gpu-rules", "only-upgrade"),
        (CLI + "initialization error: driver rpc error: timed out", "docker-driver-silent", "nvidia-persistenced"),
        (CLI + "device error: GPU-7: unknown device", "docker-gpu-unknown", "nvidia-smi -L"),
        ("docker: Error response from daemon: unknown or invalid runtime name: nvidia", "docker-runtime-unknown",
         "nvidia-ctk runtime configure"),
        ("failed to construct OCI spec modifier: error generating CDI spec: failed to initialize NVML: Unknown Error",
         "docker-cdi-nvml", "nvidia-smi"),
        ("failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND", "docker-driver-missing", "install the driver"),
        ("toomanyrequests: You have reached your pull rate limit", "docker-rate-limit", "docker login"),
        (CLI + "something new", "minikube-toolkit-missing", "the same command again"),
    ],
)  # fmt: skip
def test_each_of_dockers_and_nvidias_words_has_its_own_remedy(said: str, code: str, fix: str) -> None:
    of_minikube = problem_of(80, [Failure(said, "GUEST_PROVISION", 80)], "", "box", "g1")
    of_trial = toolkit_problem(said, "box", "g1")
    assert of_trial is not None
    for problem in (of_minikube, of_trial):
        assert problem.code == code
        assert fix in problem.fix


def test_words_that_came_beside_the_error_count_when_it_says_nothing() -> None:
    said = "permission denied while trying to connect to the Docker daemon socket"
    assert problem_of(1, [], said, "box", "g1").code == "minikube-docker-denied"
    warned: list[Event] = [Remark("manifest unknown", warning=True), Failure("failed", "GUEST_START", 80)]
    assert problem_of(80, warned, "", "box", "g1").code == "minikube-image-pull"


def test_a_name_is_worth_more_than_what_came_beside_it() -> None:
    events = [Remark("failed to pull the preload", warning=True), Failure("few", "RSRC_INSUFFICIENT_CORES", 29)]
    assert problem_of(29, events, "", "box", "g1").code == "minikube-resources"


def test_an_error_that_force_passed_over_is_not_what_it_failed_of() -> None:
    events = [Failure("not as root", "DRV_AS_ROOT", 57), Failure("no kubelet", "K8S_KUBELET_NOT_RUNNING", 109)]
    assert "no kubelet" in problem_of(109, events, "", "box", "g1").message
    ended = problem_of(143, events[:1], "", "box", "g1")
    assert ended.code == "minikube-failed"
    assert ended.message == "minikube ended with status 143: it said nothing"


def test_a_failure_without_a_name_says_what_it_is_about() -> None:
    problem = problem_of(90, [Failure("cannot restart docker", "RUNTIME_ENABLE", 90, ADVICE)], "", "box", "g1")
    assert problem.code == "minikube-failed"
    assert problem.message == (
        "minikube ended with status 90, which is about the container runtime: cannot restart docker"
    )
    assert problem.fix == "Look at the journal"
    assert problem_of(90, [], "", "box", "g1").fix == ("look at what it said, below, and at `minikube logs -p g1`")


def test_dockers_own_words_are_told_before_minikubes() -> None:
    text = (
        "Failed to start host: docker run --name gpuctl: exit status 125\nstderr:\ndocker: Error response from daemon: "
    )
    assert problem_of(80, [Failure(f"{text}the words\nmore", "GUEST_PROVISION", 80)], "", "box", "g1").message == (
        "minikube ended with status 80, which is about the node: the words"
    )


def test_a_program_that_is_not_there() -> None:
    said = "[Errno 2] No such file or directory: '/usr/local/bin/minikube'"
    assert problem_of(127, [], said, "box", "g1").code == "minikube-missing"


def recorded(name: str) -> list[Event]:
    """Events as minikube 1.38.1 printed them, without a network and without Docker; addresses are changed."""
    text = (TABLE.parent / "recorded" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [found for line in text.splitlines() if (found := parse_event(line))]


def test_the_box_that_asks_for_a_report_is_not_what_it_failed_of() -> None:
    problem = problem_of(40, recorded("unknown-version"), "", "box", "g1")
    assert problem.code == "minikube-version"
    assert "(minikube: error fetching Kubernetes version list" in problem.message


def test_a_docker_that_is_down_is_named_with_force_too() -> None:
    problem = problem_of(14, recorded("docker-down-forced"), "", "box", "g1")
    assert problem.code == "minikube-docker-away"
    assert "Ensure your Docker is running and is healthy." in problem.message


def test_an_error_without_a_name_is_taken_when_there_is_no_other() -> None:
    events = [*recorded("delete-nothing"), Failure("╭─ a box")]
    assert '"gpuctl" profile does not exist' in problem_of(1, events, "", "box", "g1").message


def test_a_profile_that_minikube_does_not_know() -> None:
    events = recorded("status-unknown")
    said = "\n".join(event.message for event in events if isinstance(event, Remark))
    assert problem_of(85, events, said, "box", "g1").code == "minikube-profile-unknown"


def test_flags_that_it_does_not_know() -> None:
    said = "Error: unknown flag: --nonsense\nSee 'minikube start --help' for usage."
    assert problem_of(14, [], said, "box", "g1").code == "minikube-usage"


def test_long_reports_keep_their_end() -> None:
    said = "\n".join(f"line {number}" for number in range(2000))
    details = problem_of(80, [Failure("failed", "GUEST_START", 80)], said, "box", "g1").details
    assert len(details) <= 2000
    assert details.endswith("line 1999")


def test_every_advice_is_about_the_profile() -> None:
    for rule in _RULES:
        fix = rule.fix.format(profile="g1")
        assert "gpuctl minikube" not in fix or "--profile g1" in fix
        assert "{" not in fix
    broken = Failure("the record is gone", "GUEST_NOT_FOUND", 85)
    assert problem_of(85, [broken], "", "box", "g1").fix == "`gpuctl minikube down --profile g1` takes the rest away"


def test_of_a_long_answer_the_end_is_told_where_the_cause_stands() -> None:
    missing = 'exec: "nvidia-container-runtime": executable file not found in $PATH'
    said = f"docker: Error response from daemon: failed to create task: {'unable to retrieve ' * 20}{missing}"
    found = toolkit_problem(said, "box", "gpuctl")
    assert found is not None
    assert found.message.endswith(f"{missing})")
    assert len(found.message) < 420
