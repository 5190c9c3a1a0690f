"""The one schema: argument_specs of all roles together with what their meta/gpuctl.yml adds.

A role that is incomplete (no spec, or no gpuctl.yml) is not there for gpuctl; the content tests refuse it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from bootstrap.content import roles_path

SETTINGS_SCOPE = "settings"  # roles that only own variables: they are no component
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class SchemaError(ValueError):
    """A role's meta files contradict each other: a fault of the project, never of its user."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One public variable of a role, as its argument spec has it. `spec` is the raw option, for Ansible's validator."""

    name: str
    role: str
    type: str
    default: Any
    required: bool
    choices: tuple[Any, ...] | None
    elements: str | None
    options: Mapping[str, Any] | None
    no_log: bool
    description: str
    spec: Mapping[str, Any]
    derived: bool = False


@dataclass(frozen=True, slots=True)
class ObjectsInUse:
    """Objects of one kind ("batch/v1/Job") that a component serves. Pointers are those of RFC 6901.

    `where` holds the values that an object must have, `state` points at the one that says how it stands; `own` are
    names of objects that the component makes by itself.
    """

    kind: str
    where: Mapping[str, str]
    state: str
    own: frozenset[str]


@dataclass(frozen=True, slots=True)
class Revision:
    """One raise of a role's revision: why hosts must be touched, and what that change does to what runs there."""

    number: int
    why: str
    effect: str


@dataclass(frozen=True, slots=True)
class Component:
    """What meta/gpuctl.yml says about a role; `variables` are the role's own.

    `immutable` includes the shared variables that the component uses and that their owner calls immutable: they
    are in its receipt, so it is there that a change shows. `ranges` bound numbers; `formats` name a parser. `wanted`
    names a boolean argument without which the component belongs nowhere; empty where it always does. `transient` are
    arguments of one run, which say what it may do or has to mind: how the host is to be does not depend on them, so
    that another value in the receipt is no change, and no later run takes them from there. `purpose` is the role's
    short description; `in_use` says which objects of users need it, so that it is not taken away under them.
    `assumed` are the values of pinned variables for receipts that are older than the variable. `pod_security` is the
    level that namespaces of the component enforce where gpuctl makes them: the lowest that its own pods run under.
    `revision` is raised by hand when a new version of the role must run on hosts that have an older one; `raises` holds
    each raise. `images` are those of its arguments that name an image, to which a digest may be added.
    """

    name: str
    scope: str  # host | cluster | settings
    hosts: str  # all (nodes) | gpu | control_plane | nfs_server | launch_agent | minikube
    order: int
    effect: str
    uses: tuple[str, ...]
    derived: frozenset[str]
    pinned: tuple[str, ...]
    immutable: frozenset[str]
    patterns: Mapping[str, str]
    ranges: Mapping[str, tuple[float, float]]
    formats: Mapping[str, str]
    evidence: Mapping[str, Any]
    variables: tuple[Variable, ...] = ()
    wanted: str = ""
    transient: frozenset[str] = frozenset()
    purpose: str = ""
    in_use: tuple[ObjectsInUse, ...] = ()
    revision: int = 1
    raises: tuple[Revision, ...] = ()
    assumed: Mapping[str, Any] = field(default_factory=dict)
    pod_security: str = ""
    images: tuple[str, ...] = ()


@cache
def roles() -> tuple[Component, ...]:
    """All roles, those that only own settings too, in the order in which they run."""
    found = sorted(filter(None, map(_read_role, _role_folders())), key=lambda c: (c.order, c.name))
    shared = frozenset(name for role in found if role.scope == SETTINGS_SCOPE for name in role.immutable)
    return tuple(_with_shared_immutables(role, shared) for role in found)


@cache
def components() -> tuple[Component, ...]:
    """The roles that do something on hosts or in the cluster, in the order in which they run."""
    return tuple(role for role in roles() if role.scope != SETTINGS_SCOPE)


def component_named(name: str) -> Component:
    """The role of that name; KeyError when there is none."""
    for role in roles():
        if role.name == name:
            return role
    raise KeyError(name)


@cache
def variables() -> Mapping[str, Variable]:
    """Every public variable of every role, by name."""
    return MappingProxyType({variable.name: variable for role in roles() for variable in role.variables})


@cache
def options_of(component: str) -> tuple[Variable, ...]:
    """The variables that a component's role may read: its own, and the shared ones that it declares under `uses`."""
    role = component_named(component)
    shared = tuple(variables()[name] for name in role.uses if name in variables())
    return (*role.variables, *shared)


def spec_path(role: str, folder: Path | None = None) -> Path:
    """The file of a role's argument specs."""
    return (folder or roles_path()) / role / "meta" / "argument_specs.yml"


def read_yaml(path: Path) -> Any:
    """The content of a YAML file of the project.

    Raises:
        SchemaError: it cannot be parsed.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader in either spelling
    except yaml.YAMLError as error:
        raise SchemaError(f"{path}: {error}") from error


def _role_folders() -> Iterable[Path]:
    root = roles_path()
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else ()


def _read_role(folder: Path) -> Component | None:
    spec_file, meta_file = spec_path(folder.name, folder.parent), folder / "meta" / "gpuctl.yml"
    if not spec_file.is_file() or not meta_file.is_file():
        return None
    return parse_role(folder.name, read_yaml(spec_file), read_yaml(meta_file))


def parse_role(role: str, spec: Mapping[str, Any], meta: Mapping[str, Any]) -> Component:
    """A role from its two parsed meta files.

    Raises:
        SchemaError: the component has another name than the role.
    """
    options = spec["argument_specs"]["main"].get("options") or {}
    derived = frozenset(meta.get("derived") or ())
    own = tuple(_variable(name, role, option or {}, derived) for name, option in options.items())
    rules = {key: meta.get(key) or {} for key in ("derived", "pinned", "immutable", "patterns", "ranges", "formats")}
    if meta.get("component") != role:
        raise SchemaError(f"roles/{role}/meta/gpuctl.yml: component is {meta.get('component')!r}")
    return Component(
        name=role,
        scope=str(meta["scope"]),
        hosts=str(meta["hosts"]),
        order=int(meta["order"]),
        effect=str(meta.get("effect", "none")),
        uses=tuple(meta.get("uses") or ()),
        derived=derived,
        pinned=tuple(rules["pinned"]),
        immutable=frozenset(rules["immutable"]),
        patterns=MappingProxyType(dict(rules["patterns"])),
        ranges=MappingProxyType({name: (low, high) for name, (low, high) in dict(rules["ranges"]).items()}),
        formats=MappingProxyType(dict(rules["formats"])),
        evidence=MappingProxyType(dict(meta.get("evidence") or {})),
        variables=own,
        wanted=str(meta.get("wanted", "")),
        transient=frozenset(meta.get("transient") or ()),
        purpose=str(spec["argument_specs"]["main"].get("short_description") or ""),
        in_use=tuple(_in_use(entry) for entry in meta.get("objects_in_use") or ()),
        images=tuple(meta.get("images") or ()),
        revision=int(meta.get("revision", 1)),
        raises=tuple(
            Revision(int(number), str(entry["why"]), str(entry["effect"]))
            for number, entry in sorted((meta.get("revisions") or {}).items())
        ),
        assumed=MappingProxyType(dict(meta.get("assumed") or {})),
        pod_security=str(meta.get("pod_security") or ""),
    )


def _in_use(entry: Mapping[str, Any]) -> ObjectsInUse:
    where = MappingProxyType({pointer: str(value) for pointer, value in (entry.get("where") or {}).items()})
    return ObjectsInUse(
        str(entry["kind"]), where, str(entry.get("state", "/status/phase")), frozenset(entry.get("own") or ())
    )


def _variable(name: str, role: str, option: Mapping[str, Any], derived: frozenset[str]) -> Variable:
    description = option.get("description", "")
    choices = option.get("choices")
    return Variable(
        name=name,
        role=role,
        type=str(option.get("type", "str")),
        default=option.get("default"),
        required=bool(option.get("required", False)),
        choices=None if choices is None else tuple(choices),
        elements=option.get("elements"),
        options=option.get("options"),
        no_log=bool(option.get("no_log", False)),
        description=" ".join(description) if isinstance(description, list) else str(description).strip(),
        spec=MappingProxyType(dict(option)),
        derived=name in derived,
    )


def _with_shared_immutables(role: Component, shared: frozenset[str]) -> Component:
    inherited = shared & frozenset(role.uses)
    return replace(role, immutable=role.immutable | inherited)
