"""The screen of `launch agent status`: one line per fact, then the rights, kinds by namespaces."""

from __future__ import annotations

from collections.abc import Sequence

from bootstrap.launch.agent_model import AgentStatus, State
from bootstrap.launch.rights import KINDS
from bootstrap.ui.layout import columns, count

_SIGNS = {State.OK: "✓", State.WARNING: "!", State.BAD: "✗", State.UNKNOWN: "?"}


def status_screen(status: AgentStatus) -> list[str]:
    """What is there; what is wrong with it is told by the problems."""
    target = status.target
    head = f"Launch agent in mode {target.mode}, service account {target.namespace}/{target.account}"
    lines = [head]
    for fact in status.facts:
        lines.append(f"  {_SIGNS[fact.state]} {fact.subject}{': ' if fact.detail else ''}{fact.detail}")
    if status.missing:
        lines += _rights(status)
    wrong = len(status.problems)
    return [*lines, "nothing is wrong" if not wrong else f"{count(wrong, 'thing')} wrong"]


def _rights(status: AgentStatus) -> list[str]:
    """A cell names the verbs that are missing."""
    rows: list[Sequence[str]] = [("rights", *status.missing)]
    for kind in KINDS:
        cells = []
        for lacking in status.missing.values():
            verbs = [right.verb for right in lacking if right.kind == kind]
            cells.append(f"✗ {', '.join(verbs)}" if verbs else "✓")
        rows.append((kind, *cells))
    return columns(rows, gap=3)
