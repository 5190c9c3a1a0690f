"""What an ssh configuration means for a host, as OpenSSH says: `ssh -G`, with the arguments that Ansible gives ssh."""

from __future__ import annotations

import re
import shlex
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootstrap.inventory.spellings import chosen
from bootstrap.probe.known_hosts import lookup_names
from bootstrap.probe.ssh_choice import deviating
from bootstrap.probe.ssh_errors import ConnectFailure, config_invalid
from bootstrap.probe.ssh_paths import Options, expand, paths_of, tokens_of

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host

_ASK_S = 15.0  # it takes 8 ms; `Match exec` and CanonicalizeHostname may wait for a name server
_MOST_HOPS = 16
_STRICT = {"accept-new": "accept-new", "false": "no", "no": "no", "off": "no"}  # all else: yes
_NO_PASSWORD = (
    "-o", "KbdInteractiveAuthentication=no",
    "-o", "PreferredAuthentications=gssapi-with-mic,gssapi-keyex,hostbased,publickey",
    "-o", "PasswordAuthentication=no",
)  # fmt: skip
_FALSE = frozenset({"false", "no", "off", "0", "n", "f"})


@dataclass(frozen=True, slots=True)
class Target:
    """Everything that decides how one ssh connection is made.

    `jumps` are the hosts on the way, in order. `arguments` are those of `ssh`, the destination last. `known_as` are the
    names to look up in known_hosts, `strict` is yes, accept-new or no. `beyond` names the options that want what
    paramiko does not do.
    """

    name: str
    address: str
    port: int
    user: str
    family: str
    identities: tuple[str, ...]
    identities_only: bool
    known_hosts: tuple[str, ...]
    known_as: tuple[str, ...]
    hash_names: bool
    strict: str
    timeout_s: float | None
    control_path: str | None
    gssapi: bool
    jumps: tuple[Target, ...]
    beyond: tuple[str, ...]
    arguments: tuple[str, ...]
    config_file: str | None = None
    program: str = "ssh"


class Resolver:
    """Asks `ssh -G`, each question once: a hundred hosts share a jump host."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, ...], Future[Options]] = {}
        self._lock = threading.Lock()

    def options(self, program: str, arguments: Sequence[str]) -> Options:
        """What `program -G` answers. Raises ConnectFailure when it refuses its configuration."""
        question = (program, "-G", "-T", *arguments)
        with self._lock:
            known = self._answers.get(question)
            if known is None:
                self._answers[question] = mine = Future[Options]()
        if known is not None:
            return known.result()
        try:
            mine.set_result(_ask(question))
        except BaseException as error:
            mine.set_exception(error)
            raise
        return mine.result()

    def target(self, host: Host) -> Target:
        """How an inventory's host is reached. Raises ConnectFailure."""
        try:
            arguments = ansible_arguments(host)
        except ValueError as error:
            fix = "correct the quotes in ansible_ssh_args, ansible_ssh_common_args or ansible_ssh_extra_args"
            raise ConnectFailure("ssh-config-invalid", f"its ssh arguments cannot be read: {error}", fix) from None
        program = str((host.connection_vars or {}).get("ansible_ssh_executable") or "ssh")
        return self._target(host.name, program, (*arguments, host.connection.address), config_of(arguments), 0)

    def _target(self, name: str, program: str, arguments: tuple[str, ...], config: str | None, depth: int) -> Target:
        found = self.options(program, arguments)
        usual = self.options(program, ("-F", "none", "gpuctl.invalid"))
        original = arguments[-1]
        address, port, user = _one(found, "hostname", original), int(_one(found, "port", "22")), _one(found, "user")
        alias = _one(found, "hostkeyalias") or None
        tokens = tokens_of(address, port, user, original.rpartition("@")[2], alias)
        refuse_unusable(found, address)
        jump = _one(found, "proxyjump", "none")
        jumps = () if jump.lower() == "none" else self._jumps(expand(jump, tokens)[0], program, config, depth)
        paths, unclear = paths_of(found, tokens)
        return Target(
            name=name,
            address=address,
            port=port,
            user=user,
            family=_one(found, "addressfamily", "any"),
            identities=paths["identityfile"],
            identities_only=_one(found, "identitiesonly") == "yes",
            known_hosts=paths["userknownhostsfile"] + paths["globalknownhostsfile"],
            known_as=lookup_names(address, port, alias),
            hash_names=_one(found, "hashknownhosts") == "yes",
            strict=_STRICT.get(_one(found, "stricthostkeychecking", "ask"), "yes"),
            timeout_s=_seconds(_one(found, "connecttimeout", "none")),
            control_path=_one(found, "controlpath", "none"),
            gssapi=_one(found, "gssapiauthentication") == "yes",
            jumps=jumps,
            beyond=(*deviating(found, usual), *unclear, *((program,) if program != "ssh" else ())),
            arguments=arguments,
            config_file=config,
            program=program,
        )

    def _jumps(self, chain: str, program: str, config: str | None, depth: int) -> tuple[Target, ...]:
        """The hosts on the way: OpenSSH goes to the last of the chain by a second ssh, which is told the others.

        That one sees the configuration file alone, so a jump host's own ProxyJump counts where none is left to tell.
        """
        if depth >= _MOST_HOPS:
            fix = "correct ProxyJump in the ssh configuration"
            raise config_invalid(f"its jump hosts ({chain}) lead in a circle", fix)
        before, _, last = chain.rpartition(",")
        arguments = [*(("-F", config) if config else ()), *(("-J", before) if before else ())]
        user, host, port = _hop(last)
        arguments += [*(("-l", user) if user else ()), *(("-p", port) if port else ())]
        hop = self._target(host, program, (*arguments, host), config, depth + 1)
        return (*hop.jumps, hop)


def ansible_arguments(host: Host) -> tuple[str, ...]:
    """The arguments that Ansible's ssh connection gives ssh for a host, in its order; first come, first served.

    Raises:
        ValueError: quotes that do not end.
    """
    found = host.connection_vars or {}
    login: list[str] = []
    if str(chosen(found, "host_key_checking")).lower() in _FALSE:
        login += ["-o", "StrictHostKeyChecking=no"]
    if not password_of(host):
        login += _NO_PASSWORD
    elif provider := found.get("ansible_ssh_pkcs11_provider"):
        login += ["-o", f"PKCS11Provider={provider}"]
    return host.connection.ssh_words(*login)


def password_of(host: Host) -> str | None:
    """The password of the login, where the inventory has one."""
    return text_of(host, "password")


def passphrase_of(host: Host) -> str | None:
    """The passphrase of the key file, where the inventory has one."""
    return text_of(host, "private_key_passphrase")


def text_of(host: Host, option: str) -> str | None:
    """What the inventory has for an option of Ansible's connection, by whichever name; None where it is empty."""
    value = chosen(host.connection_vars or {}, option)
    return str(value) if value else None


def config_of(arguments: Sequence[str]) -> str | None:
    """The configuration file that arguments of ssh name with -F: it is handed on to jump hosts."""
    words = iter(arguments)
    found = None
    for word in words:
        flag = re.fullmatch(r"-[46AaCfGgKkMNnqsTtVvXxYy]*([BbcDEeFIiJLlmOoPpQRSWw])(.*)", word, re.DOTALL)
        if flag:
            value = flag[2] or next(words, "")
            found = value if flag[1] == "F" else found
    return found


def refuse_unusable(found: Options, address: str) -> None:
    """Refuse what keeps every command from being run there, Ansible's too. Raises ConnectFailure."""
    for option, usual in (("remotecommand", "none"), ("sessiontype", "default")):
        if _one(found, option, usual) != usual:
            name = {"remotecommand": "RemoteCommand", "sessiontype": "SessionType"}[option]
            said = f"the ssh configuration has {name} for {address}: ssh runs no other command there"
            raise config_invalid(said, f"add -o {name}={usual} to ansible_ssh_common_args")


def _ask(question: Sequence[str]) -> Options:
    try:
        done = subprocess.run(
            question,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ASK_S,
            check=False,
            start_new_session=True,  # nothing of it may ask on our terminal
        )
    except FileNotFoundError:
        raise config_invalid(f"there is no program {question[0]} here", "apt-get install openssh-client") from None
    except OSError as error:
        said = f"{question[0]} cannot be run: {error.strerror}"
        raise config_invalid(said, "correct ansible_ssh_executable") from None
    except subprocess.TimeoutExpired:
        said = f"`{question[0]} -G {question[-1]}` did not answer within {_ASK_S:.0f} s"
        raise config_invalid(said, "look at Match exec and CanonicalizeHostname in the ssh configuration") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"status {done.returncode}"]
        telling = [line for line in lines if "terminating" not in line and "Pseudo-terminal" not in line]
        said = "; ".join(telling[:3] or lines[:1])
        fix = f"correct it until this works: {shlex.join(question)}"
        raise config_invalid(f"OpenSSH refuses its configuration: {said}", fix)
    found: dict[str, tuple[str, ...]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        found[key.lower()] = (*found.get(key.lower(), ()), value)
    return found


def _one(found: Options, key: str, default: str = "") -> str:
    return found.get(key, (default,))[0]


def _seconds(value: str) -> float | None:
    return float(value) if value.isdecimal() and int(value) else None


def _hop(text: str) -> tuple[str, str, str]:
    """(user, host, port) of one jump host: [user@]host[:port], or an ssh:// address."""
    user, _, place = text.strip().removeprefix("ssh://").rstrip("/").rpartition("@")
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(\d+))?", place)
    if bracketed:
        return user, bracketed[1], bracketed[2] or ""
    host, colon, port = place.partition(":")
    return (user, host, port) if colon and port.isdecimal() else (user, place, "")
