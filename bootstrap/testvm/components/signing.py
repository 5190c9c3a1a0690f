"""The key that signs the mirror's apt repository: made once per cache, never leaves this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.testvm.components import tools

if TYPE_CHECKING:
    from collections.abc import Iterator

USER_ID = "gpuctl component mirror (made on this machine)"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key file (0600, no passphrase), the public one beside it, and the fingerprint (40 hex digits)."""

    private: Path
    public: Path
    fingerprint: str


@contextlib.contextmanager
def _keyring() -> Iterator[list[str]]:
    """A gpg command with a keyring of its own under a short path (sockets), whose agent is ended afterwards."""
    gpg = tools.need("gpg", "gnupg")
    with tempfile.TemporaryDirectory(prefix="gpuctl-key-", ignore_cleanup_errors=True) as home:
        unattended = ["--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        try:
            yield [gpg, "--homedir", home, *unattended]
        finally:
            kill = ["gpgconf", "--homedir", home, "--kill", "all"]
            subprocess.run(kill, capture_output=True, timeout=30, check=False)


def ensure_key(folder: Path) -> SigningKey:
    """The key in `folder`, made when there is none. GpuctlError when gpg fails."""
    private, public, fingerprint = (folder / name for name in ("signing-key.asc", "gpuctl-mirror.asc", "fingerprint"))
    if not fingerprint.exists():  # it is written last: what is there without it is half made
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _keyring() as gpg:
            tools.output([*gpg, "--quick-generate-key", USER_ID, "ed25519", "sign", "never"])
            _write(private, tools.output([*gpg, "--armor", "--export-secret-keys"]), 0o600)
            _write(public, tools.output([*gpg, "--armor", "--export"]), 0o644)
            rows = [row.split(":") for row in tools.output([*gpg, "--with-colons", "--list-keys"]).splitlines()]
        _write(fingerprint, next(row[9] for row in rows if row[0] == "fpr") + "\n", 0o644)
    return SigningKey(private, public, fingerprint.read_text(encoding="ascii").strip())


def _write(path: Path, text: str, mode: int) -> None:
    partial = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="ascii") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    partial.rename(path)


def sign(key: SigningKey, source: Path, signed: Path, detached: Path) -> None:
    """Signs `source` twice: with its text inside (`signed`), and apart from it (`detached`)."""
    with _keyring() as gpg:
        command = [*gpg, "--digest-algo", "SHA512"]
        tools.output([*command, "--import", str(key.private)])
        tools.output([*command, "--output", str(signed), "--clearsign", str(source)])
        tools.output([*command, "--armor", "--output", str(detached), "--detach-sign", str(source)])
