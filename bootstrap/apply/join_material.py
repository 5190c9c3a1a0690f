"""After a run that failed or was stopped: take back the token that its hosts were to join with."""

from __future__ import annotations

from contextlib import suppress

from bootstrap.access import Access
from bootstrap.apply.module_code import folder
from bootstrap.errors import GpuctlError
from bootstrap.inventory.model import Host
from bootstrap.probe.remote import reach
from bootstrap.probe.remote_python import run_python
from bootstrap.probe.ssh_errors import ConnectFailure

_TIMEOUT_S = 60.0
# The run's own modules are on the host, if it came as far as making a token.
_TAKE_BACK = """\
import os, sys
sys.path.insert(0, {folder!r})
if os.path.exists("/run/gpuctl/join.json"):
    from bootstrap.hostside.gpuctl_joinmaterial import take_back
    take_back()
"""


def take_back_join_material(seed: Host, access: Access) -> None:
    """Delete the token and the uploaded certificates; a seed that does not answer keeps them until they end."""
    with suppress(GpuctlError, ConnectFailure), reach(seed, access) as session:
        program = _TAKE_BACK.format(folder=folder())
        run_python(session, seed, program, password=access.become_password, timeout_s=_TIMEOUT_S)
