"""Versions and upstream addresses (versions.yml), and which of them the end-to-end tests ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

_FILE = Path(__file__).with_name("versions.yml")
ALL_SYSTEMS = "all"
_SOURCES = 2  # public projects that name the same digest of an image


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a component; `ci`: clusters were made with it, else it was only rendered."""

    variable: str
    value: str
    default: bool
    ci: bool


@dataclass(frozen=True, slots=True)
class AptSource:
    """An upstream package repository with the fingerprint of the key that signs it; "{minor}" stands for 1.36."""

    url: str
    suite: str
    components: str
    key_url: str
    key_fingerprint: str

    def for_version(self, version: str) -> AptSource:
        """The same with the minor release of a version filled in."""
        minor = ".".join(version.split(".")[:2])
        url, key_url = (text.replace("{minor}", minor) for text in (self.url, self.key_url))
        return AptSource(url, self.suite, self.components, key_url, self.key_fingerprint)


@dataclass(frozen=True, slots=True)
class ComponentVersions:
    """A component's releases, other default settings, and its apt source by system ("debian-12") or for all."""

    name: str
    releases: tuple[Release, ...]
    settings: Mapping[str, str]
    apt: Mapping[str, AptSource]

    def apt_for(self, system: str) -> AptSource | None:
        """The source for a system, or None where the component has no packages for it."""
        return self.apt.get(system, self.apt.get(ALL_SYSTEMS))


@dataclass(frozen=True, slots=True)
class Versions:
    """All of versions.yml; `systems` says of each supported system whether the end-to-end tests ran on it.

    `digests` maps an image (name:tag) to its digest ("sha256:" and 64 hexadecimal digits).
    """

    systems: Mapping[str, bool]
    components: Mapping[str, ComponentVersions]
    digests: Mapping[str, str]

    def defaults(self) -> dict[str, str]:
        """Variable to default value, versions and other settings."""
        found: dict[str, str] = {}
        for component in self.components.values():
            found.update(component.settings)
            found.update({release.variable: release.value for release in component.releases if release.default})
        return found

    def ran_in_ci(self, variable: str, value: str) -> bool:
        """Whether the end-to-end tests made clusters with this version."""
        return any(r.ci and (r.variable, r.value) == (variable, value) for r in self._releases())

    def _releases(self) -> Iterable[Release]:
        return (release for component in self.components.values() for release in component.releases)


@cache
def versions() -> Versions:
    """The file that is shipped with this version of gpuctl."""
    return parse(yaml.safe_load(_FILE.read_text(encoding="utf-8")))


def parse(raw: Mapping[str, Any]) -> Versions:
    """From the parsed file.

    Raises:
        ValueError: a release or a system is marked both ways, or not at all; a digest has fewer than two sources.
    """
    if raw["schema"] != 1:
        raise ValueError(f"versions.yml has schema {raw['schema']}, not 1")
    components = {name: _component(name, entry) for name, entry in raw["components"].items()}
    systems = {name: _ran(name, marks) for name, marks in raw["systems"].items()}
    digests = {image: _digest(image, entry) for image, entry in raw.get("digests", {}).items()}
    return Versions(MappingProxyType(systems), MappingProxyType(components), MappingProxyType(digests))


def _digest(image: str, entry: Mapping[str, Any]) -> str:
    if len(set(entry["seen_in"])) < _SOURCES:
        raise ValueError(f"versions.yml: the digest of {image} needs {_SOURCES} independent sources")
    return str(entry["digest"])


def _component(name: str, entry: Mapping[str, Any]) -> ComponentVersions:
    releases = tuple(
        Release(r["variable"], r["value"], bool(r.get("default", False)), _ran(r["value"], r))
        for r in entry["releases"]
    )
    apt = {system: AptSource(**source) for system, source in entry.get("apt", {}).items()}
    return ComponentVersions(name, releases, MappingProxyType(entry.get("settings", {})), MappingProxyType(apt))


def _ran(name: str, marks: Mapping[str, Any]) -> bool:
    ci, rendered = bool(marks.get("ci", False)), bool(marks.get("rendered", False))
    if ci == rendered:
        raise ValueError(f"versions.yml: {name} must be marked either ci or rendered")
    return ci
