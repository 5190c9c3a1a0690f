"""The parts for W&B Launch: wheels and image beside the rest, and a mirror that is whole without them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError
from bootstrap.testvm.components import assemble, catalog, images, launch, optional, parts, tools
from bootstrap.testvm.components.cache import Store
from bootstrap.testvm.components.catalog import Image
from bootstrap.testvm.components.parts import Progress
from bootstrap.testvm.components.tarlayer import LayerWriter

KNOWN = catalog.load().launch


def layer(path: Path, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with LayerWriter(path) as writer:
        writer.file(name, name.encode())
    return path


def layout(root: Path, ref: str) -> images.Layout:
    made = images.Layout(root)
    made.start()
    made.finish({ref: images.add_image(made, Image(ref, {}), [], layer(root / "top.tar", ref.replace("/", "-")))})
    return made


def site(root: Path) -> Path:
    """A pip that was run, in small."""
    for name, mode in (("wandb/__init__.py", 0o644), ("wandb/bin/wandb-core", 0o755)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
        (root / name).chmod(mode)
    return root


def make(tmp_path: Path, said: list[Progress], only: frozenset[str] = frozenset()) -> parts.Builder:
    built = parts.Builder(catalog.load(), Store(tmp_path), said.append, only)
    for name in KNOWN.image.layers:
        built.entries[f"layer-{name}"] = layer(tmp_path / name / "layer.tar", name).parent
        built.digests[f"layer-{name}"] = name
    return built


def test_the_image_is_the_one_that_the_role_asks_for() -> None:
    assert KNOWN.image.ref == "docker.io/wandb/launch-agent:0.31.0"
    assert "wandb==0.31.0" in launch.requirements().read_text(encoding="utf-8")


def test_programs_stay_programs_and_the_layer_comes_out_the_same(tmp_path: Path) -> None:
    for side in ("a", "b"):
        launch.write_site_layer(site(tmp_path / side), tmp_path / f"{side}.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        modes = {member.name: member.mode for member in tar}
        passwd = tar.extractfile("etc/passwd")
        assert passwd is not None
        assert b"launch_agent:x:1000:1000::/home/launch_agent:" in passwd.read()
    assert modes["site/wandb/bin/wandb-core"] == 0o755
    assert modes["site/wandb/__init__.py"] == 0o644
    assert modes["home/launch_agent"] == 0o1777


def test_images_of_two_layouts_lie_side_by_side(tmp_path: Path) -> None:
    first, second = layout(tmp_path / "a", "x.io/a:1"), layout(tmp_path / "b", "x.io/b:1")
    united = images.unite(images.Layout(tmp_path / "all"), [first, second])
    assert united == images.references(first.root) | images.references(second.root)
    blobs = {path.name for part in ("a", "b") for path in (tmp_path / part / "blobs" / "sha256").iterdir()}
    assert {path.name for path in (tmp_path / "all" / "blobs" / "sha256").iterdir()} == blobs


def test_wheels_and_image_are_made_and_then_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(tool: str, argv: list[str], **_: object) -> None:
        asked.append(tool)
        if "--dest" in argv:
            Path(argv[argv.index("--dest") + 1], "a-1-py3-none-any.whl").write_bytes(b"a")
        if "--target" in argv:
            site(Path(argv[argv.index("--target") + 1]))
            Path(argv[argv.index("--target") + 1], "bin").mkdir()

    monkeypatch.setattr(tools, "run", run)
    for _ in range(2):
        said: list[Progress] = []
        built = make(tmp_path, said)
        optional.add_launch(built)
    assert asked == [launch.WHEELS, launch.IMAGE, launch.IMAGE]
    assert [(one.component, one.state) for one in said] == [(launch.WHEELS, "cached"), (launch.IMAGE, "cached")]
    index = json.loads((built.entries[launch.IMAGE] / "index.json").read_text())
    assert [entry["annotations"][images.REF_NAME] for entry in index["manifests"]] == [KNOWN.image.ref]
    assert not (built.entries[launch.IMAGE] / "site").exists()
    assert set(launch.PARTS) <= set(assemble.PARTS)


def test_a_machine_without_a_registry_gets_its_mirror_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(tool: str, *_: object, **__: object) -> None:
        raise tools.build_failed(tool, "no registry")

    monkeypatch.setattr(tools, "run", run)
    said: list[Progress] = []
    built = make(tmp_path, said)
    optional.add_launch(built)
    assert [(one.component, one.state) for one in said] == [(launch.WHEELS, "started"), (launch.WHEELS, "failed")]
    assert not set(launch.PARTS) & set(built.entries)
    with pytest.raises(GpuctlError):  # who asks for just that part is told by the exit status, too
        optional.add_launch(make(tmp_path, [], frozenset({launch.WHEELS})))
