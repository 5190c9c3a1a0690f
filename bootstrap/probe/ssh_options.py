"""How a host is reached: the inventory's connection, its ssh arguments and ~/.ssh/config, resolved as OpenSSH would."""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bootstrap.inventory.model import Connection, Host

USER_CONFIG = "~/.ssh/config"
GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts"
USER_KNOWN_HOSTS = "~/.ssh/known_hosts"

# Options of ssh_config(5) that are followed here.
FOLLOWED = frozenset(
    {
        "connecttimeout",
        "globalknownhostsfile",
        "hostkeyalias",
        "hostname",
        "identitiesonly",
        "identityfile",
        "port",
        "proxycommand",
        "proxyjump",
        "stricthostkeychecking",
        "user",
        "userknownhostsfile",
    }
)
# Options that make OpenSSH reach another machine, or trust or authenticate otherwise, and that are not followed here.
DIFFERING = frozenset(
    {
        "addressfamily",
        "bindaddress",
        "bindinterface",
        "canonicalizehostname",
        "certificatefile",
        "checkhostip",
        "gssapiauthentication",
        "hostbasedauthentication",
        "hostkeyalgorithms",
        "identityagent",
        "knownhostscommand",
        "pkcs11provider",
        "preferredauthentications",
        "pubkeyacceptedalgorithms",
        "securitykeyprovider",
        "verifyhostkeydns",
    }
)
_WITH_VALUE = "BbcDEeFIiJLlmOoPpQRSWw"  # flags of ssh(1) that take a value
_FLAG_OPTIONS = {"i": "identityfile", "p": "port", "l": "user", "J": "proxyjump", "F": "config"}


@dataclass(frozen=True, slots=True)
class Target:
    """Everything needed to open one ssh connection. `strict` is yes, accept-new or no."""

    name: str
    address: str
    port: int
    user: str
    key_files: tuple[str, ...]
    identities_only: bool
    known_hosts: tuple[str, ...]
    known_as: str
    strict: str
    proxy_command: str | None
    jump: tuple[str, ...]
    ignored: tuple[str, ...]  # options that OpenSSH would follow and we do not
    config_file: str = USER_CONFIG


def parse_arguments(text: str) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """(option in lower case → values in order, what could not be understood) of a string of ssh arguments."""
    options: dict[str, list[str]] = {}
    unknown: list[str] = []
    try:
        words = iter(shlex.split(text))
    except ValueError as error:
        return {}, (f"{text!r}: {error}",)
    for word in words:
        if not word.startswith("-") or len(word) < 2:
            unknown.append(word)
            continue
        letters = word[1:]
        for index, letter in enumerate(letters):
            if letter not in _WITH_VALUE:
                continue  # -4, -C, -q and the like change nothing that matters here
            value = letters[index + 1 :] or next(words, "")
            key, value = _option(letter, value)
            options.setdefault(key, []).append(value)
            break
    return options, tuple(unknown)


def _option(letter: str, value: str) -> tuple[str, str]:
    if letter != "o":
        return _FLAG_OPTIONS.get(letter, f"-{letter}"), value
    key, separator, rest = value.partition("=")
    if not separator or " " in key.strip():
        key, _, rest = value.strip().partition(" ")
    return key.strip().lower(), rest.strip()


def ignored_options(arguments: str) -> tuple[str, ...]:
    """Of a string of ssh arguments, what OpenSSH follows and gpuctl's own connections do not."""
    options, unknown = parse_arguments(arguments)
    return tuple(sorted(DIFFERING.intersection(options))) + unknown


def resolve(host: Host) -> Target:
    """The target of an inventory host. Raises OSError when a configuration file that is named cannot be read."""
    connection = host.connection
    # OpenSSH keeps the first value of an option, and Ansible puts ansible_ssh_args before all others.
    options, unknown = parse_arguments(f"{connection.ssh_args} {connection.ssh_common_args}")
    return _resolve(host.name, connection.address, options, unknown, connection)


def resolve_jump(destination: str, config_file: str) -> Target:
    """The target of one hop ("user@host:port"); hops see only the configuration file, as with OpenSSH."""
    user, _, rest = destination.rpartition("@")
    rest = rest.removeprefix("ssh://")
    address, _, port = rest.rpartition(":") if rest.count(":") == 1 else (rest, "", "")
    options = {"config": [config_file]} if config_file != USER_CONFIG else {}
    if user:
        options["user"] = [user.removeprefix("ssh://")]
    if port:
        options["port"] = [port]
    return _resolve(address, address.strip("[]"), options, (), None)


def _resolve(
    name: str,
    address: str,
    options: Mapping[str, list[str]],
    unknown: tuple[str, ...],
    connection: Connection | None,
) -> Target:
    config_file = (options.get("config") or [USER_CONFIG])[0]
    found = _config(config_file, address)
    # OpenSSH takes the first value given: arguments before the configuration file.
    merged = {**found, **{key: values for key, values in options.items() if key != "config"}}

    def one(key: str, default: str = "") -> str:
        return (merged.get(key) or [default])[0]

    hostname = one("hostname", address)
    port = (connection.port if connection else None) or int(one("port", "22"))
    user = (connection.user if connection else None) or one("user") or getpass.getuser()
    keys = ([connection.key_file] if connection and connection.key_file else []) + [
        *options.get("identityfile", []),
        *found.get("identityfile", []),
    ]
    known_as = one("hostkeyalias") or (hostname if port == 22 else f"[{hostname}]:{port}")
    jump = one("proxyjump", "none")
    command = one("proxycommand", "none")
    tokens = {"%h": hostname, "%p": str(port), "%r": user, "%n": address, "%%": "%"}
    return Target(
        name=name,
        address=hostname,
        port=port,
        user=user,
        key_files=tuple(str(Path(k).expanduser()) for k in dict.fromkeys(keys)),
        identities_only=one("identitiesonly").lower() == "yes",
        known_hosts=tuple(_known_hosts(one("userknownhostsfile"), one("globalknownhostsfile"))),
        known_as=known_as,
        strict={"off": "no", "accept-new": "accept-new", "no": "no"}.get(one("stricthostkeychecking").lower(), "yes"),
        proxy_command=None if command.lower() == "none" else _expand(command, tokens),
        jump=() if jump.lower() == "none" else tuple(part.strip() for part in jump.split(",")),
        ignored=tuple(sorted(DIFFERING.intersection(merged))) + unknown,
        config_file=config_file,
    )


def _expand(text: str, tokens: Mapping[str, str]) -> str:
    out, index = "", 0
    while index < len(text):
        pair = text[index : index + 2]
        if pair in tokens:
            out, index = out + tokens[pair], index + 2
        else:
            out, index = out + text[index], index + 1
    return out


def _known_hosts(user: str, everyone: str) -> Iterator[str]:
    for value, default in ((user, USER_KNOWN_HOSTS), (everyone, GLOBAL_KNOWN_HOSTS)):
        for path in shlex.split(value or default):
            if path.lower() != "none":
                yield str(Path(path).expanduser())


def _config(path: str, address: str) -> dict[str, list[str]]:
    """What a configuration file says of an address: every option as a list. A missing ~/.ssh/config says nothing."""
    import paramiko

    file = Path(path).expanduser()
    if path == USER_CONFIG and not file.is_file():
        return {}
    if path in ("none", "/dev/null"):
        return {}
    found = paramiko.SSHConfig.from_path(str(file)).lookup(address)
    return {key: value if isinstance(value, list) else [str(value)] for key, value in found.items()}
