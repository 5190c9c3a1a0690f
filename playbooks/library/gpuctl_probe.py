"""Module gpuctl_probe: look at a host and change nothing, for playbooks that run without gpuctl."""

from __future__ import annotations

import time
from typing import Any

from bootstrap.hostside.gpuctl_module import HostModule
from bootstrap.hostside.gpuctl_probe_main import collect

DOCUMENTATION = r"""
module: gpuctl_probe
short_description: Look at a host and change nothing
description:
  - Takes the same facts of a host that gpuctl takes over ssh before it plans, with the same code.
  - What cannot be read is null, which means unknown and never absent.
options: {}
attributes:
  check_mode:
    support: full
    description: It never changes anything.
author: gpuctl contributors
"""

EXAMPLES = r"""
- name: Look at the host
  gpuctl_probe:
  register: probe
"""

RETURN = r"""
facts:
  description: One document with everything that was seen, the JSON form of HostFacts.
  returned: always
  type: dict
"""


def main(_module: HostModule) -> dict[str, Any]:
    """Collect, and return the document as `facts`."""
    started = time.monotonic()
    facts = collect()
    return {"changed": False, "facts": facts, "seconds": round(time.monotonic() - started, 3)}
