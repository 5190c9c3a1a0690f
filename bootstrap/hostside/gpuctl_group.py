"""Who is in a group of the system: add those who are asked for, take out those whom gpuctl added.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import grp
import pwd
from typing import List, Sequence

from . import gpuctl_receipts as receipts
from .gpuctl_hostio import HostError, run

RECORD = "group_members"


def members(group: str) -> List[str]:
    """The users that the group names; empty when there is no such group."""
    try:
        return list(grp.getgrnam(group).gr_mem)
    except KeyError:
        return []


def refuse_unknown(users: Sequence[str]) -> None:
    """HostError variable-invalid when the host has no such user."""
    for name in users:
        try:
            pwd.getpwnam(name)
        except KeyError as error:
            fix = "make the user first, or leave the name out"
            raise HostError("variable-invalid", f"there is no user {name} on the host", fix) from error


def have(component: str, group: str, users: Sequence[str], check: bool) -> List[str]:
    """Have these users in the group, and none that the component added and that is asked for no more; what was done."""
    refuse_unknown(users)
    now, ours = members(group), list(receipts.read_before(component).get(RECORD, {}))
    joining = [name for name in users if name not in now]
    leaving = [name for name in ours if name in now and name not in users]
    if not check:
        for name in joining:
            receipts.remember_before(component, RECORD, name, group)
            _tool(["usermod", "--append", "--groups", group, name])
        for name in leaving:
            _tool(["gpasswd", "--delete", name, group])
        for name in ours:
            if name not in users:
                receipts.forget_before(component, RECORD, name)
    return [f"{name} joins {group}" for name in joining] + [f"{name} leaves {group}" for name in leaving]


def _tool(argv: List[str]) -> None:
    done = run(argv, 60)
    if done.rc != 0:
        raise HostError("step-failed", f"{argv[0]} failed: {done.tail(1)}", "do what the message says, and run again")
