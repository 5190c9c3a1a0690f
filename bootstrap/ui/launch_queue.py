"""The screens of `launch queue`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from bootstrap.launch.queue_apply import Applied
from bootstrap.launch.queues import Queue, QueueLine
from bootstrap.ui.layout import columns, count


def applied_screen(applied: Applied) -> list[str]:
    """What was, or would be, done to the queue, and what bites later."""
    lines = []
    name = f"queue {applied.entity}/{applied.queue}"
    if applied.dry_run:
        lines += [f"{name} would be {applied.outcome}" if applied.outcome != "unchanged" else f"{name}: nothing to do"]
        lines += [f"  {line}" for line in _document(applied.config.kubernetes, applied.config.variables)]
    else:
        lines += [f"{name} {applied.outcome}"]
    lines += [f"  {change}" for change in applied.changes]
    for caution in applied.cautions:
        lines.append(f"warning: {f'{caution.at}: ' if caution.at else ''}{caution.message}")
    if not applied.dry_run and applied.outcome == "created":
        trial = f"gpuctl launch test -q {applied.queue} -e {applied.entity}"
        lines.append(f"next: once an agent takes jobs from it, {trial}")
    return lines


def queue_screen(entity: str, queue: Queue) -> list[str]:
    """One queue, as a file that `apply` takes again."""
    head = f"# queue {entity}/{queue.name}, resource {queue.resource}, priorities {queue.priorities}"
    return [head, *_document(queue.kubernetes, queue.variables)]


def queues_screen(entity: str, queues: Sequence[QueueLine]) -> list[str]:
    """All queues of an entity."""
    if not queues:
        return [f"entity {entity} has no queue"]
    rows: list[Sequence[str]] = [("queue", "waiting", "running")]
    rows += [(queue.name, str(queue.waiting), str(queue.running)) for queue in queues]
    return [f"{count(len(queues), 'queue')} of {entity}", *columns(rows, right=(1, 2))]


def _document(kubernetes: Mapping[str, Any], variables: Mapping[str, Any]) -> list[str]:
    document: dict[str, Any] = {"kubernetes": dict(kubernetes)}
    if variables:
        document["template_variables"] = {name: dict(schema) for name, schema in variables.items()}
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return text.rstrip("\n").split("\n")
