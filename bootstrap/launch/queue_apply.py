"""`gpuctl launch queue apply`: refuse what the agent would refuse, then make the queue what the configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bootstrap.errors import GpuctlError, Problem, settings_error, usage_error
from bootstrap.exit_codes import ExitCode
from bootstrap.jsonform import plain
from bootstrap.launch.queue_fields import unknown_fields, wrong_values
from bootstrap.launch.queue_file import QueueConfig, parse_queue_config
from bootstrap.launch.queue_gangs import gang_cautions
from bootstrap.launch.queue_pods import pod_problems
from bootstrap.launch.queue_preset import JOBS_NAMESPACE
from bootstrap.launch.queue_rules import Caution, refusals, warnings
from bootstrap.launch.queues import RESOURCE, Queue, Queues, differences
from bootstrap.launch.template_variables import problems

_NAME_LENGTH = 64  # the server's own limit, as the client's documentation of create_run_queue gives it


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying came to. `outcome`: created, changed or unchanged; what would be, where `dry_run` is set."""

    entity: str
    queue: str
    outcome: str
    changes: tuple[str, ...]
    config: QueueConfig
    priorities: str
    cautions: tuple[Caution, ...]
    dry_run: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        found = plain(self)
        found["config"] = {
            "kubernetes": plain(self.config.kubernetes),
            "template_variables": plain(self.config.variables),
        }
        return dict(found)


def read_config(path: Path) -> QueueConfig:
    """The configuration in a file.

    Raises:
        GpuctlError: it cannot be read or parsed (exit 3).
    """
    try:
        return parse_queue_config(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        words = f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}"
        raise settings_error(Problem("launch-config-invalid", words, "name a file that can be read")) from error


def check_config(config: QueueConfig, *, strict: bool = True) -> tuple[Caution, ...]:
    """What bites later; without `strict` what Kubernetes drops or refuses is among it, by the fields known here.

    Raises:
        GpuctlError: everything that the agent or the server would refuse, or Kubernetes drop or refuse (exit 3).
    """
    of_kubernetes = [*unknown_fields(config), *wrong_values(config), *pod_problems(config)]
    # What the agent refuses is told first: with it the object is often not the one that was meant.
    if found := [*refusals(config), *problems(config)] or (of_kubernetes if strict else []):
        raise GpuctlError(ExitCode.SETTINGS, *found)
    dropped = tuple(Caution(problem.message, problem.at) for problem in of_kubernetes)
    return (*dropped, *warnings(config), *gang_cautions(config))


def apply_queue(
    queues: Queues,
    name: str,
    config: QueueConfig,
    priorities: str | None,
    cautions: tuple[Caution, ...] = (),
    *,
    dry_run: bool,
    namespace_stays: bool = False,
    strict: bool = True,
) -> Applied:
    """Make the queue, or change it where it differs; `priorities` None leaves them as they are (off in a new queue).

    `namespace_stays`: a queue that is there keeps the namespace of its jobs, for its agent has rights there. `cautions`
    are those about the server, which the result takes up. `strict`: what Kubernetes would drop or refuse is refused.

    Raises:
        GpuctlError: the name or the configuration is refused (2, 3), or the server says no (4); nothing was changed.
    """
    if not name or len(name) > _NAME_LENGTH or name != name.strip():
        raise usage_error(f"{name!r} is no name of a queue", f"use 1 to {_NAME_LENGTH} characters")
    check_config(config, strict=strict)
    queues.check()
    before = queues.read(name)
    if namespace_stays and before is not None:
        config = _in_namespace_of(before, config)
    cautions = (*cautions, *check_config(config, strict=strict), *_namespace_cautions(config))
    if before is not None and before.resource != RESOURCE:
        words = f"queue {name} is one of resource {before.resource}, not of Kubernetes"
        raise settings_error(Problem("launch-queue-foreign", words, "choose another name, or delete that queue first"))
    wanted = priorities or (before.priorities if before else "off")
    changes = differences(before, config, wanted) if before else ()
    outcome = "created" if before is None else "changed" if changes else "unchanged"
    if outcome != "unchanged" and not dry_run:
        cautions += tuple(Caution(f"the server says: {remark}") for remark in queues.write(name, config, wanted))
    return Applied(queues.entity, name, outcome, changes, config, wanted, cautions, dry_run)


def _in_namespace_of(queue: Queue, config: QueueConfig) -> QueueConfig:
    known = queue.kubernetes.get("metadata")
    namespace = known.get("namespace") if isinstance(known, Mapping) else None
    if not isinstance(namespace, str) or not namespace:
        return config
    metadata = {**config.kubernetes.get("metadata", {}), "namespace": namespace}
    return replace(config, kubernetes={**config.kubernetes, "metadata": metadata})


def _namespace_cautions(config: QueueConfig) -> tuple[Caution, ...]:
    """Of jobs among everybody else's."""
    metadata = config.kubernetes.get("metadata")
    if not isinstance(metadata, Mapping) or metadata.get("namespace") != "default":
        return ()
    words = (
        "jobs run in namespace default, where no Pod Security level is enforced: set launch_agent_target_namespaces="
        f'["{JOBS_NAMESPACE}"], run `gpuctl bootstrap`, and apply the queue with --namespace {JOBS_NAMESPACE}'
    )
    return (Caution(words),)
