"""Signed repositories, and key files that try to have apt trust a key which nobody verified."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from bootstrap.hostside.gpuctl_openpgp import _packets, armored, dearmor, fingerprints

Run = Callable[[Sequence[str]], int]


class Keys:
    """Two keys of gpg's: `ours` is the one that the settings name, `foreign` signs the attacker's repository."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "gnupg"
        self.home.mkdir(mode=0o700)
        for name in ("ours", "foreign"):
            self._gpg("--quick-gen-key", f"{name} <{name}@example.com>", "rsa2048", "sign", "never")
        self.ours, self.foreign = (self._gpg("--armor", "--export", name) for name in ("ours", "foreign"))
        self.secret = self._gpg("--armor", "--export-secret-keys", "ours")
        self.fingerprint = fingerprints(self.ours)[0]

    def repository(self, name: str, folder: Path) -> Path:
        """A flat repository without packages, signed by the key of that name."""
        place = folder / f"by-{name}"
        place.mkdir()
        (place / "Packages").write_bytes(b"")
        empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        release = f"Origin: {name}\nDate: Tue, 01 Dec 2026 00:00:00 UTC\nSHA256:\n {empty} 0 Packages\n"
        (place / "Release").write_text(release)
        self._gpg("--local-user", name, "--clearsign", "--output", str(place / "InRelease"), str(place / "Release"))
        (place / "Release").unlink()
        return place

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "gpg-agent"], check=False, timeout=30)

    def _gpg(self, *words: str) -> bytes:
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--quiet", "--passphrase", "", *words]
        return subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout


def packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


def partial(tag: int, body: bytes) -> bytes:
    """A packet whose body comes in parts (RFC 4880 §4.2.2.4)."""
    return bytes([0xC0 | tag, 0xE0 | 8]) + body[:256] + bytes([255]) + len(body[256:]).to_bytes(4, "big") + body[256:]


def crafted(keys: Keys) -> dict[str, bytes]:
    """Key files by what is special about them; each holds the foreign key somewhere, but for the first four."""
    ours, foreign, block = dearmor(keys.ours), dearmor(keys.foreign), armored
    primary = next(body for tag, body in _packets(foreign) if tag == 6)
    signature = next(body for tag, body in _packets(foreign) if tag == 2)
    begin, end = b"-----BEGIN PGP PUBLIC KEY BLOCK-----", b"-----END PGP PUBLIC KEY BLOCK-----"
    inner = keys.foreign.replace(b"\n", b"\r\n")
    return {
        "ours": keys.ours,
        "ours in binary": ours,
        "ours with a comment and CRLF": keys.ours.replace(begin, begin + b"\nComment: hello").replace(b"\n", b"\r\n"),
        "ours between blank lines": b"\n\n" + keys.ours + b"\n\n",
        "two blocks": keys.ours + keys.foreign,
        "two blocks, the foreign one first": keys.foreign + keys.ours,
        "a begin line that ends in blanks": keys.ours + keys.foreign.replace(begin, begin + b" \t "),
        "a begin line that is indented": keys.ours + keys.foreign.replace(begin, b"  " + begin),
        "a foreign block without an end": keys.ours + keys.foreign.replace(end, b""),
        "a foreign block without a checksum": keys.ours
        + b"\n".join(line for line in keys.foreign.split(b"\n") if not line.startswith(b"=")),
        "both in one block": block(ours + foreign).encode(),
        "both in binary": ours + foreign,
        "binary, then armour": ours + b"\n" + keys.foreign,
        "armour in a user ID": ours + packet(13, b"\n" + keys.foreign + b"\n"),
        "armour in a user ID, armoured": block(ours + packet(13, b"\n" + keys.foreign + b"\n")).encode(),
        "armour in a header": keys.ours.replace(begin, begin + b"\nComment: " + inner),
        "text around": b"Our key:\n" + keys.ours + b"\nand theirs:\n" + keys.foreign,
        "a page": b"<html><pre>" + keys.ours + keys.foreign + b"</pre></html>",
        "the foreign key as a subkey": block(ours + packet(14, primary)).encode(),
        "the foreign key as a subkey that it signed": block(ours + packet(14, primary) + packet(2, signature)).encode(),
        "a packet for private use": block(ours + packet(60, foreign)).encode(),
        "a packet in parts": block(ours + partial(6, primary)).encode(),
        "the foreign key of version 3": block(ours + packet(6, b"\x03" + primary[1:]) + foreign).encode(),
        "behind a marker": block(ours + packet(10, b"PGP") + foreign).encode(),
        "behind a NUL": keys.ours + b"\x00" + keys.foreign,
        "the secret key": keys.secret + keys.foreign,
        "the foreign one alone": keys.foreign,
        "a signed text": b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + keys.ours + keys.foreign,
        "a checksum that is another's": keys.ours.replace(b"\n=", b"\n=AAAA\n=", 1) + keys.foreign,
    }


def trusts(run: Run, place: Path, root: str, key_file: Path, repository: Path) -> bool:
    """Whether apt takes the repository's lists by that key file. `root`: the folder that `run` sees as /."""
    inside = {path: "/" + os.path.relpath(path, root) for path in (place, key_file, repository)}
    sources = place / "sources.list.d"
    for folder in ("lists/partial", "cache/archives/partial", "empty", "sources.list.d"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    for old in (place / "lists").glob("*_*"):
        old.unlink()
    entry = f"Types: deb\nURIs: file:{inside[repository]}\nSuites: ./\nSigned-By: {inside[key_file]}\n"
    (sources / "it.sources").write_text(entry)
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": f"{inside[place]}/sources.list.d",
        "Dir::Etc::parts": f"{inside[place]}/empty",
        "Dir::State::lists": f"{inside[place]}/lists",
        "Dir::Cache": f"{inside[place]}/cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    run(["apt-get", *options, "-qq", "--error-on=any", "update"])
    return any((place / "lists").glob("*Release"))
