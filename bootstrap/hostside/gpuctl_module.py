"""What a module of playbooks/library is called with, and how it is run on a host: one JSON document in, one out.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from typing import Any, Dict, NamedTuple, TextIO

from .gpuctl_hostio import HostError


class HostModule(NamedTuple):
    """One call of a module; the controller has checked `params` against the module's documentation."""

    params: Dict[str, Any]
    check_mode: bool = False
    diff: bool = False


def answer(name: str, call: HostModule) -> Dict[str, Any]:
    """The result of the module `name`; a failure that was foreseen carries its code."""
    try:
        module = importlib.import_module(f"library.{name}")
        found: Dict[str, Any] = module.main(call)
    except HostError as error:
        return {"failed": True, "msg": error.as_text(), "code": error.code, "details": error.details}
    return {"changed": False, **found}


def main(asked: TextIO, answers: TextIO) -> None:
    """Read one request, write one answer. What the module prints meanwhile goes to standard error.

    Whatever umask the ssh session has: modes are those that modules name, and 0755 and 0644 where they name none.
    """
    os.umask(0o022)
    request = json.load(asked)
    call = HostModule(request["params"], request["check_mode"], request["diff"])
    with contextlib.redirect_stdout(sys.stderr):
        found = answer(request["module"], call)
    answers.write(json.dumps(found) + "\n")
