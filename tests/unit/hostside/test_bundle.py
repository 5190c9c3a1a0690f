"""Large files by their sum, and bundles out of which nothing leaves its folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.hostside import gpuctl_bundle as bundle
from bootstrap.hostside import gpuctl_fetch as fetching
from bootstrap.hostside import gpuctl_minikube as minikube
from bootstrap.hostside import gpuctl_receipts as receipts
from bootstrap.hostside.gpuctl_hostio import HostError

INDEX = {
    "base_image": "local/kicbase:1",
    "kubernetes_version": "v1.36.3",
    "addon_images": {"A": "x/y:1"},
    "cni": "bridge",
}
SUM = "0" * 64


def entry(name: str, data: bytes = b"", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, data


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tar(path: Path, *entries: tuple[tarfile.TarInfo, bytes], index: Any = INDEX, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as out:
        for info, data in [*entries, entry("bundle.json", json.dumps(index).encode())] if index else entries:
            out.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_bundle_is_unpacked_with_plain_modes(tmp_path: Path, mode: str) -> None:
    program = entry("./cache/linux/amd64/v1/kubectl", b"x", mode=0o4711, uid=7, gid=7)
    made = tar(tmp_path / "b", program, entry("node/", type=tarfile.DIRTYPE, mode=0o700), mode=mode)
    place = tmp_path / "bundle"
    bundle.unpack(str(made), str(place), SUM)
    assert json.loads((place / "bundle.json").read_text()) == INDEX
    assert stat.S_IMODE((place / "cache/linux/amd64/v1/kubectl").stat().st_mode) == 0o755
    assert stat.S_IMODE((place / "bundle.json").stat().st_mode) == 0o644
    assert stat.S_IMODE((place / "node").stat().st_mode) == 0o755
    assert bundle.unpacked_sum(str(place)) == SUM
    assert "bundle.new" not in names_in(tmp_path)


@pytest.mark.parametrize(
    "evil",
    [
        entry("/etc/passwd", b"x"),
        entry("../outside", b"x"),
        entry("cache/../../outside", b"x"),
        entry("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        entry("link", type=tarfile.LNKTYPE, linkname="bundle.json"),
        entry("device", type=tarfile.CHRTYPE),
        entry("pipe", type=tarfile.FIFOTYPE),
        entry(".sha256", b"x"),
    ],
    ids=lambda one: f"{one[0].name}-{one[0].type!r}",
)
def test_what_a_bundle_may_not_hold(tmp_path: Path, evil: tuple[tarfile.TarInfo, bytes]) -> None:
    place = tmp_path / "in" / "bundle"
    old = tar(tmp_path / "old", entry("kept", b"x"))
    place.parent.mkdir()
    bundle.unpack(str(old), str(place), SUM)
    with pytest.raises(HostError) as caught:
        bundle.unpack(str(tar(tmp_path / "b", evil)), str(place), "1" * 64)
    assert caught.value.code == "minikube-bundle-invalid"
    assert (place / "kept").exists(), "the earlier one stays"
    assert names_in(place.parent) == ["bundle"]


@given(st.text(alphabet="ab./\\", max_size=12))
def test_no_name_leads_out(name: str) -> None:
    try:
        parts = bundle.parts_of(name)
    except HostError:
        return
    assert os.path.normpath("/".join(["/in", *parts])).startswith("/in")


def test_a_file_is_no_folder_and_no_file_comes_twice(tmp_path: Path) -> None:
    for second in (entry("a/b", b"x"), entry("a", b"y")):
        with pytest.raises(HostError, match="cannot be unpacked"):
            bundle.unpack(str(tar(tmp_path / "b", entry("a", b"x"), second)), str(tmp_path / "bundle"), SUM)


@pytest.mark.parametrize("index", [None, [], {"base_image": 1}, {"addon_images": []}, "text"])
def test_an_index_that_is_none(tmp_path: Path, index: Any) -> None:
    with pytest.raises(HostError, match=r"bundle\.json"):
        bundle.unpack(str(tar(tmp_path / "b", index=index)), str(tmp_path / "bundle"), SUM)


def test_what_is_no_tar_is_named(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"nonsense")
    with pytest.raises(HostError, match="no tar file"):
        bundle.unpack(str(tmp_path / "b"), str(tmp_path / "bundle"), SUM)


def test_a_file_arrives_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"minikube")
    url, right = f"file://{tmp_path}/source", hashlib.sha256(b"minikube").hexdigest()
    place = tmp_path / "new"
    assert Path(fetching.fetch(url, right.upper(), str(place))).read_bytes() == b"minikube"
    for bad, code in (
        (f"file://{tmp_path}/none", "minikube-download-failed"),
        ("ftp://x/y", "minikube-download-failed"),
    ):
        with pytest.raises(HostError) as caught:
            fetching.fetch(bad, right, str(place))
        assert caught.value.code == code
    with pytest.raises(HostError) as caught:
        fetching.fetch(url, SUM, str(place))
    assert caught.value.code == "minikube-checksum"
    assert right in caught.value.message
    assert len(names_in(place)) == 1


def test_a_password_in_an_address_is_not_said() -> None:
    assert fetching.shown("https://me:secret@m.example:1/x?token=y") == "https://m.example:1/x"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(minikube, "PROGRAM", str(tmp_path / "bin" / "minikube"))
    monkeypatch.setattr(minikube, "BUNDLE", str(tmp_path / "gpuctl" / "bundle"))
    before: dict[str, Any] = {"files": {}}
    monkeypatch.setattr(receipts, "remember_file", lambda _, path: before["files"].setdefault(path, {}))
    monkeypatch.setattr(receipts, "read_before", lambda _: before)
    monkeypatch.setattr(minikube, "architecture", lambda: "amd64")
    return tmp_path


def test_the_program_is_fetched_once_and_replaced_when_it_is_another(host: Path) -> None:
    (host / "minikube-1-amd64").write_bytes(b"#!/bin/sh\necho v1\n")
    right = hashlib.sha256((host / "minikube-1-amd64").read_bytes()).hexdigest()
    given: tuple[str, str, str, str, str] = ("minikube", f"file://{host}/minikube-{{version}}-{{arch}}", "1", right, "")
    assert minikube.have_program(*given, adopt=False, check=True) == ["minikube 1"]
    assert not (host / "bin").exists()
    assert minikube.have_program(*given, adopt=False, check=False) == ["minikube 1"]
    assert minikube.version_of_program() == "v1"
    (host / "minikube-1-amd64").unlink()
    assert minikube.have_program(*given, adopt=False, check=False) == []
    (host / "bin" / "minikube").write_bytes(b"another")
    (host / "bin" / ".gpuctl-left").touch()
    with pytest.raises(HostError, match="minikube-1-amd64"):
        minikube.have_program(*given, adopt=False, check=False)
    assert names_in(host / "bin") == ["minikube"], "what a killed run left is swept"
    with pytest.raises(HostError, match="does not run"):
        minikube.version_of_program()


@pytest.mark.parametrize(
    ("text", "said", "fix", "adopt"),
    [
        (
            "#!/bin/sh\necho v1.37.0\n",
            "(v1.37.0)",
            "minikube_version=1.37.0 and minikube_sha256={sum} in the inventory; or",
            False,
        ),
        ("#!/bin/sh\necho v1.31.2\n", "(v1.31.2)", "move it away", True),  # older than --gpus
        ("#!/bin/sh\nexit 1\n", "(which does not run)", "move it away", True),
    ],
)
def test_a_program_of_somebody_else_s_is_neither_replaced_nor_taken_unasked(
    host: Path, text: str, said: str, fix: str, *, adopt: bool
) -> None:
    program = host / "bin" / "minikube"
    program.parent.mkdir()
    program.write_text(text)
    program.chmod(0o755)
    theirs = hashlib.sha256(text.encode()).hexdigest()
    for check in (True, False):
        with pytest.raises(HostError) as caught:
            minikube.have_program("minikube", "file:///nowhere", "1.38.1", SUM, "", adopt=adopt, check=check)
        assert caught.value.code == "minikube-foreign"
        assert said in caught.value.message
        assert fix.format(sum=theirs) in caught.value.fix
        assert ("minikube_sha256" in caught.value.fix) == ("minikube_sha256" in fix)
    assert program.read_text() == text
    assert minikube.have_program("minikube", "file:///nowhere", "1.37.0", theirs, "", adopt=False, check=False) == []


def test_a_program_of_somebody_else_s_that_is_new_enough_is_adopted(host: Path) -> None:
    """Where no version was asked for, as one finds it who followed minikube's own documentation."""
    program = host / "bin" / "minikube"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho v1.37.0\n")
    program.chmod(0o755)
    for check in (True, False):
        assert minikube.have_program("minikube", "file:///nowhere", "1.38.1", SUM, "", adopt=True, check=check) == []
    assert program.read_text() == "#!/bin/sh\necho v1.37.0\n"


def test_a_bundle_is_fetched_once_and_goes_with_its_address(host: Path) -> None:
    made = tar(host / "b.tar")
    right = hashlib.sha256(made.read_bytes()).hexdigest()
    (host / "gpuctl").mkdir(mode=0o700)
    assert minikube.have_bundle(f"file://{made}", right, "", check=False) == ["bundle"]
    assert stat.S_IMODE((host / "gpuctl").stat().st_mode) == 0o711
    made.unlink()
    assert minikube.have_bundle(f"file://{made}", right, "", check=False) == []
    assert names_in(host / "gpuctl") == ["bundle"]
    assert minikube.have_bundle("", "", "", check=False) == ["bundle removed"]
    assert names_in(host / "gpuctl") == []
    with pytest.raises(HostError, match="minikube_bundle_sha256"):
        minikube.have_bundle("https://x/y", "", "", check=True)


def test_a_version_without_a_sum_is_refused(host: Path) -> None:
    del host
    assert minikube.sum_for("1", "", {"amd64": SUM}) == SUM
    assert minikube.sum_for("1", "AB", {"amd64": SUM}) == "ab"
    with pytest.raises(HostError, match="minikube 1 for amd64"):
        minikube.sum_for("1", "", {"arm64": SUM})
