"""System users of a component: made with a home of their own, removed with it, never taken from somebody else.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import os
import pwd
from typing import List, Optional

from . import gpuctl_receipts as receipts
from .gpuctl_deletion import delete_tree
from .gpuctl_hostio import HostError, run

NO_SHELL = "/usr/sbin/nologin"


def known(name: str) -> Optional[pwd.struct_passwd]:
    """The user's entry; None when the host has no such user."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def ours(component: str, name: str, base: str = receipts.BASE) -> bool:
    """Whether the component made the user, or began to."""
    return name in receipts.read_before(component, base).get("users", {})


def _tool(argv: List[str]) -> None:
    done = run(argv, 60)
    if done.rc != 0:
        raise HostError("step-failed", f"{argv[0]} failed: {done.tail(1)}", "do what the message says, and run again")


def have(component: str, name: str, home: str, check: bool, base: str = receipts.BASE) -> List[str]:
    """Have the user, without a shell, with a home that only it reads; what was done. HostError user-foreign."""
    entry = known(name)
    if entry is not None and not ours(component, name, base):
        raise HostError(
            "user-foreign",
            f"there is a user {name} that gpuctl did not make (uid {entry.pw_uid}, home {entry.pw_dir})",
            "rename or remove that user",
        )
    actions = [] if entry is not None else [f"user {name}"]
    actions += [] if os.path.isdir(home) else [f"folder {home}"]
    if check:
        return actions
    if entry is None:
        receipts.remember_before(component, "users", name, home, base)
        # --user-group: the group goes with the user again.
        words = ["--system", "--user-group", "--no-create-home", "--home-dir", home, "--shell", NO_SHELL]
        _tool(["useradd", *words, "--comment", "W&B Launch agent of gpuctl", name])
    made = pwd.getpwnam(name)
    os.makedirs(home, mode=0o700, exist_ok=True)
    os.chown(home, made.pw_uid, made.pw_gid)
    os.chmod(home, 0o700)
    return actions


def remove(component: str, name: str, home: str, check: bool, base: str = receipts.BASE) -> List[str]:
    """Remove a user that the component made, and its home; another's stays. What was done."""
    if not ours(component, name, base):
        return []
    actions = [f"user {name}"] if known(name) else []
    actions += [f"folder {home}"] if os.path.isdir(home) else []
    if check:
        return actions
    if known(name):
        _tool(["userdel", name])
    if os.path.isdir(home):
        delete_tree(home)
    return actions
