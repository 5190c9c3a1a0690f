"""Module gpuctl_cdi: have a CDI specification that names the GPUs and files that are there."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside.gpuctl_module import HostModule
from bootstrap.hostside.gpuctl_nvidia import cdi_fault, renew_cdi

DOCUMENTATION = r"""
module: gpuctl_cdi
short_description: Have a CDI specification of the NVIDIA GPUs that is not stale
description:
  - Renews the specification when there is none, when it names a file that is gone (an old driver's), or when the
    number of GPUs is another.
options: {}
"""

EXAMPLES = r"""
- name: Renew the CDI specification where it is stale
  gpuctl_cdi:
"""

RETURN = r"""
reason:
  description: Why it was (or, in check mode, would be) renewed.
  type: str
  returned: success
"""


def main(module: HostModule) -> dict[str, Any]:
    """Renew the specification when it does not fit."""
    fault = cdi_fault()
    if fault and not module.check_mode:
        renew_cdi()
        left = cdi_fault()
        if left:
            raise left
    return {"changed": fault is not None, "reason": fault.message if fault else ""}
