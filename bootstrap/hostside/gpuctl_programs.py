"""Whether a program may be run: whoever can replace it, or a folder on the way to it, runs code as its caller.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat


def complaint_of_program(path: str, uid: int) -> str:
    """Why user `uid` should not run the program; empty when it is root's or the user's own, with all folders above it.

    A program that is not there is no reason: it cannot be run.
    """
    real = os.path.realpath(path)
    if not os.path.exists(real):
        return ""
    place = real
    while True:
        found = os.lstat(place)
        if found.st_uid not in (0, uid):
            return "%s belongs to user %d" % (place, found.st_uid)
        shared = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and has_members(found.st_gid))
        # In a sticky folder nobody replaces what is another's, and what is below has been looked at.
        if shared and not (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
            return "others may write to %s" % place
        if place == "/":
            return ""
        place = os.path.dirname(place)


def has_members(gid: int) -> bool:
    """Whether anybody but root is in the group: Debian's staff, which may write to /usr/local, is empty at first."""
    if gid == 0:
        return False
    try:
        named = grp.getgrgid(gid).gr_mem
    except KeyError:
        return True  # whoever gets that number
    return bool([name for name in named if name != "root"]) or any(u.pw_gid == gid for u in pwd.getpwall())
