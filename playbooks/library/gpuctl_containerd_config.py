"""Module gpuctl_containerd_config: compare what containerd makes of its files with what is expected."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside.gpuctl_hostio import HostError, run
from bootstrap.hostside.gpuctl_module import HostModule
from bootstrap.hostside.gpuctl_toml import lookup, parse

DOCUMENTATION = r"""
module: gpuctl_containerd_config
short_description: Assert settings in the configuration that containerd has merged from its files
description:
  - Reads C(containerd config dump), so a drop-in that overrides or loses a setting shows. Changes nothing.
options:
  expect:
    description: Settings, each with C(path) (keys from the top) and C(value); values are compared as text.
    type: list
    elements: dict
    required: true
  code:
    description: Stable code of the failure.
    type: str
    default: config-invalid
  fix:
    description: Remedy that the failure names.
    type: str
    default: remove what overrides it from /etc/containerd/conf.d
"""

EXAMPLES = r"""
- name: Assert the cgroup driver
  gpuctl_containerd_config:
    expect:
      - path: [plugins, io.containerd.cri.v1.runtime, containerd, runtimes, runc, options, SystemdCgroup]
        value: true
"""

RETURN = r"""
checked:
  description: How many settings were compared.
  type: int
  returned: success
"""


def main(module: HostModule) -> dict[str, Any]:
    """Compare; the first value that differs is the failure."""
    code, fix = module.params["code"], module.params["fix"]
    done = run(["containerd", "config", "dump"], 30)
    if done.rc != 0:
        raise HostError(code, f"containerd config dump failed: {done.tail(1)}", fix, done.tail())
    try:
        tree = parse(done.out)
    except ValueError as error:
        raise HostError(code, f"containerd config dump cannot be read: {error}", fix) from error
    for entry in module.params["expect"]:
        found = lookup(tree, entry["path"])
        if str(found) != str(entry["value"]):
            place = ".".join(entry["path"])
            raise HostError(code, f"containerd runs with {place} = {found}, expected {entry['value']}", fix)
    return {"changed": False, "checked": len(module.params["expect"])}
