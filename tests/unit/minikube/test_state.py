"""What a look at a profile means, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.minikube.checks import check_docker, check_host, check_profile, check_size, foreign_context
from bootstrap.minikube.look import Seen, look, reaches, read_look
from bootstrap.minikube.options import ProfileOptions
from bootstrap.minikube.starting import current_context
from bootstrap.minikube.state import (
    Phase,
    differences,
    made_with,
    megabytes,
    missing_addons,
    parts_of,
    phase_of,
)
from tests.unit.factories import host_facts
from tests.unit.minikube.machine import FOREIGN, LABELS, Machine, node, record, status_of

OURS = """
clusters:
- name: gpuctl
  cluster: {server: "https://127.0.0.1:32771", extensions: [{name: cluster_info, extension: {version: v1.38.1}}]}
contexts: [{name: gpuctl, context: {cluster: gpuctl, user: gpuctl}}]
"""


def seen(machine: Machine) -> Seen:
    return look(machine, "box", "gpuctl")


def stopped(**changes: Any) -> Machine:
    machine = Machine.running(**changes)
    machine.stops()
    return machine


@pytest.mark.parametrize(
    ("machine", "phase"),
    [
        (Machine(), Phase.ABSENT),
        (Machine(docker=""), Phase.ABSENT),
        (Machine.running(), Phase.RUNNING),
        (stopped(), Phase.STOPPED),
        (Machine(config=record(), folder=True, container="exited"), Phase.STOPPED),
        (replace(Machine.running(), status=status_of("Running", "Stopped", "Paused")), Phase.PAUSED),
        (replace(Machine.running(), status=status_of("Running", "Stopped", "Stopped")), Phase.IMPAIRED),
        (replace(Machine.running(), status=status_of("Running", "Running", "Error")), Phase.IMPAIRED),
        (replace(Machine.running(), status=status_of("InsufficientStorage", "Running", "Running")), Phase.IMPAIRED),
        (replace(Machine.running(), status=None), Phase.IMPAIRED),
        (replace(Machine.running(), status=status_of("Running", kubeconfig="Misconfigured")), Phase.RUNNING),
        (Machine(config=record(), folder=True), Phase.BROKEN),
        (Machine(folder=True), Phase.BROKEN),
        (Machine(container="running"), Phase.BROKEN),
        (Machine(named={"volume": LABELS}), Phase.BROKEN),
        (Machine(named={"network": LABELS, "volume": {}}), Phase.BROKEN),
        (Machine(named={"container": {}, "volume": None, "network": {"a": "b"}}), Phase.ABSENT),
        (Machine(config=record(), folder=True, named={"container": None}), Phase.BROKEN),
        (replace(Machine.running(), docker=""), Phase.UNKNOWN),
        (Machine(config=record(), folder=True, docker=""), Phase.UNKNOWN),
    ],
)
def test_the_phase(machine: Machine, phase: Phase) -> None:
    assert phase_of(seen(machine)) is phase


def test_the_parts() -> None:
    machine = replace(Machine.running(), status=status_of("Running", "Stopped", "Paused"))
    found = parts_of(seen(machine))
    assert found == {"Host": "Running", "Kubelet": "Stopped", "APIServer": "Paused", "Kubeconfig": "Configured"}
    assert parts_of(seen(Machine())) == {}


def test_what_was_seen_of_the_node() -> None:
    found = seen(replace(Machine.running(), node=node(3, ready=False))).node
    assert found is not None
    assert (found.name, found.ready, found.gpus) == ("gpuctl", False, 3)
    assert seen(stopped()).node is None


def test_a_record_that_is_no_object_is_none() -> None:
    found = Machine(folder=True)._seen()
    for text in ("", "null", "[1]", "{"):
        assert read_look({**found, "config": text}).config is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, []),
        ({"gpus": "all"}, []),
        ({"gpus": "none"}, ["GPUs all → none"]),
        ({"gpus": "nvidia.com"}, ["GPUs all → nvidia.com"]),
        ({"container_runtime": "containerd"}, ["container runtime docker → containerd"]),
        ({"kubernetes_version": "1.36.3"}, []),
        ({"kubernetes_version": "v1.35.1"}, ["Kubernetes v1.36.3 → v1.35.1"]),
        ({"cpus": "2", "memory": "4g", "disk_size": "20000"}, []),
        ({"cpus": "max", "memory": "max"}, []),
        ({"cpus": "no-limit", "memory": "no-limit"}, ["CPUs 2 → no-limit", "memory 4096 MB → no-limit"]),
        ({"cpus": "4", "memory": "8g"}, ["CPUs 2 → 4", "memory 4096 MB → 8192 MB"]),
        ({"disk_size": "40GiB"}, ["disk 20000 MB → 40960 MB"]),
        ({"cni": "calico"}, ["CNI unset → calico"]),
        ({"base_image": "other:1"}, ["base image local/kicbase:v0.0.50 → other:1"]),
        ({"extra_config": ("kubelet.max-pods=200",)}, ["extra config unset → kubelet.max-pods=200"]),
    ],
)
def test_in_what_a_profile_differs(asked: dict[str, Any], said: list[str]) -> None:
    assert [str(found) for found in differences(seen(Machine.running()), ProfileOptions(**asked))] == said


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, []),
        ({"cpus": "no-limit", "memory": "no-limit"}, []),
        ({"cpus": "2", "memory": "4g"}, ["CPUs no-limit → 2", "memory no-limit → 4096 MB"]),
    ],
)
def test_in_what_a_profile_without_limits_differs(asked: dict[str, Any], said: list[str]) -> None:
    machine = Machine.running(config=record(CPUs=0, Memory=0))
    assert [str(found) for found in differences(seen(machine), ProfileOptions(**asked))] == said


def test_a_driver_of_another_kind_differs() -> None:
    found = differences(seen(Machine(config=record(Driver="kvm2"))), ProfileOptions())
    assert [str(item) for item in found] == ["driver kvm2 → docker"]


def test_nothing_differs_from_no_profile() -> None:
    assert differences(seen(Machine()), ProfileOptions(cpus="64")) == ()


def test_a_profile_is_asked_for_again_as_it_was_made() -> None:
    options = [{"Component": "kubelet", "Key": "max-pods", "Value": "200"}]
    machine = Machine(config=record(GPUs="nvidia", KubernetesConfig={"ExtraOptions": options, "CNI": "bridge"}), uid=0)
    again = made_with(seen(machine), "gpuctl")
    assert again == ProfileOptions(
        gpus="all", container_runtime="docker", kubernetes_version="v1.36.3", base_image="local/kicbase:v0.0.50",
        cni="bridge", force=True, extra_config=("kubelet.max-pods=200",),
    )  # fmt: skip
    assert differences(seen(machine), again) == ()


def test_addons_that_a_profile_has_not() -> None:
    asked = ProfileOptions(addons=("nvidia-device-plugin", "ingress", "registry"))
    assert missing_addons(seen(Machine.running()), asked) == ("ingress", "registry")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("8g", 8192), ("8G", 8192), ("8gb", 8192), ("8GiB", 8192), ("1.5g", 1536), ("4096", 4096), ("4096m", 4096),
        ("2097152k", 2048), ("1048576b", 1), ("1t", 1048576), ("max", None), ("no-limit", None), ("", None),
    ],
)  # fmt: skip
def test_amounts_are_minikubes(text: str, amount: int | None) -> None:
    assert megabytes(text) == amount


@given(st.text())
def test_no_text_breaks_an_amount(text: str) -> None:
    megabytes(text)


def refused(machine: Machine, *, local: bool = False, **asked: Any) -> tuple[str, str]:
    with pytest.raises(GpuctlError) as caught:
        check_profile(seen(machine), ProfileOptions(**asked), "box", local=local)
    assert caught.value.exit_code is ExitCode.PREFLIGHT
    [problem] = caught.value.problems
    assert problem.host == "box"
    assert problem.fix
    return problem.code, problem.message


def test_a_half_profile_is_refused() -> None:
    code, words = refused(Machine(config=record(), folder=True))
    assert (code, words) == (
        "minikube-profile-broken",
        "profile gpuctl is half there: minikube's record, no container",
    )
    assert refused(Machine(container="exited")) == (
        "minikube-profile-orphan",
        "Docker has a minikube container gpuctl (exited) of which this user has no record",
    )
    assert "no container, a volume, a network" in refused(Machine(named={"volume": LABELS, "network": LABELS}))[1]


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Machine(named={"container": None}), "a container gpuctl"),
        (
            Machine(named={"volume": {}, "network": {"name.minikube.sigs.k8s.io": "other"}}),
            "a volume and a network gpuctl",
        ),
        (Machine(config=record(), folder=True, named={"container": {}, "volume": LABELS}), "a container gpuctl"),
    ],
)
def test_what_somebody_else_has_under_the_name_is_refused(machine: Machine, words: str) -> None:
    code, message = refused(machine)
    assert code == "minikube-name-taken"
    assert message == f"Docker has {words} already, not of minikube's making"


def test_a_network_that_a_profile_was_made_with_is_its_own_business() -> None:
    machine = Machine.running(named={"network": {}})
    check_profile(seen(machine), ProfileOptions(), "box", local=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"memory": "17g"}, ["--memory 17408 MB, and the machine has 16384 MB"]),
        ({"memory": "100m"}, ["--memory 100 MB: Kubernetes needs 1800 MB to start"]),
        ({"cpus": "5"}, ["--cpus 5, and the machine has 4"]),
        ({"cpus": "1"}, ["--cpus 1: Kubernetes needs 2 to start"]),
        ({"cpus": "5", "memory": "1t", "force": True}, ["--memory 1048576 MB, and", "--cpus 5, and"]),
    ],
)
def test_a_size_that_cannot_be_is_refused(options: dict[str, Any], words: list[str]) -> None:
    facts = host_facts("box")
    with pytest.raises(GpuctlError) as caught:
        check_size(seen(Machine()), ProfileOptions(**options), facts)
    found = caught.value.problems
    assert {(problem.code, problem.host) for problem in found} == {("minikube-resources", "box")}
    assert all(part in problem.message and problem.fix for part, problem in zip(words, found, strict=True))
    check_size(seen(Machine.running()), ProfileOptions(**options), facts)  # where it differs, that is told


@pytest.mark.parametrize(
    "options",
    [{}, {"memory": "16g", "cpus": "4"}, {"memory": "max", "cpus": "no-limit"}, {"memory": "1g", "force": True}],
)
def test_sizes_that_can_be(options: dict[str, Any]) -> None:
    check_size(seen(Machine()), ProfileOptions(**options), host_facts("box"))
    check_size(seen(Machine()), ProfileOptions(cpus="9"), host_facts("box", cpus=0))


def test_a_profile_is_not_called_broken_because_docker_is_down() -> None:
    machine = replace(Machine.running(), docker="")
    check_profile(seen(machine), ProfileOptions(), "box", local=False)
    assert refused(machine, cpus="4")[0] == "minikube-differs"


def test_a_profile_made_otherwise_is_refused_with_all_differences() -> None:
    code, words = refused(Machine.running(), cpus="4", memory="8g")
    assert code == "minikube-differs"
    assert words == "profile gpuctl was made otherwise: CPUs 2 → 4; memory 4096 MB → 8192 MB"


def test_a_context_of_another_cluster_is_refused() -> None:
    code, words = refused(Machine(kubeconfig=FOREIGN))
    assert code == "minikube-context-taken"
    assert words == "the kubeconfig has a context gpuctl already, of the cluster at https://192.0.2.1:6443"
    assert refused(stopped(kubeconfig=FOREIGN))[0] == "minikube-context-taken"


def test_our_own_context_is_none_of_another() -> None:
    check_profile(seen(Machine(kubeconfig=OURS)), ProfileOptions(), "box", local=False)
    check_profile(seen(Machine.running(kubeconfig=FOREIGN)), ProfileOptions(), "box", local=False)


@pytest.mark.parametrize("text", ["", "{", "[]", "clusters: 1", "contexts: [x]", "clusters: [{name: other}]"])
def test_a_kubeconfig_without_that_name(text: str) -> None:
    assert foreign_context(seen(Machine(kubeconfig=text)), "gpuctl") == ""


def test_root_is_refused_on_this_machine_only() -> None:
    assert refused(Machine(uid=0), local=True)[0] == "minikube-root"
    check_profile(seen(Machine(uid=0)), ProfileOptions(), "box", local=False)
    check_profile(seen(Machine(uid=0)), ProfileOptions(force=True), "box", local=True)
    check_profile(seen(Machine.running(uid=0)), ProfileOptions(), "box", local=True)


def test_gpus_that_were_asked_for_must_be_there() -> None:
    assert refused(Machine(pci_gpus=0), gpus="all")[0] == "gpu-missing"
    check_profile(seen(Machine(pci_gpus=0)), ProfileOptions(), "box", local=False)
    check_profile(seen(Machine(pci_gpus=0)), ProfileOptions(gpus="none"), "box", local=False)


@pytest.mark.parametrize(
    ("machine", "code"),
    [
        (Machine(docker=""), "minikube-docker-away"),
        (Machine(docker="", docker_error="permission denied while trying to connect"), "minikube-docker-denied"),
        (Machine(docker="24.0.9"), "minikube-docker-old"),
        (Machine(version=""), "minikube-missing"),
    ],
)
def test_what_a_host_lacks(machine: Machine, code: str) -> None:
    with pytest.raises(GpuctlError) as caught:
        check_host(seen(machine), "box")
    assert [problem.code for problem in caught.value.problems] == [code]


def test_a_host_that_lacks_nothing() -> None:
    check_host(seen(Machine(docker="29.0.1")), "box")
    check_host(seen(Machine(docker="28.5.2+dfsg4")), "box")


def test_docker_has_to_answer_where_there_is_a_profile() -> None:
    check_docker(seen(Machine()), "box")
    with pytest.raises(GpuctlError, match="Docker does not answer"):
        check_docker(seen(replace(Machine.running(), docker="")), "box")


def kubeconfig_to(server: str, name: str = "gpuctl") -> str:
    return json.dumps(
        {
            "contexts": [{"name": name, "context": {"cluster": "c"}}],
            "clusters": [{"name": "c", "cluster": {"server": server}}],
        }
    )


NETWORK = {
    "Ports": {"8443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32771"}], "22/tcp": None},
    "Networks": {"gpuctl": {"IPAddress": "192.168.49.2"}},
}


@pytest.mark.parametrize(
    ("text", "leads"),
    [
        (kubeconfig_to("https://127.0.0.1:32771"), True),
        (kubeconfig_to("https://192.168.49.2:8443"), True),
        (kubeconfig_to("https://127.0.0.1:32768"), False),  # the port of the start before
        (kubeconfig_to("https://127.0.0.1:32771", name="other"), False),
        (kubeconfig_to("127.0.0.1"), False),
        (kubeconfig_to("https://127.0.0.1:port"), False),
        ("", False),
        ("{", False),
        ("[]", False),
        ("contexts: [x]", False),
    ],
)
def test_whether_the_context_leads_to_the_profile(text: str, leads: bool) -> None:
    assert reaches(text, "gpuctl", NETWORK) is leads


@pytest.mark.parametrize("network", [{}, {"Ports": None, "Networks": None}, {"Ports": {"8443/tcp": [{}]}}])
def test_a_network_that_says_nothing(network: dict[str, Any]) -> None:
    assert not reaches(kubeconfig_to("https://127.0.0.1:32771"), "gpuctl", network)


def test_the_beginning_of_an_id_is_no_name() -> None:
    assert phase_of(seen(Machine(container="running", named_as="gpuctl7f00"))) is Phase.ABSENT


def test_a_profile_of_another_driver_is_not_half_there() -> None:
    machine = Machine(config=record(Driver="kvm2"), folder=True, status=status_of("Running"))
    assert phase_of(seen(machine)) is Phase.RUNNING
    code, words = refused(machine)
    assert (code, "driver kvm2 → docker" in words) == ("minikube-differs", True)


def test_what_docker_does_not_say_is_unknown() -> None:
    timeout = "docker did not answer within 40 s"
    assert phase_of(seen(replace(Machine.running(), unclear=timeout))) is Phase.UNKNOWN
    assert phase_of(seen(Machine(unclear=timeout))) is Phase.UNKNOWN
    with pytest.raises(GpuctlError, match="Docker does not say whether it has a container"):
        check_host(seen(Machine(unclear=timeout)), "box")


USED_ELSEWHERE = """
clusters: [{name: prod, cluster: {server: https://192.0.2.1:6443}}]
users: [{name: gpuctl, user: {token: x}}]
contexts: [{name: work, context: {cluster: prod, user: gpuctl}}]
"""


def test_a_user_of_that_name_that_serves_another_context_is_foreign() -> None:
    assert "user gpuctl" in foreign_context(seen(Machine(kubeconfig=USED_ELSEWHERE)), "gpuctl")
    assert refused(Machine(kubeconfig=USED_ELSEWHERE))[0] == "minikube-context-taken"


@pytest.mark.parametrize(
    "text",
    [
        "clusters: [{name: gpuctl, cluster: x}]",
        "clusters: [{name: gpuctl, cluster: {extensions: [x]}}]",
        "a: 2020-13-45",
        "users: [x]",
    ],
)
def test_a_kubeconfig_that_is_none(text: str) -> None:
    assert foreign_context(seen(Machine(kubeconfig=text)), "gpuctl") == ""
    assert current_context(seen(Machine(kubeconfig=text))) == ""


@pytest.mark.parametrize("part", [{"KubernetesConfig": 3}, {"KubernetesConfig": {"ExtraOptions": [1]}}, {"Addons": []}])
def test_a_record_of_another_shape(part: dict[str, Any]) -> None:
    config = {**record(), **part}
    found = read_look({**Machine.running()._seen(), "config": json.dumps(config)})
    assert made_with(found, "gpuctl").extra_config == ()
    assert differences(found, ProfileOptions()) is not None
