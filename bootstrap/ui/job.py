"""The screens of `gpuctl job`: manifests, the ranks' lines side by side, and what a job came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from bootstrap.exit_codes import ExitCode
from bootstrap.jobs.making import not_deleted
from bootstrap.jobs.ranks import Rank
from bootstrap.jobs.run import JobResult
from bootstrap.ui.layout import brief, columns


class _Text(yaml.SafeDumper):
    """Files and programs as blocks that people can read; what is there twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """No anchors."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Text.add_representer(str, _text)


def manifest_lines(objects: Sequence[Mapping[str, Any]]) -> list[str]:
    """The objects as YAML documents."""
    return yaml.dump_all(objects, Dumper=_Text, sort_keys=False, explicit_start=True, width=120).splitlines()


def log_line(rank: Rank, line: str) -> str:
    """A line of a rank's log, with the rank and its node before it."""
    return f"[{rank.rank} {rank.node}] {line}"


def run_screen(result: JobResult) -> list[str]:
    """One line per rank, then the outcome."""
    rows = [(f"rank {rank.rank}", rank.node or "-", _state(rank)) for rank in result.ranks]
    how = "finished" if result.exit_code is ExitCode.OK else "failed"
    place = f"{result.launcher} {result.namespace}/{result.name}"
    return [*columns(rows), f"{place} {how} after {brief(result.elapsed_s)}; {_whereabouts(result)}"]


def _whereabouts(result: JobResult) -> str:
    if result.left:
        return not_deleted(result.namespace, result.left)
    return "it is kept" if result.kept else "it is deleted"


def _state(rank: Rank) -> str:
    if rank.exit_code is None:
        return rank.phase
    return "ended well" if rank.exit_code == 0 else f"ended with {rank.exit_code}"
