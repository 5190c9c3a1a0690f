"""Contracts that every role keeps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bootstrap.content import playbooks_path, roles_path
from bootstrap.inventory.schema import component_named, options_of
from bootstrap.versions import versions
from tests.content.rolefiles import (
    ROLES,
    WORKING_ROLES,
    Task,
    given_by_plays,
    keys_in_templates,
    load,
    names_defined_by,
    names_in,
    names_in_task,
    names_in_template,
    names_local_to,
    private_keys,
    task_files,
    tasks_of,
    template_files,
    vars_files,
)

HOST_ROOMS = ("main", "check", "install", "configure", "service", "verify", "remove")
CLUSTER_ROOMS = ("main", "check", "install", "verify", "remove")
# Names that Ansible gives to every task and that say nothing about the host or about other hosts.
# gpuctl_force_conflicts, gpuctl_reboot_ok, gpuctl_purge: flags of one run; gpuctl_packages_ahead: what it has done.
ALLOWED_MAGIC = frozenset(
    {
        "omit",
        "role_path",
        "lookup",
        "query",
        "q",
        "undef",
        "ansible_check_mode",
        "gpuctl_force_conflicts",
        "gpuctl_reboot_ok",
        "gpuctl_packages_ahead",
        "gpuctl_purge",
    }
)
LONGEST_TASK_FILE = 90
TASK_NAME = re.compile(r"^[A-Z][a-z]+ \| [A-Z]\S*( \S+)*[^.\s]$")
OUR_MODULES = sorted(
    path.stem for folder in ("library", "action_plugins") for path in (playbooks_path() / folder).glob("*.py")
)


def spec(role: str) -> dict[str, Any]:
    loaded: dict[str, Any] = load(roles_path() / role / "meta" / "argument_specs.yml")["argument_specs"]
    return loaded


def defaults(role: str) -> dict[str, Any]:
    return load(roles_path() / role / "defaults" / "main.yml") or {}


@pytest.mark.parametrize("role", ROLES)
def test_metadata_is_there(role: str) -> None:
    needed = (
        "defaults/main.yml",
        "meta/main.yml",
        "meta/argument_specs.yml",
        "meta/gpuctl.yml",
        "tasks/main.yml",
        "README.md",
    )
    assert [name for name in needed if not (roles_path() / role / name).is_file()] == []


@pytest.mark.parametrize("role", WORKING_ROLES)
def test_rooms_are_there(role: str) -> None:
    rooms = HOST_ROOMS if component_named(role).scope == "host" else CLUSTER_ROOMS
    needed = [f"tasks/{room}.yml" for room in rooms] + ["handlers/main.yml", "vars/main.yml"]
    assert [name for name in needed if not (roles_path() / role / name).is_file()] == []


@pytest.mark.parametrize("role", WORKING_ROLES)
def test_every_supported_system_has_its_data(role: str) -> None:
    files = {path.stem for path in vars_files(role)} - {"main"}
    reads = names_of_includes(role)
    if component_named(role).scope == "host" or "cluster_os" in reads:
        assert files == set(versions().systems)
    assert {frozenset(load(path) or {}) for path in vars_files(role) if path.stem in files} <= same_keys(role, files)


def names_of_includes(role: str) -> set[str]:
    return set().union(*(names_in_task(task) for task in tasks_of(role)))


def same_keys(role: str, files: set[str]) -> set[frozenset[str]]:
    """The keys of one file: every system's file defines the same names."""
    one = min(files, default=None)
    return {frozenset(load(roles_path() / role / "vars" / f"{one}.yml") or {})} if one else set()


@pytest.mark.parametrize("role", ROLES)
def test_defaults_equal_the_spec(role: str) -> None:
    options = spec(role)["main"].get("options") or {}
    assert defaults(role) == {name: option["default"] for name, option in options.items() if "default" in option}


@pytest.mark.parametrize("role", WORKING_ROLES)
def test_entry_points_have_specs_without_contradiction(role: str) -> None:
    entries = spec(role)
    assert {"main", "verify", "remove"} <= set(entries)
    main = entries["main"].get("options") or {}
    for entry in ("verify", "remove"):
        options = entries[entry].get("options") or {}
        assert {name: main.get(name) for name in options} == options
        assert (roles_path() / role / "tasks" / f"{entry}.yml").is_file()
    assert all(entry.get("short_description") for entry in entries.values())


@pytest.mark.parametrize("role", ROLES)
def test_variables_carry_the_role_s_name_and_a_description(role: str) -> None:
    for variable in component_named(role).variables:
        assert variable.name.startswith(f"{role}_")
        assert variable.description, variable.name
        assert variable.derived == variable.description.startswith("(derived)"), variable.name
        assert "type" in variable.spec, variable.name


@pytest.mark.parametrize("role", WORKING_ROLES)
def test_private_names_carry_the_role_s_name(role: str) -> None:
    """A fact without underscores is a role's answer to its play; everything else is private."""
    facts = {name for task in tasks_of(role) for name in task.body.get("ansible.builtin.set_fact") or {}}
    answers = {name for name in facts if name.startswith(f"{role}_")}
    names = {name for path in vars_files(role) for name in load(path) or {}}
    for task in tasks_of(role):
        names |= names_defined_by(task) | set(task.body.get("vars") or {})
        names |= {
            value for key, value in (task.body.get("loop_control") or {}).items() if key in {"loop_var", "index_var"}
        }
    assert [name for name in sorted(names - answers) if not name.startswith(f"__{role}_")] == []


@pytest.mark.parametrize("role", WORKING_ROLES)
def test_a_role_reads_only_its_arguments(role: str) -> None:
    """No facts, no hostvars, no groups, no other role's variables: all of that is resolved before the role runs."""
    known = {option.name for option in options_of(role)} | ALLOWED_MAGIC | given_by_plays(role)
    known |= keys_in_templates(role)
    tasks = tasks_of(role)
    known |= {name for path in vars_files(role) for name in private_keys(load(path) or {}, role)}
    known |= set().union(*(names_defined_by(task) | private_keys(task.body, role) for task in tasks))
    strangers = {task.where: names_in_task(task) - known - names_local_to(task) for task in tasks}
    for path in template_files(role):
        strangers[str(path)] = names_in_template(path.read_text()) - known - {"item", "ansible_managed"}
    for path in vars_files(role):
        strangers[str(path)] = names_in(load(path)) - known - {"item"}
    strangers["defaults"] = names_in(defaults(role)) - known
    strangers["evidence"] = names_in(dict(component_named(role).evidence)) - known
    assert {place: names for place, names in strangers.items() if names} == {}


@pytest.mark.parametrize("role", WORKING_ROLES)
def test_what_a_role_declares_it_uses(role: str) -> None:
    """A shared variable in `uses` that nothing reads would make receipts differ for nothing."""
    texts = [path.read_text() for path in [*task_files(role), *template_files(role), *vars_files(role)]]
    texts.append((roles_path() / role / "meta" / "gpuctl.yml").read_text().split("evidence:")[-1])
    texts.append((roles_path() / role / "defaults" / "main.yml").read_text())
    unread = [name for name in component_named(role).uses if not any(re.search(rf"\b{name}\b", text) for text in texts)]
    assert unread == []


@pytest.mark.parametrize("role", ROLES)
def test_every_task_says_what_it_does(role: str) -> None:
    named = [task for task in tasks_of(role) if not task.is_block or "name" in task.body]
    assert [task.where for task in named if not TASK_NAME.match(str(task.body.get("name", "")))] == []


@pytest.mark.parametrize("role", ROLES)
def test_a_task_is_named_after_its_file(role: str) -> None:
    files = [task for task in tasks_of(role) if task.file.parent.name == "tasks" and "name" in task.body]
    assert [t.where for t in files if str(t.body["name"]).split(" ")[0].lower() != t.file.stem.split("_")[0]] == []


@pytest.mark.parametrize("role", ROLES)
def test_task_files_are_short(role: str) -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in task_files(role)}
    assert {name: length for name, length in lengths.items() if length > LONGEST_TASK_FILE} == {}


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_swept_under_the_carpet(role: str) -> None:
    assert [f"{task.where}: {why}" for task in tasks_of(role) for why in carpet(task)] == []


def carpet(task: Task) -> list[str]:
    """Forbidden in a task: shells, errors that are passed over, modules by a short name that is not ours."""
    body = task.body
    modules = [key for key in body if "." in key or key.startswith("gpuctl_")]
    found = [f"{key} passes text to a shell" for key in body if key.split(".")[-1] in {"shell", "raw", "script"}]
    found += ["ignore_errors"] if body.get("ignore_errors") not in {None, False} else []
    found += ["ignore_unreachable"] if body.get("ignore_unreachable") not in {None, False} else []
    found += ["failed_when: false"] if str(body.get("failed_when", "")).lower() in {"false", "no"} else []
    found += [] if modules or task.is_block else ["its module has neither a full name nor ours"]
    found += [f"{name} is not there" for name in modules if name.startswith("gpuctl_") and name not in OUR_MODULES]
    return found


def test_the_carpet_is_looked_under() -> None:
    """The rule above must be able to fail."""
    for body in (
        {"name": "x", "ansible.builtin.shell": "ls"},
        {"name": "x", "shell": "ls"},
        {"name": "x", "ansible.builtin.command": "ls", "ignore_errors": True},
        {"name": "x", "ansible.builtin.command": "ls", "failed_when": False},
        {"name": "x", "gpuctl_nothing": {}},
    ):
        assert carpet(Task(Path(roles_path() / "r" / "tasks" / "main.yml"), body)), body


def test_a_stranger_is_seen() -> None:
    """Likewise: names in expressions, in templates, behind filters and lookups."""
    task = {"name": "x", "when": "hostvars['a'].b is defined", "gpuctl_x": {"y": "{{ [ansible_facts.os] | flatten }}"}}
    assert names_in(task) == {"hostvars", "ansible_facts"}
    assert names_in_template("{% for x in groups.all %}{{ x | some_filter(y) }}{% endfor %}") == {"groups", "y"}


@pytest.mark.parametrize("role", WORKING_ROLES)
def test_receipts_are_begun_and_completed(role: str) -> None:
    """The first change is preceded by `begun`, the last one followed by `complete`; remove ends with `absent`."""
    bodies = [task.body for task in tasks_of(role)]
    if component_named(role).scope == "cluster":
        assert any("gpuctl_objects" in body for body in bodies)
        return
    states = {
        (body["gpuctl_receipt"]["component"], body["gpuctl_receipt"]["state"])
        for body in bodies
        if "gpuctl_receipt" in body
    }
    assert states - {(role, "begun")} == {(role, "complete"), (role, "absent")}
    installs = [body["gpuctl_packages"] for body in load(roles_path() / role / "tasks" / "install.yml")]
    assert installs == [{"components": [role]}]  # begins the receipt, too
    rooms = [str(body.get("ansible.builtin.import_tasks")) for body in load(roles_path() / role / "tasks" / "main.yml")]
    changing = [room for room in rooms if room in {"install.yml", "configure.yml", "service.yml"}]
    assert changing[0] == "install.yml"
    removal = [task.body for task in tasks_of(role) if task.file.name == "remove.yml" and not task.is_block]
    assert removal[-1].get("gpuctl_receipt") == {"component": role, "state": "absent"}


@pytest.mark.parametrize("role", WORKING_ROLES)
def test_modules_are_told_their_own_component(role: str) -> None:
    told = {
        args["component"]
        for t in tasks_of(role)
        for args in t.body.values()
        if isinstance(args, dict) and "component" in args
    }
    assert told <= {role}


def test_a_minikube_host_is_checked_before_it_is_changed() -> None:
    """Roles refuse what they do not want to do to somebody's Docker or minikube before packages of others are there."""
    tasks = load(playbooks_path() / "minikube.yml")[1]["tasks"]
    first = next(position for position, task in enumerate(tasks) if "gpuctl_packages" in task)
    checks = [task["ansible.builtin.include_role"] for task in tasks[:first]]
    assert [(role["name"], role["tasks_from"]) for role in checks] == [
        ("docker", "check.yml"),
        ("minikube", "check.yml"),
    ]
    for role in checks:
        for task in load(roles_path() / role["name"] / "tasks" / "check.yml"):
            assert task[f"gpuctl_{role['name']}"]["state"] == "checked"
