"""What OpenSSH asks, and what it says when it gives up: answered and explained in gpuctl's codes."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.probe.known_hosts import read_known_hosts
from bootstrap.probe.ssh_errors import (
    ConnectFailure,
    auth_failed,
    config_invalid,
    host_key_changed,
    host_key_revoked,
    host_key_unknown,
    no_answer,
    too_many_keys,
    unresolved,
)
from bootstrap.probe.ssh_keys import why_not_shown

if TYPE_CHECKING:
    from bootstrap.probe.ssh_config import Target

_KEY = re.compile(r"^debug1: Server host key: (\S+) (SHA256:\S+)", re.MULTILINE)
_CERTIFICATE = re.compile(r"^debug1: Server host certificate: (\S+) (SHA256:[^\s,]+)", re.MULTILINE)
_OFFENDING = re.compile(r"^Offending (?:\S+ )?key in (.+):(\d+)\s*$", re.MULTILINE)
_NEW_KEY = re.compile(r"^(?:No \S+ host key is known|Host key verification failed)", re.MULTILINE)


def host_key_in(words: str) -> str:
    """The fingerprint of the host's key; the first is meant: what comes later may be the host's own words."""
    found = _KEY.search(words) or _CERTIFICATE.search(words)
    return found[2] if found else ""


def explain(words: str, target: Target) -> ConnectFailure:
    """Why ssh has ended, from what it printed at LogLevel DEBUG1; jump hosts' own words are among them."""
    told = "\n".join(line.strip() for line in words.splitlines() if line.strip() and not line.startswith("debug"))
    for found in (_host_key(told, target), _login(told, words, target), _way(told, target)):
        if found is not None:
            return found
    last = told.splitlines()[-1] if told else "ssh ended and said nothing"
    return ConnectFailure(
        "unreachable",
        f"{target.address} port {target.port}: {last[:300]}",
        f"try: {shlex.join([target.program, *target.arguments])}",
    )


def _host_key(told: str, target: Target) -> ConnectFailure | None:
    if "REVOKED HOST KEY" in told or " is marked as revoked" in told or "was revoked" in told:
        offending = _OFFENDING.search(told)
        return host_key_revoked(target, f"{offending[1]}:{offending[2]}" if offending else "RevokedHostKeys")
    offending = _OFFENDING.search(told)
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in told:
        known = read_known_hosts([offending[1]] if offending else target.known_hosts).entries
        line = int(offending[2]) if offending else 0
        return host_key_changed(target, next((entry for entry in known if entry.line == line), None))
    if _NEW_KEY.search(told):
        return host_key_unknown(target, read_known_hosts(target.known_hosts).broken)
    return None


def _login(told: str, words: str, target: Target) -> ConnectFailure | None:
    shown = re.findall(r"^debug1: Offering public key: (.*?) (?:[A-Z0-9-]+) SHA256:", words, re.MULTILINE)
    if "Too many authentication failures" in told:
        return too_many_keys(target, len(shown))
    denied = re.search(r"^(?:(\S+)@(\S+): )?Permission denied \((.*)\)", told, re.MULTILINE)
    if denied is None:
        return None
    other = denied[2] and denied[2].lower() not in (target.address.lower(), target.name.lower())
    where = f" at {denied[2]}" if other else ""
    unusable = [why for path in target.identities if path not in shown and (why := why_not_shown(path))]
    named = "; ".join(unusable) if len(unusable) == 1 or not shown else ""
    said = f"no key was accepted{where}; it takes {denied[3].replace(',', ' or ')}"
    return auth_failed(target, shown, f"{said}; {named}" if named else said)


def _way(told: str, target: Target) -> ConnectFailure | None:
    where = f"{target.address} port {target.port}"
    if unknown := re.search(r"Could not resolve hostname (\S+?):", told):
        return unresolved(unknown[1])
    if re.search(r"timed out|Operation now in progress", told):
        return no_answer(where, target.timeout_s or 15.0)
    if "Connection refused" in told:
        return ConnectFailure("unreachable", f"{where} refuses connections", "start sshd there or correct ansible_port")
    if bad := re.search(r"^(.*(?:Bad configuration option|Bad owner or permissions).*)$", told, re.MULTILINE):
        fix = f"correct it until this works: ssh -G {target.arguments[-1]}"
        return config_invalid(f"OpenSSH refuses its configuration: {bad[1]}", fix)
    return None


class Askpass:
    """Answers ssh's own questions for the password and the passphrase of the inventory, and no others.

    The secrets pass through pipes in a folder of ours: they stand in no file, argument or variable. What is asked is
    compared first, since a jump host or a server may ask as well.
    """

    def __init__(self, folder: Path, target: Target, password: str | None, passphrase: str | None) -> None:
        self._script = folder / "askpass"
        self._pipes: dict[Path, str] = {}
        names = dict.fromkeys([target.known_as[-1], target.address, target.name, target.arguments[-1]])
        asked = [f'{shlex.quote(f"{target.user}@{name}")}"\'s password: "' for name in names]
        asked += [f"{shlex.quote(f'({target.user}@{name}) ')}*" for name in names]
        asked += ["'Enter PIN for '*"]
        cases = [self._case(folder / "word", asked, password), self._case(folder / "phrase", _PHRASE, passphrase)]
        self._script.write_text(f'#!/bin/sh\ncase "$1" in\n{"".join(cases)}*) exit 1;;\nesac\n', encoding="utf-8")
        self._script.chmod(0o700)
        self._closed = threading.Event()
        for pipe, secret in self._pipes.items():
            threading.Thread(target=self._serve, args=(pipe, secret), name="gpuctl-askpass", daemon=True).start()

    def _case(self, pipe: Path, patterns: list[str], secret: str | None) -> str:
        if secret is None:
            return ""
        os.mkfifo(pipe, 0o600)
        self._pipes[pipe] = secret
        return f"{'|'.join(patterns)}) cat {shlex.quote(str(pipe))};;\n"

    def _serve(self, pipe: Path, secret: str) -> None:
        with contextlib.suppress(OSError):
            while not self._closed.is_set():
                with pipe.open("wb", buffering=0) as stream:  # waits for a reader
                    if not self._closed.is_set():
                        stream.write(secret.encode() + b"\n")

    @property
    def needed(self) -> bool:
        """Whether there is anything to answer with."""
        return bool(self._pipes)

    def environment(self) -> dict[str, str]:
        """The environment for ssh, so that it asks here and never on the terminal."""
        return {**os.environ, "SSH_ASKPASS": str(self._script), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}

    def close(self) -> None:
        """Answer nothing more."""
        self._closed.set()
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))  # lets the thread that waits go
                pipe.unlink()


_PHRASE = ['"Enter passphrase for key \'"*']
