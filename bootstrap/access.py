"""How a command gets onto the hosts, beyond what the inventory says."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Access:
    """The password is for sudo; it comes from a prompt or a file, never from a flag. Host keys are always checked.

    `accept_new_host_keys` writes the key of a host that is not yet known into known_hosts; a changed key is refused.
    """

    become_password: str | None = field(default=None, repr=False)
    accept_new_host_keys: bool = False
