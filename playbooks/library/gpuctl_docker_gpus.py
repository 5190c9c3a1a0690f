"""Module gpuctl_docker_gpus: give all GPUs to a container of Docker's and say what it got."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside.gpuctl_dockergpus import look
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_docker_gpus
short_description: Give all GPUs to a container, by --gpus and by CDI's name, and count them in it
description:
  - Runs the host's own C(ls) in an empty image that it makes and removes, so nothing is pulled.
options: {}
"""

EXAMPLES = r"""
- name: Look what containers get
  gpuctl_docker_gpus:
"""

RETURN = r"""
seen:
  description: A sentence for each way.
  type: list
  elements: str
  returned: success
"""


def main(module: HostModule) -> dict[str, Any]:  # noqa: ARG001 - it takes no options
    """Look; a container that lacks a GPU is a failure."""
    return {"changed": False, "seen": look()}
