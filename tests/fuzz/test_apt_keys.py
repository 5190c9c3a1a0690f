"""apt trusts no key that gpuctl did not verify: crafted key files, signed repositories, the real apt."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from bootstrap.hostside.gpuctl_openpgp import is_one_block, keyring
from tests.fuzz.aptkeys import Keys, Run, crafted, trusts

# Made once; it is a Debian with its own apt, which verifies by another program (sqv).
TRIXIE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gpuctl-tests" / "trixie"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    if not shutil.which("gpg") or not shutil.which("apt-get"):
        pytest.skip("needs gpg and apt-get")
    found = Keys(tmp_path_factory.mktemp("keys"))
    yield found
    found.close()


def here(argv: Sequence[str]) -> int:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "APT_CONFIG": "/dev/null"}
    return subprocess.run(argv, capture_output=True, env=environment, check=False, timeout=60).returncode


def tried(keys: Keys, run: Run, folder: Path, root: str) -> tuple[int, int, list[str], list[str]]:
    """Files tried, files refused, those by which apt trusts the foreign key, and good ones that were refused."""
    repositories = {name: keys.repository(name, folder) for name in ("ours", "foreign")}
    refused, through, lost = 0, [], []
    for name, data in (files := crafted(keys)).items():
        try:
            text = keyring(data, [keys.fingerprint])
        except ValueError:
            refused += 1
            lost += [name] if name.startswith("ours") else []
            continue
        key_file = folder / "key.asc"
        key_file.write_bytes(data if is_one_block(data) else text.encode())  # as hosts keep a file that they have
        through += [name] if trusts(run, folder / "apt", root, key_file, repositories["foreign"]) else []
        lost += [] if trusts(run, folder / "apt", root, key_file, repositories["ours"]) else [name]
    # Without the check the attack has to succeed, or these files show nothing.
    (folder / "key.asc").write_bytes(files["two blocks"])
    assert trusts(run, folder / "apt", root, folder / "key.asc", repositories["foreign"])
    return len(files), refused, through, lost


def test_this_machines_apt(keys: Keys, tmp_path: Path, figure: Callable[[str], None]) -> None:
    total, refused, through, lost = tried(keys, here, tmp_path, "/")
    version = subprocess.run(["apt-get", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    figure(f"crafted key files, apt {version}: {total}, {refused} refused, foreign keys trusted: {len(through)}")
    assert (through, lost) == ([], [])
    assert total >= 25


@pytest.mark.skipif(os.environ.get("GPUCTL_FUZZ") != "all", reason="Debian 13's apt takes a minute: make fuzz")
def test_debian_13s_apt(keys: Keys, figure: Callable[[str], None]) -> None:
    if not (TRIXIE / "usr" / "bin" / "apt-get").exists():
        shutil.rmtree(TRIXIE, ignore_errors=True)
        TRIXIE.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mmdebstrap", "--quiet", "--variant=apt", "trixie", str(TRIXIE)], check=True, timeout=600)
    folder = TRIXIE / "tmp" / f"keys-{os.getpid()}"
    folder.mkdir()
    (TRIXIE / "dev" / "null").exists() or os.mknod(TRIXIE / "dev" / "null", 0o20666, os.makedev(1, 3))
    try:
        total, refused, through, lost = tried(
            keys, lambda argv: here(["chroot", str(TRIXIE), *argv]), folder, str(TRIXIE)
        )
        version = subprocess.run(
            ["chroot", str(TRIXIE), "apt-get", "--version"], capture_output=True, text=True, check=True
        ).stdout.split()[1]
    finally:
        shutil.rmtree(folder)
    figure(f"crafted key files, apt {version}: {total}, {refused} refused, foreign keys trusted: {len(through)}")
    assert (through, lost) == ([], [])
