"""What a mirror has for multi-node training: patched modules, upstream's files, and images that are asked for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from bootstrap.errors import GpuctlError
from bootstrap.inventory.schema import variables
from bootstrap.testvm.components import batch, catalog, golang, images, optional, parts, patched
from bootstrap.testvm.components.cache import Store
from bootstrap.testvm.components.parts import Progress

CATALOG = catalog.load()
KNOWN = CATALOG.batch
CHAIN = golang.Toolchain("go", "go1.26.8")


def test_the_images_are_those_that_the_roles_ask_for() -> None:
    known = {name: str(variable.default) for name, variable in variables().items()}
    names = ("controller-manager", "scheduler", "webhook-manager")
    wanted = {f"{known['volcano_image_repository']}/vc-{name}:v{known['volcano_version']}" for name in names}
    wanted.add(known["jobset_image"].replace("{{ jobset_version }}", known["jobset_version"]))
    wanted.add(known["kubeflow_training_operator_image"])
    assert set(KNOWN.images) == wanted


@pytest.mark.parametrize("role", KNOWN.sources)
def test_the_programs_are_of_the_release_that_the_role_takes(role: str) -> None:
    assert CATALOG.go[KNOWN.sources[role]].version == f"v{variables()[f'{role}_version'].default}"


def test_groups_of_parts_have_their_programs() -> None:
    assert {CATALOG.group_of(name) for name in KNOWN.go} == {batch.GROUP}
    assert CATALOG.group_of("minikube") == "minikube"
    assert CATALOG.group_of("kubernetes") == ""
    assert set(optional.GROUPS) == set(catalog.GROUPS)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Folders of modules with one file each, which the roles are said to take."""
    found = {name: tmp_path / "modules" / name for name in KNOWN.sources.values()}
    for folder in found.values():
        (folder / "some").mkdir(parents=True)
        (folder / "some" / "file.yaml").write_text("kind: Thing\n")
    sha256 = hashlib.sha256(b"kind: Thing\n").hexdigest()
    monkeypatch.setattr(batch, "files_of", lambda _role: {"some/file.yaml": sha256})
    return found


def test_upstreams_files_are_served_where_roles_look_for_them(sources: dict[str, Path], tmp_path: Path) -> None:
    batch.copy_files(KNOWN, sources, tmp_path / "out")
    batch.lay({batch.FILES: tmp_path / "out"}, tmp_path / "served")
    assert {str(path.relative_to(tmp_path / "served")) for path in (tmp_path / "served").rglob("*.yaml")} == {
        f"{role}/some/file.yaml" for role in KNOWN.sources
    }
    batch.lay({}, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_file_that_is_another_is_not_served(sources: dict[str, Path], tmp_path: Path) -> None:
    (sources["jobset"] / "some" / "file.yaml").write_text("kind: Other\n")
    with pytest.raises(GpuctlError, match=r"some/file\.yaml of jobset is not what the role jobset takes"):
        batch.copy_files(KNOWN, sources, tmp_path / "out")


def make(tmp_path: Path, said: list[Progress], groups: frozenset[str]) -> parts.Builder:
    build = parts.Builder(CATALOG, Store(tmp_path / "cache"), said.append, frozenset(), groups)
    for name in KNOWN.go:
        folder = tmp_path / "programs" / name
        folder.mkdir(parents=True, exist_ok=True)
        for program in CATALOG.go[name].programs:
            (folder / program).write_bytes(name.encode())
        build.entries[name], build.digests[name] = folder, name
    return build


def test_the_parts_are_made_when_asked_for_and_then_taken(
    tmp_path: Path, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golang, "source", lambda item, _chain: sources[item.name])
    said: list[Progress] = []
    optional.add_batch(make(tmp_path, said, frozenset()), CHAIN)
    assert said == []
    asked = make(tmp_path, said, frozenset({batch.GROUP}))
    optional.add_batch(asked, CHAIN)
    assert set(images.references(asked.entries[batch.IMAGES])) == set(KNOWN.images)
    said.clear()
    later = make(tmp_path, said, frozenset())
    optional.add_batch(later, CHAIN)
    assert [(one.component, one.state) for one in said] == [(name, "cached") for name in (batch.FILES, batch.IMAGES)]


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A component's folder with a recipe, a stand-in for go that knows the module, and the module itself."""
    published = tmp_path / "published"
    (published / "pkg").mkdir(parents=True)
    (published / "pkg" / "known.go").write_text("package pkg\n")
    (published / "pkg").chmod(0o555)
    answer = json.dumps({"Dir": str(published), "Sum": "h1:right="})
    (tmp_path / "go").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tmp_path / "go").chmod(0o755)
    folder = tmp_path / "component"
    folder.mkdir()
    (folder / "added.go.txt").write_text("package pkg // ours\n")
    recipe = {
        "module": "m.example/apis", "version": "v1.0.0", "sum": "h1:right=", "folder": "apis",
        "add": {"pkg/added.go": "added.go.txt"},
    }  # fmt: skip
    (folder / "patched.yml").write_text(yaml.safe_dump(recipe))
    return folder


def test_a_module_is_built_with_what_it_lacks(module: Path, tmp_path: Path) -> None:
    with patched.work_folder(module, str(tmp_path / "go"), {}, tmp_path / "work") as folder:
        assert {path.name for path in (folder / "apis" / "pkg").iterdir()} == {"known.go", "added.go"}
        assert (folder / "apis" / "pkg" / "added.go").read_text() == "package pkg // ours\n"
    assert not (tmp_path / "work").exists()


def test_a_module_of_another_sum_is_refused(module: Path, tmp_path: Path) -> None:
    recipe = module / "patched.yml"
    recipe.write_text(recipe.read_text().replace("right", "other"))
    with (
        pytest.raises(GpuctlError, match="has the sum h1:right="),
        patched.work_folder(module, str(tmp_path / "go"), {}, tmp_path / "work"),
    ):
        pass
    assert not (tmp_path / "work").exists()


def test_a_component_without_a_recipe_is_built_where_it_lies(tmp_path: Path) -> None:
    with patched.work_folder(tmp_path, "go", {}, tmp_path / "work") as folder:
        assert folder == tmp_path
