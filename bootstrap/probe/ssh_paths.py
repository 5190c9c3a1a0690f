"""The paths and tokens of ssh_config(5) that `ssh -G` leaves as they are."""

from __future__ import annotations

import os
import pwd
import re
import socket
from collections.abc import Mapping, Sequence

# Option in lower case → its values, in order: an answer of `ssh -G`.
Options = Mapping[str, tuple[str, ...]]


def home() -> str:
    """The home folder that OpenSSH takes: the account's, whatever HOME says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a container's user without a name
        return os.environ.get("HOME", "/")


def tokens_of(address: str, port: int, user: str, original: str, alias: str | None) -> dict[str, str]:
    """What the tokens of ssh_config(5) stand for; %C, %j, %K and the like are OpenSSH's to say."""
    try:
        login = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        login = str(os.getuid())
    here = socket.gethostname()
    return {
        "%%": "%",
        "%d": home(),
        "%h": address,
        "%i": str(os.getuid()),
        "%k": alias or original,
        "%L": here.split(".")[0],
        "%l": here,
        "%n": original,
        "%p": str(port),
        "%r": user,
        "%u": login,
    }


def expand(text: str, tokens: Mapping[str, str]) -> tuple[str, bool]:
    """The text with its tokens replaced, and whether all of them are known here."""
    clear = True

    def one(match: re.Match[str]) -> str:
        nonlocal clear
        known = tokens.get(match[0])
        clear = clear and known is not None
        return match[0] if known is None else known

    return re.sub(r"%.?", one, text, flags=re.DOTALL), clear


def _path(text: str, tokens: Mapping[str, str]) -> tuple[str, bool]:
    """A path as ssh_config(5) has it: ~, ${VARIABLE} and tokens replaced, as far as they are known here."""
    text, clear = expand(text, tokens)
    if text == "~" or text.startswith("~/"):
        text = home() + text[1:]
    elif text.startswith("~"):
        text = os.path.expanduser(text)  # noqa: PTH111 - it never raises
    missing = [name for name in re.findall(r"\$\{([^}]*)\}", text) if name not in os.environ]
    return re.sub(r"\$\{([^}]*)\}", lambda m: os.environ.get(m[1], m[0]), text), clear and not missing


def paths_of(found: Options, tokens: Mapping[str, str]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """The files that the options name, and the options that name one which only OpenSSH can tell."""
    read: dict[str, tuple[str, ...]] = {}
    unclear: list[str] = []
    for key in ("identityfile", "userknownhostsfile", "globalknownhostsfile"):
        values = found.get(key, ())
        words: Sequence[str] = values if key == "identityfile" else split_paths(" ".join(values))
        paths = [_path(word, tokens) for word in words if word.lower() != "none"]
        read[key] = tuple(dict.fromkeys(path for path, _ in paths))
        if not all(clear for _, clear in paths):
            unclear.append(key)
    return read, tuple(unclear)


def split_paths(value: str) -> list[str]:
    """Paths out of a line of `ssh -G`, which separates them by spaces and leaves those inside of them as they are."""
    found: list[str] = []
    for word in value.split(" "):
        new = word.startswith(("/", "~", "$", "%")) or word.lower() == "none"
        if found and not new and (found[-1].startswith(("/", "~")) or not word):
            found[-1] += f" {word}"
        elif word:
            found.append(word)
    return found
