"""Packages of another suite of this machine's Debian archive, taken as they are, past its own apt."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from bootstrap.testvm.apt_sources import KEYRING, Sources, parse_deb822
from bootstrap.testvm.components import debs, tools

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DEADLINE_S = 900  # 10 s measured: the suite's index (11 MB) and 53 MB of packages


def archive(sources: Sources) -> str:
    """The archive that has the machine's release itself, not its security updates; empty where it has none."""
    entries = (entry for entry in parse_deb822(sources.deb822) if sources.suite in entry.suites)
    return next((uri for entry in entries for uri in entry.uris), "")


def recipe(sources: Sources, suite: str, packages: Sequence[str]) -> list[object]:
    """What decides what is downloaded, but for the day."""
    return [archive(sources), suite, list(packages), debs.architecture()]


def download(sources: Sources, suite: str, packages: Sequence[str], out: Path, log: Path) -> None:
    """Downloads packages of `suite` into `out`, checked by Debian's keys.

    Whether an index may be past its date is as this machine's apt has it. GpuctlError "component-build-failed".
    """
    uri = archive(sources)
    if not uri:
        fix = "name a Debian archive in /etc/apt/sources.list.d"
        raise tools.build_failed("apt-get", f"this machine's apt sources name no archive that could have {suite}", fix)
    work = out / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial", "empty"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    stanza = f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
    (work / "list.sources").write_text(stanza, encoding="utf-8")
    apt = [tools.need("apt-get", "apt"), "--quiet", *_options(work)]
    tools.run("apt-get", [*apt, "update"], log=log, timeout_s=_DEADLINE_S, cwd=out)
    tools.run("apt-get", [*apt, "download", *packages], log=log, timeout_s=_DEADLINE_S, cwd=out)
    shutil.rmtree(work)


def _options(work: Path) -> list[str]:
    settings = {
        "Dir::State": work / "state",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Dir::Etc::SourceList": work / "list.sources",
        "Dir::Etc::SourceParts": work / "empty",
        "Dir::Etc::PreferencesParts": work / "empty",
        "Dir::Etc::Preferences": "/dev/null",
        "Acquire::Languages": "none",
        "Acquire::AllowInsecureRepositories": "false",
        "APT::Get::AllowUnauthenticated": "false",
        "APT::Update::Error-Mode": "any",  # an index that does not come is a failure, not a warning
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
