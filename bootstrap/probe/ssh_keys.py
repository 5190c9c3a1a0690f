"""Which keys are shown to a host, and in which order: as OpenSSH's client does, so that both are let in, or neither."""

from __future__ import annotations

import base64
import binascii
import contextlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.probe.known_hosts import blob_kind
from bootstrap.probe.ssh_errors import ConnectFailure, auth_failed, too_many_keys

if TYPE_CHECKING:
    import paramiko

    from bootstrap.probe.ssh_config import Target

_MOST_BYTES = 1 << 20
_BEGIN, _END = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"
_LOCKED = ("Proc-Type: 4,ENCRYPTED", "BEGIN ENCRYPTED PRIVATE KEY")
_MAGIC = b"openssh-key-v1\0"


@dataclass(frozen=True, slots=True)
class Offer:
    """One key to show: of the agent, or of the file at `path`. `kind` is empty where only the passphrase would tell."""

    kind: str
    path: str | None = None
    agent_key: paramiko.AgentKey | None = None


def offers_of(target: Target, agent_keys: Sequence[paramiko.AgentKey]) -> tuple[Offer, ...]:
    """The keys for a host, in OpenSSH's order: the agent's that a file names, the agent's others, the files.

    A file may be absent, or hold the public half alone, while the agent has the key. With IdentitiesOnly the agent
    is asked for keys that a file names only.
    """
    public = {path: _public_of(path) for path in target.identities}
    named = {blob for blob in public.values() if blob}
    agent = [(key.asbytes(), key) for key in agent_keys]
    first = [Offer(blob_kind(blob), agent_key=key) for blob, key in agent if blob in named]
    others = [Offer(blob_kind(blob), agent_key=key) for blob, key in agent if blob not in named]
    held = {blob for blob, _ in agent}
    files = [
        Offer(blob_kind(blob or b""), path=path)
        for path, blob in public.items()
        if blob not in held and Path(path).is_file()
    ]
    return (*first, *(() if target.identities_only else others), *files)


def agent_keys() -> tuple[Any, ...]:
    """What the agent of SSH_AUTH_SOCK holds; nothing where there is none, or it is locked."""
    import paramiko

    try:
        return tuple(paramiko.Agent().get_keys())
    except (paramiko.SSHException, OSError, EOFError, struct.error):
        return ()


def certificate_of(path: str) -> str | None:
    """The certificate that OpenSSH shows with a key file, where there is one beside it."""
    beside = (f"{path}-cert", f"{path}-cert.pub")
    return next((name for name in beside if Path(name).is_file()), None)


def why_not_shown(path: str) -> str | None:
    """Why a key file is of no use as it stands; None where nothing speaks against it."""
    if not Path(path).is_file():
        return f"{path} is not there"
    text = _text(path)
    locked = any(mark in text for mark in _LOCKED) or _cipher(text) not in ("", "none")
    return f"{path} has a passphrase; load it with ssh-add" if locked else None


def _public_of(path: str) -> bytes | None:
    """The public half of a key file: it is told without the passphrase, by the file itself or by the one beside it."""
    text = _text(path)
    return _of_private(text) or _of_public(text) or _of_public(_text(f"{path}.pub"))


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _of_public(text: str) -> bytes | None:
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and not line.startswith("#"):
            with contextlib.suppress(binascii.Error, ValueError):
                blob = base64.b64decode(words[1], validate=True)
                return blob if blob_kind(blob) == words[0] else None
    return None


def _cipher(text: str) -> str:
    """What a private key in OpenSSH's format is encrypted with: "none", or a cipher; empty for other formats."""
    return blob_kind(_packed(text)[len(_MAGIC) :])


def _packed(text: str) -> bytes:
    body = text.partition(_BEGIN)[2].partition(_END)[0]
    try:
        data = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if data.startswith(_MAGIC) else b""


def _of_private(text: str) -> bytes | None:
    """The public key in OpenSSH's private format (PROTOCOL.key): three texts and a number come before it."""
    data = _packed(text)
    at = len(_MAGIC)
    try:
        for _ in range(3):  # cipher, kdf, its options
            at += 4 + struct.unpack_from(">I", data, at)[0]
        (length,) = struct.unpack_from(">I", data, at + 4)
    except struct.error:
        return None
    blob = data[at + 8 : at + 8 + length]
    return blob if blob_kind(blob) else None


class Login:
    """Logging in on an open connection: what paramiko calls an AuthStrategy."""

    def __init__(self, target: Target, offers: Sequence[Offer], password: str | None, passphrase: str | None) -> None:
        self.target = target
        self.offers = offers
        self._password = password
        self._passphrase = passphrase
        self._shown: list[str] = []
        self._unusable: list[str] = []

    def authenticate(self, transport: paramiko.Transport) -> list[str]:
        """Show the keys, then the password. Raises ConnectFailure when the host takes none of them."""
        allowed = self._with_keys(transport)
        if allowed and self._password and transport.is_active():
            allowed = self._with_password(transport)
        if allowed is None:
            return []
        raise self._refusal(transport, allowed)

    def _with_keys(self, transport: paramiko.Transport) -> list[str] | None:
        """None once we are in, else what the host would take besides."""
        from paramiko import AuthenticationException, BadAuthenticationType, SSHException

        allowed = ["publickey", "keyboard-interactive", "password"]
        for offer in self.offers:
            key = self._loaded(offer)
            if key is None or not transport.is_active():
                continue
            self._shown.append(offer.path or f"{key.get_name()} of the agent")
            try:
                more = transport.auth_publickey(self.target.user, key)
            except BadAuthenticationType as error:
                return list(error.allowed_types)
            except AuthenticationException:
                continue
            except (SSHException, EOFError):
                break  # the host has hung up
            return list(more) or None
        return allowed

    def _with_password(self, transport: paramiko.Transport) -> list[str] | None:
        from paramiko import AuthenticationException, SSHException

        self._shown.append("the password")
        try:
            more = transport.auth_password(self.target.user, self._password or "")
        except (AuthenticationException, SSHException, EOFError):
            return ["publickey"]
        return list(more) or None

    def _loaded(self, offer: Offer) -> Any:
        """The key, ready to sign; None where it cannot be had, which is told if nothing else is let in."""
        import paramiko

        if offer.path is None:
            return offer.agent_key
        kinds = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)
        failure: Exception | None = None
        for kind in kinds:
            try:
                return kind.from_private_key_file(offer.path, self._passphrase)
            except (paramiko.SSHException, OSError, ValueError, TypeError) as error:
                asked = isinstance(error, paramiko.PasswordRequiredException)
                failure = error if failure is None or asked else failure
        self._unusable.append(self._why(offer.path, failure))
        return None

    def _why(self, path: str, failure: Exception | None) -> str:
        why = why_not_shown(path)
        if _of_public(_text(path)) is not None:
            return f"{path} is a public key, and the agent does not hold its other half"
        if why and self._passphrase:
            return f"{path} does not open with the passphrase of the inventory"
        return why or f"{path} cannot be read: {failure}"

    def _refusal(self, transport: paramiko.Transport, allowed: Sequence[str]) -> ConnectFailure:
        hung_up = not transport.is_active()
        if hung_up and len(self._shown) > 1 and "the password" not in self._shown:
            return too_many_keys(self.target, len(self._shown))
        absent = [path for path in self.target.identities if not Path(path).is_file()]
        if self._unusable:
            said = "; ".join(self._unusable[:3])
        elif not self._shown:
            said = "there is no key to offer" + (f": {absent[0]} is not there" if absent else "")
        elif "publickey" not in allowed:
            said = f"it takes {' or '.join(allowed)} only"
        else:
            said = "no key was accepted" + (f", and {absent[0]} is not there" if len(absent) == 1 else "")
        return auth_failed(self.target, self._shown, said)
