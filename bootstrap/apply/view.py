"""What a command that plans or changes hosts shows while it runs."""

from __future__ import annotations

from typing import Protocol

from bootstrap.apply.results import HostSummary, Preflight
from bootstrap.plan.model import Plan
from bootstrap.progress import Progress, Silent


class ApplyView(Progress, Protocol):
    """Progress, and the three stations before it. Call each once, in this order."""

    def probed(self, hosts: tuple[HostSummary, ...], elapsed: float) -> None:
        """All hosts have answered or have not; `elapsed` in seconds."""

    def checked(self, preflight: Preflight) -> None:
        """The checks are done."""

    def planned(self, plan: Plan) -> None:
        """The plan that will run now."""

    def confirm(self, question: str) -> bool:
        """Ask yes or no (default no). Raises GpuctlError (usage) where nobody can answer, naming --yes."""


class SilentView(Silent):
    """An ApplyView that shows nothing and never says yes."""

    def probed(self, hosts: tuple[HostSummary, ...], elapsed: float) -> None:
        """Nothing."""

    def checked(self, preflight: Preflight) -> None:
        """Nothing."""

    def planned(self, plan: Plan) -> None:
        """Nothing."""

    def confirm(self, question: str) -> bool:  # noqa: ARG002
        """No."""
        return False
