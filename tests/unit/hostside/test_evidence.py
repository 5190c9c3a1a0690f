"""Evidence: taken twice the same, and different whenever something differs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.hostside import gpuctl_evidence as evidence
from bootstrap.hostside.gpuctl_evidence import Sources, compare, file_state, parse_dpkg_status, sysctl_state, take

STATUS = """Package: containerd.io
Status: install ok installed
Architecture: amd64
Version: 2.3.7-1~debian.12~bookworm
Description: text
 Version: 9 is not a field here

Package: kubelet
Status: hold ok installed
Version: 1.36.3-1.1

Package: broken
Status: install ok half-configured
Version: 1.0

Package: gone
Status: deinstall ok config-files
Version: 0.9

Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36

Package: libc6
Status: deinstall ok config-files
Architecture: i386
Version: 2.31
"""


def sources(tmp_path: Path) -> Sources:
    status = tmp_path / "status"
    status.write_text(STATUS)
    return Sources(str(status))


def test_packages_are_told_by_their_state(tmp_path: Path) -> None:
    found = sources(tmp_path)

    assert found.package("containerd.io") == "2.3.7-1~debian.12~bookworm"
    assert found.package("kubelet") == "1.36.3-1.1"
    assert found.package("broken") == "1.0,half-configured"
    assert found.package("gone") == "absent"
    assert found.package("never") == "absent"
    assert found.package("libc6") == "2.36"
    assert set(found.installed()) == {"containerd.io", "kubelet", "libc6"}


def test_a_database_that_cannot_be_read_is_unknown_and_never_absent(tmp_path: Path) -> None:
    found = Sources(str(tmp_path / "none"))

    assert found.package("kubelet") == "unknown"
    assert found.installed() == {}


@given(st.text())
def test_any_text_can_be_read_as_a_package_database(text: str) -> None:
    for name, (version, state) in parse_dpkg_status(text).items():
        assert name
        assert isinstance(version, str)
        assert isinstance(state, str)


NAMES = st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,20}", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9][0-9.:~+a-z-]{0,15}", fullmatch=True)


@given(st.dictionaries(NAMES, VERSIONS, max_size=8))
def test_what_was_written_is_read_back(packages: dict[str, str]) -> None:
    text = "\n".join(f"Package: {n}\nStatus: install ok installed\nVersion: {v}\n" for n, v in packages.items())

    assert parse_dpkg_status(text) == {n: (v, "installed") for n, v in packages.items()}


def test_a_file_is_its_content_mode_and_owner(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("version = 3\n")
    path.chmod(0o640)
    state = file_state(str(path))

    assert state.startswith("sha256:" + hashlib.sha256(b"version = 3\n").hexdigest() + ",0640,")
    path.chmod(0o600)
    assert file_state(str(path)) != state
    assert file_state(str(path), "present") == "present"
    assert file_state(str(tmp_path)).startswith("dir,")
    assert file_state(str(tmp_path / "none")) == "absent"
    assert file_state(str(path / "below-a-file")) == "absent"
    (tmp_path / "link").symlink_to("config.toml")
    assert file_state(str(tmp_path / "link")) == "link:config.toml"


def test_sysctl_names_use_dots_or_slashes(tmp_path: Path) -> None:
    (tmp_path / "net/ipv4/conf/eth0.1").mkdir(parents=True)
    (tmp_path / "net/ipv4/conf/eth0.1/forwarding").write_text("1\n")
    (tmp_path / "net/ipv4/range").write_text("1\t  2\n")

    assert sysctl_state("net.ipv4.range", str(tmp_path)) == "1 2"
    assert sysctl_state("net/ipv4/conf/eth0.1/forwarding", str(tmp_path)) == "1"
    assert sysctl_state("net.ipv4.conf.eth0/1.forwarding", str(tmp_path)) == "1"
    assert sysctl_state("net.ipv4.none", str(tmp_path)) == "absent"


def test_a_spec_is_taken_flat_and_globs_give_one_key_per_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "unit_states", lambda names: dict.fromkeys(names, "active,enabled"))
    (tmp_path / "a.conf").write_text("a")
    (tmp_path / "b.conf").write_text("b")
    spec = {
        "files": [{"path": f"{tmp_path}/*.conf", "mode": "present"}, {"path": f"{tmp_path}/*.toml"}],
        "packages": ["kubelet"],
        "units": ["kubelet.service"],
        "sysctls": ["no.such.key"],
    }

    assert take(spec, sources(tmp_path)) == {
        f"file:{tmp_path}/a.conf": "present",
        f"file:{tmp_path}/b.conf": "present",
        f"file:{tmp_path}/*.toml": "absent",
        "package:kubelet": "1.36.3-1.1",
        "unit:kubelet.service": "active,enabled",
        "sysctl:no.such.key": "absent",
    }
    assert take({}) == {}


def test_units_come_in_one_answer_and_unknown_when_it_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = (
        "Id=a.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\n"
        "Id=b.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n\n"
        "Id=c.service\nLoadState=loaded\nActiveState=failed\nUnitFileState=\n"
    )
    monkeypatch.setattr(evidence, "run", lambda *_a, **_k: answer)
    names = ["a.service", "b.service", "c.service"]

    assert list(evidence.unit_states(names).values()) == ["active,enabled", "absent", "failed,-"]
    assert evidence.unit_states(names[:2]) == {"a.service": "unknown", "b.service": "unknown"}
    monkeypatch.setattr(evidence, "run", lambda *_a, **_k: None)
    assert set(evidence.unit_states(names).values()) == {"unknown"}


STATES = st.dictionaries(st.sampled_from(["unit:a", "unit:b", "sysctl:c"]), st.sampled_from(["1", "2", "absent"]))


@given(STATES, STATES)
def test_drift_is_exactly_what_differs(was: dict[str, str], now: dict[str, str]) -> None:
    changed = {k for k in was.keys() | now.keys() if was.get(k, "absent") != now.get(k, "absent")}

    assert {d["key"] for d in compare(was, now)} == changed


def test_unknown_is_never_unchanged() -> None:
    assert compare({"unit:a": "unknown"}, {"unit:a": "unknown"}) == [
        {"key": "unit:a", "was": "unknown", "now": "unknown", "when": None}
    ]


def test_drift_of_a_file_says_when(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("new")
    import os

    os.utime(path, (1_700_000_000, 1_700_000_000))
    drift = compare({f"file:{path}": "sha256:old"}, take({"files": [{"path": str(path)}]}))

    assert [d["when"] for d in drift] == ["2023-11-14T22:13:20Z"]


def test_a_key_file_that_is_not_one_block_is_unverified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(evidence, "_KEYRINGS", str(tmp_path / "gpuctl-"))
    block = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAA==\n-----END PGP PUBLIC KEY BLOCK-----\n"
    for name, text, unverified in (
        ("gpuctl-A.asc", block, False),
        ("gpuctl-B.asc", block + block, True),
        ("gpuctl-C.asc", block + block.replace("BLOCK-----", "BLOCK----- "), True),
        ("gpuctl-D.asc", "hello\n" + block, True),
        ("others.asc", block + block, False),
    ):
        place = tmp_path / name
        place.write_text(text)
        place.chmod(0o644)
        assert evidence.file_state(str(place)).startswith("unverified,0644") is unverified, name
