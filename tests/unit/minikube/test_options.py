"""What is asked of a profile: refused before anything runs, or passed on as minikube takes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.minikube.command import MINIKUBE, start_command, start_environment
from bootstrap.minikube.options import Bundle, ProfileOptions, check_options, parse_bundle, with_bundle, with_defaults

BUNDLE = Bundle(
    "/var/lib/gpuctl/minikube-bundle",
    base_image="local/kicbase:v0.0.50",
    kubernetes_version="v1.36.3",
    cni="bridge",
    addon_images={"NvidiaDevicePlugin": "registry.example/plugin:v0.18.2"},
)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"profile": "g1"},
        {"profile": "lab.gpu-1"},
        {"kubernetes_version": "1.35.1"},
        {"kubernetes_version": "v1.36.0-rc.1"},
        {"cpus": "8", "memory": "8g", "disk_size": "40GiB"},
        {"cpus": "max", "memory": "no-limit"},
        {"memory": "1.5 GB"},
        {"memory": "4096"},
        {"gpus": "none", "container_runtime": "containerd"},
        {"gpus": "nvidia.com"},
        {"extra_config": ("kubelet.fail-cgroupv1=false", "apiserver.v=4")},
    ],
)
def test_what_minikube_takes_is_taken(values: dict[str, Any]) -> None:
    check_options(ProfileOptions(**values))


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ({"profile": "g"}, "usage", "two characters or more"),
        ({"profile": "a_b"}, "usage", "two characters or more"),
        ({"profile": "a-"}, "usage", "at both ends"),
        ({"profile": ""}, "usage", "two characters or more"),
        ({"profile": "a b"}, "usage", "two characters or more"),
        ({"profile": "Start"}, "usage", "a word of minikube's own"),
        ({"gpus": "amd"}, "usage", "none of all, nvidia.com, none"),
        ({"container_runtime": "cri-o"}, "usage", "none of docker, containerd"),
        ({"gpus": "all", "container_runtime": "containerd"}, "minikube-gpus-runtime", "docker runtime only"),
        ({"container_runtime": "containerd"}, "minikube-gpus-runtime", "docker runtime only"),
        ({"kubernetes_version": "latest"}, "usage", "is no version"),
        ({"cpus": "0"}, "usage", "is no number"),
        ({"cpus": "two"}, "usage", "is no number"),
        ({"memory": "8x"}, "usage", "--memory '8x' is no amount"),
        ({"memory": "-8g"}, "usage", "is no amount"),
        ({"disk_size": "max"}, "usage", "--disk-size 'max' is no amount"),
        ({"extra_config": ("max-pods=200",)}, "usage", "is not COMPONENT.KEY=VALUE"),
    ],
)
def test_what_it_would_refuse_later_is_refused_now(values: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(GpuctlError, match=words) as caught:
        check_options(ProfileOptions(**values))
    assert caught.value.exit_code is ExitCode.USAGE
    assert [problem.code for problem in caught.value.problems] == [code]
    assert caught.value.problems[0].fix


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(GpuctlError) as caught:
        check_options(ProfileOptions(profile="g", cpus="x", memory="y", disk_size="z"))
    assert len(caught.value.problems) == 4


def test_a_bundle_gives_what_nobody_gave() -> None:
    found = with_bundle(ProfileOptions(cni="calico"), BUNDLE)
    assert (found.base_image, found.kubernetes_version, found.cni) == ("local/kicbase:v0.0.50", "v1.36.3", "calico")


@pytest.mark.parametrize(
    ("asked", "present", "gpus"),
    [("", True, "all"), ("", False, "none"), ("none", True, "none"), ("all", False, "all")],
)
def test_gpus_that_nobody_spoke_of_are_those_of_the_machine(asked: str, present: bool, gpus: str) -> None:
    assert with_defaults(ProfileOptions(gpus=asked), gpus=present).gpus == gpus


def test_the_document_of_a_bundle() -> None:
    text = '{"base_image": "a:b", "kubernetes_version": "v1.36.3", "cni": "bridge", "addon_images": {"A": "b"}}'
    assert parse_bundle("/b", text) == Bundle("/b", "a:b", "v1.36.3", "bridge", {"A": "b"})
    assert parse_bundle("/b", "{}") == Bundle("/b")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"addon_images": ["a"]}'])
def test_a_document_that_is_none(text: str) -> None:
    with pytest.raises(GpuctlError) as caught:
        parse_bundle("/b", text)
    assert caught.value.exit_code is ExitCode.SETTINGS
    assert caught.value.problems[0].code == "minikube-bundle-invalid"


def test_the_command_of_a_start() -> None:
    options = ProfileOptions(
        profile="g1", gpus="all", container_runtime="docker", kubernetes_version="v1.35.1", cpus="8", memory="16g",
        disk_size="40g", addons=("ingress", "registry"), extra_config=("kubelet.max-pods=200",),
    )  # fmt: skip
    assert start_command(options, Bundle(), root=False) == [
        MINIKUBE, "start", "--profile=g1", "--driver=docker", "--output=json", "--wait=all",
        "--container-runtime=docker", "--gpus=all", "--kubernetes-version=v1.35.1", "--cpus=8", "--memory=16g",
        "--disk-size=40g", "--extra-config=kubelet.max-pods=200", "--addons=ingress", "--addons=registry",
    ]  # fmt: skip


def test_the_command_of_a_start_with_a_bundle() -> None:
    options = with_bundle(ProfileOptions(gpus="nvidia.com", container_runtime="docker"), BUNDLE)
    assert start_command(options, BUNDLE, root=False) == [
        MINIKUBE, "start", "--profile=gpuctl", "--driver=docker", "--output=json", "--wait=all",
        "--container-runtime=docker", "--gpus=nvidia.com", "--kubernetes-version=v1.36.3",
        "--base-image=local/kicbase:v0.0.50", "--cni=bridge", "--preload=false", "--force",
    ]  # fmt: skip


def test_without_gpus_nothing_is_said_of_them() -> None:
    argv = start_command(ProfileOptions(gpus="none", container_runtime="containerd"), Bundle(), root=False)
    assert not [word for word in argv if word.startswith("--gpus")]
    assert "--container-runtime=containerd" in argv


@pytest.mark.parametrize(
    ("root", "bundle", "asked", "forced"),
    [(False, False, False, False), (True, False, False, True), (False, True, False, True), (False, False, True, True)],
)
def test_force_has_three_reasons(root: bool, bundle: bool, asked: bool, forced: bool) -> None:
    options = replace(ProfileOptions(gpus="all"), force=asked)
    argv = start_command(options, BUNDLE if bundle else Bundle(), root=root)
    assert ("--force" in argv) is forced


def test_the_environment_of_a_start() -> None:
    two = replace(BUNDLE, addon_images={"B": "b:2", "A": "a:1"})
    assert start_environment(two) == {"MINIKUBE_ADDON_IMAGES": "A=a:1,B=b:2"}
    assert start_environment(Bundle()) == {}
