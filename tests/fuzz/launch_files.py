"""Queue files and chart values that mutations begin with, and the way each goes: to the server, to the roles."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from bootstrap.hostside.gpuctl_wandb import PROJECT, Server
from bootstrap.inventory.launch_values import secrets_of
from bootstrap.inventory.model import Inventory
from bootstrap.jsonform import plain
from bootstrap.launch.queue_apply import apply_queue, read_config
from bootstrap.launch.queue_preset import DEFAULT_GPUS, PRESETS, PresetChoices, render_preset
from bootstrap.launch.queues import RESOURCE, Queues
from bootstrap.plan.launch_arguments import launch_arguments, launch_problems, read_launch_files
from bootstrap.ui.launch_queue import applied_screen
from tests.fuzz.mutate import document_mutations, text_mutations
from tests.unit.factories import default_settings, inventory

FIXTURES = Path(__file__).parents[1] / "fixtures" / "launch"
Document = dict[str, Any]
_SPACE = ("\t", "\n", "  ", "\n\n", "\r\n", " # ", "---\n", "...\n", "\ufeff", "{{gpus}}", "<name>", "[]: ", "? {}\n: ")


def preset_documents() -> dict[str, Document]:
    """The queues that come with gpuctl, with everything in them that can be."""
    choices = PresetChoices(DEFAULT_GPUS, DEFAULT_GPUS, claim="nfs-kubedata")
    configs = {name: render_preset(name, choices, {}) for name in PRESETS}
    return {
        name: {"kubernetes": plain(config.kubernetes), "template_variables": plain(config.variables)}
        for name, config in configs.items()
    }


def queue_seeds() -> dict[str, str]:
    """Name → text of a queue file."""
    presets = preset_documents()
    found = {f"{name}.yaml": yaml.safe_dump(document, sort_keys=False) for name, document in presets.items()}
    job = presets["job"]
    wrapped = {"resource_args": {"kubernetes": job["kubernetes"]}, "template_variables": job["template_variables"]}
    return {**found, "wrapped.json": json.dumps(wrapped, indent=2), **_fixtures("queues"), **_fixtures("values")}


def values_seeds() -> dict[str, str]:
    """Name → text of a values.yaml, or of what people take for one."""
    rich = (FIXTURES / "rich-values.yaml").read_text(encoding="utf-8")
    inner = yaml.safe_load(rich)["launchConfig"]
    job = yaml.safe_dump(preset_documents()["job"], sort_keys=False)
    small = f"launchConfig: |\n  entity: lab\n  queues: [gpus]\nagent: {{apiKey: {'k' * 40}}}\n"
    return {
        "rich.yaml": rich,
        "small.yaml": small,
        "launch-config.yaml": inner,
        "queue.yaml": job,
        **_fixtures("values"),
    }


def mutations(seeds: Mapping[str, str], seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """`count` files, each with its seed's name: a value changed, or the text; some with bytes that are no UTF-8."""
    chance = random.Random(seed)  # noqa: S311 - a corpus, not a secret
    names = sorted(seeds)
    documents = {name: value for name, value in ((n, _loaded(seeds[n])) for n in names) if value}
    for number in range(count):
        name, kind = names[number % len(names)], chance.random()
        drawn = chance.randrange(2**32)
        if kind < 0.5 and name in documents:
            _, changed = next(document_mutations(documents[name], drawn, 1))
            yield name, _written(changed, chance)
        elif kind < 0.9:
            yield name, next(text_mutations(seeds[name], drawn, 1)).encode("utf-8", "surrogatepass")
        else:
            yield name, _spaced(seeds[name], chance)


def take_queue(path: Path) -> str:
    """Read a queue file and send it twice, to a server without that queue and to one that has another configuration.

    Returns what came of it: "applied", or "applied with warnings".
    """
    config = read_config(path)
    ended = "applied"
    for before in ({}, preset_documents()["job"]):
        done = apply_queue(Queues(_Answering(before), "lab"), "gpus", config, None, dry_run=bool(before))
        ended = "applied with warnings" if done.cautions else ended
        "\n".join(applied_screen(done)).encode("utf-8", "replace")
        json.dumps(done.as_dict(), allow_nan=False)
    return ended


def take_values(path: Path) -> str:
    """Read a values file as the inventory's, with all that is said of it; "taken", or the code of a problem."""
    agents = _with_values(path)
    files = read_launch_files(agents)
    arguments = launch_arguments(agents.hosts[0], None, agents, files)
    problems = tuple(launch_problems(agents, files))
    assert all(p.message and p.fix for p in problems)
    json.dumps([plain(arguments), secrets_of(files.values)], allow_nan=False)
    return problems[0].code if problems else "taken"


TAKE: Mapping[str, tuple[Callable[[], dict[str, str]], Callable[[Path], str]]] = {
    "queue files": (queue_seeds, take_queue),
    "values files": (values_seeds, take_values),
}


class _Answering(Server):
    """In place of a server that has the queue `gpus`, or none; what it is sent has to be JSON."""

    def __init__(self, before: Document) -> None:
        super().__init__("http://127.0.0.1:9", "k" * 40)
        self._before = before

    def ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        json.dumps(dict(variables), allow_nan=False).encode()
        for name in ("resourceConfig", "templateVariables"):
            json.loads(variables.get(name, "{}"), parse_constant=_refuse)
        return _answers(self._before)[query.split("(")[0].split()[1]]


def _answers(before: Document) -> dict[str, dict[str, Any]]:
    queue = {"id": "q1", "defaultResourceConfigID": "c1", "prioritizationMode": "DISABLED"} if before else None
    found = {"config": json.dumps({"resource_args": before}), "resource": RESOURCE, "templateVariables": []}
    entity = {"id": "e", "name": "lab", "isTeam": True}
    return {
        "Viewer": {"viewer": {"id": "u", "entity": "lab", "username": "u", "teams": {"edges": []}}},
        "EntityIsTeam": {"entity": entity},
        "ProjectRunQueues": {"project": {"runQueues": []}},
        "GetRunQueueMetadata": {"project": {"runQueue": queue}},
        "GetDefaultResourceConfig": {"entity": {"defaultResourceConfig": found}},
        "CreateProject": {"result": {"project": {"id": "p", "name": PROJECT}}},
        "UpsertRunQueue": {"upsertRunQueue": {"success": True, "configSchemaValidationErrors": []}},
    }


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def _with_values(path: Path) -> Inventory:
    base = inventory({"cp1": "198.51.100.10"}, {})
    settings = default_settings(launch_agent_values_file=str(path))
    host = replace(base.hosts[0], groups=base.hosts[0].groups | {"launch_agent"}, settings=settings)
    return Inventory(path.parent / "lab.ini", (host,))


def _fixtures(folder: str) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((FIXTURES / folder).iterdir())}


def _loaded(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _written(document: Any, chance: random.Random) -> bytes:
    """As YAML or JSON; JSON with NaN and lone surrogates as Python's own writer leaves them."""
    try:
        if chance.random() < 0.6:
            return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, ValueError):
        pass  # what YAML's writer cannot write, JSON's can
    return json.dumps(document, indent=chance.choice((None, 2))).encode()


def _spaced(text: str, chance: random.Random) -> bytes:
    """Lines that lost or changed their indentation, stand twice or in another order; now and then other bytes."""
    lines = text.splitlines(keepends=True)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(lines))
        line = lines[at]
        indent = line[: len(line) - len(line.lstrip())]
        lines[at] = chance.choice(
            (
                line.lstrip(),
                "\t" + line.lstrip(),
                " " + line,
                line + line,
                indent + chance.choice(_SPACE) + line.lstrip(),
            )
        )
        if chance.random() < 0.2:
            chance.shuffle(lines)
    found = "".join(lines)
    if chance.random() < 0.2:
        return found.encode(chance.choice(("utf-16", "latin-1", "utf-8-sig")), "replace")
    raw = found.encode()
    cut = chance.randrange(len(raw)) if chance.random() < 0.3 else len(raw)
    return raw[:cut] + (b"\xff\xfe\x00" if chance.random() < 0.1 else b"")
