"""What both ways over ssh have in common: whom they lead to, and what was passed over on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootstrap.probe.ssh_choice import known_hosts_of
from bootstrap.probe.tunnel import Tunnels

if TYPE_CHECKING:
    from bootstrap.probe.ssh_config import Target


class OverSsh:
    """The part of probe.session.Session that the target answers."""

    def __init__(self, target: Target, python: tuple[str, ...]) -> None:
        self.target = target
        self.python = python
        self.notes = known_hosts_of(target).broken
        self.tunnels = Tunnels()

    @property
    def user(self) -> str:
        """As whom we are there."""
        return self.target.user

    @property
    def address(self) -> str:
        """Where the host is."""
        return self.target.address
