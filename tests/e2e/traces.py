"""Finding what a lab left behind, while other labs on the same machine come and go."""

from __future__ import annotations

import fnmatch
import os


def below(top: str, pattern: str) -> list[str]:
    """Paths below `top` whose last part matches; a directory that goes meanwhile is no error, as it is for pathlib."""
    return [
        f"{folder}/{name}"
        for folder, folders, files in os.walk(top)
        for name in (*folders, *files)
        if fnmatch.fnmatchcase(name, pattern)
    ]
