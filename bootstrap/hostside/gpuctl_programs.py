"""Whether a program may be run: whoever can replace it, or a folder on the way to it, runs code as its caller.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import os
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
        shared = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != 0)
        # In a sticky folder nobody replaces what is another's, and what is below has been looked at.
        if shared and not (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
            return "others may write to %s" % place
        if place == "/":
            return ""
        place = os.path.dirname(place)
