from __future__ import annotations

import re

import pytest
import yaml

from bootstrap.testvm.components import catalog, golang

CATALOG = catalog.load()
GO = sorted(CATALOG.go)


@pytest.mark.parametrize("name", GO)
def test_a_module_pins_what_the_catalogue_says(name: str) -> None:
    component = CATALOG.go[name]
    text = (component.folder / "go.mod").read_text()
    assert re.search(
        rf"^\s*(?:require )?{re.escape(component.module)} {re.escape(component.version)}$", text, re.MULTILINE
    )
    assert f"{component.module} {component.version} h1:" in (component.folder / "go.sum").read_text()


@pytest.mark.parametrize("name", GO)
def test_a_module_imports_exactly_the_programs_that_are_built(name: str) -> None:
    component = CATALOG.go[name]
    imported = re.findall(r'_ "([^"]+)"', (component.folder / "tools.go").read_text())
    assert sorted(imported) == sorted(component.programs.values())


def test_every_module_folder_is_a_component() -> None:
    assert sorted(p.name for p in catalog.MODULES.iterdir()) == GO


def test_kubernetes_parts_come_from_one_release() -> None:
    replaced = re.findall(
        r"^\s*(?:replace )?(k8s\.io/\S+) => \1 (\S+)$",
        (catalog.MODULES / "kubernetes/go.mod").read_text(),
        re.MULTILINE,
    )
    assert len(replaced) > 20
    assert {version for _, version in replaced} == {CATALOG.go["kubernetes"].version.replace("v1.", "v0.")}


@pytest.mark.parametrize("ref", sorted(CATALOG.images))
def test_images_are_pinned_and_made_of_what_there_is(ref: str) -> None:
    image = CATALOG.images[ref]
    assert re.fullmatch(r"[a-z0-9.-]+\.[a-z]+/[a-z0-9/-]+:v?\d[\w.-]*", ref)
    assert set(image.layers) <= set(CATALOG.layers)
    _programs_exist(image.programs)


@pytest.mark.parametrize("name", sorted(CATALOG.packages))
def test_packages_are_pinned_and_made_of_what_there_is(name: str) -> None:
    package = CATALOG.packages[name]
    assert re.fullmatch(r"\d+\.\d+\.\d+-[\w.~]+", package.version)
    _programs_exist(package.programs)


@pytest.mark.parametrize("name", ["kubeadm", "kubelet", "kubectl"])
def test_package_versions_follow_the_modules(name: str) -> None:
    assert CATALOG.packages[name].version.startswith(CATALOG.go["kubernetes"].version.removeprefix("v") + "-")


def test_layers_are_in_an_order_in_which_they_can_be_made() -> None:
    seen: set[str] = set()
    for name, layer in CATALOG.layers.items():
        assert layer.below is None or layer.below in seen
        seen.add(name)


def test_unknown_key_is_refused() -> None:
    document = yaml.safe_load((catalog.HERE / "catalog.yml").read_text())
    document["images"]["registry.k8s.io/pause:3.10.2"]["entry_point"] = ["/pause"]
    with pytest.raises(TypeError, match="entry_point"):
        catalog.parse(document)


def test_expand_names_every_program_of_a_component() -> None:
    expanded = catalog.expand({"cni/*": "/opt/cni/bin/", "etcd/etcd": "/usr/bin/etcd"}, CATALOG.go)
    assert expanded["cni/bridge"] == "/opt/cni/bin/bridge"
    assert len(expanded) == len(CATALOG.go["cni"].programs) + 1


@pytest.mark.parametrize(
    ("text", "version"), [("go1.26.8", (1, 26, 8)), ("1.25", (1, 25, 0)), ("go1.27rc1", (1, 27, 0)), ("devel", (0,))]
)
def test_go_versions_are_numbers(text: str, version: tuple[int, ...]) -> None:
    assert golang.parse_version(text) == version


def test_needed_go_is_the_newest_line_not_the_largest_text() -> None:
    needed = golang.parse_version(golang.needed_version(CATALOG))
    lines = [re.search(r"^go (\S+)", (i.folder / "go.mod").read_text(), re.MULTILINE) for i in CATALOG.go.values()]
    assert needed == max(golang.parse_version(line[1]) for line in lines if line)


def test_the_go_command_is_reproducible_and_strips() -> None:
    command = golang.argv(CATALOG.go["kubernetes"], "go", "out/")
    assert "-trimpath" in command
    flags = next(part for part in command if part.startswith("-ldflags="))
    assert "-s -w" in flags
    assert "-X=k8s.io/component-base/version.gitVersion=v1.36.3" in flags


def test_programs_that_call_the_driver_resolve_it_late() -> None:
    for name in ("k8s-device-plugin", "nvidia-container-toolkit"):
        assert "-Wl,-z,lazy" in " ".join(golang.argv(CATALOG.go[name], "go", "."))


@pytest.mark.parametrize(
    ("package", "name"), [("go.etcd.io/etcd/server/v3", "server"), ("k8s.io/kubernetes/cmd/kubelet", "kubelet")]
)
def test_name_that_go_gives(package: str, name: str) -> None:
    assert golang.built_name(package) == name


def test_names_that_go_gives_do_not_collide() -> None:
    for component in CATALOG.go.values():
        names = [golang.built_name(package) for package in component.programs.values()]
        assert len(set(names)) == len(names)


def _programs_exist(programs: dict[str, str]) -> None:
    for source in programs:
        component, program = source.split("/")
        if component in CATALOG.go:
            assert program == "*" or program in CATALOG.go[component].programs
        else:
            assert component in CATALOG.c
            assert program == component
