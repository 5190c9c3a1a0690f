"""Module gpuctl_apt_source: have a signed package source, its key checked by fingerprint, its lists fetched."""

from __future__ import annotations

from typing import Any

from bootstrap.hostside import gpuctl_apt as apt
from bootstrap.hostside.gpuctl_aptsource import Source, apply, lists_there
from bootstrap.hostside.gpuctl_hostio import HostError, run
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_apt_source
short_description: Have a signed Debian package source
description:
  - Fetches the source's key over verified TLS and refuses it unless its fingerprint is the one given.
  - Writes key, deb822 entry, preferences and, for a server under the given CA, apt's CA setting.
  - Fetches the lists of this source only, and only when none are there; M(gpuctl_packages) fetches them again when
    they do not do.
options:
  component:
    description: Role that owns the source.
    type: str
    required: true
  name:
    description: Short name; the files are called C(gpuctl-NAME).
    type: str
    required: true
  source:
    description: The source; C(url), C(suite), C(components), C(key_url), C(key_fingerprint) (one, or a list).
    type: dict
    required: true
  ca_path:
    description: PEM file on the host with a CA to trust for this server where the system's CAs do not do.
    type: path
  pin:
    description: Preferences, each with C(package), C(pin) and C(priority).
    type: list
    elements: dict
    default: []
  lock_timeout:
    description: Seconds to wait for apt's lists.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Add the source
  gpuctl_apt_source:
    component: containerd
    name: docker
    source: "{{ containerd_apt_source }}"
"""

RETURN = r"""
changed_files:
  description: Files that were written or removed.
  type: list
  elements: str
  returned: success
"""


def main(module: HostModule) -> dict[str, Any]:
    """Have the source, and its lists."""
    wanted = module.params
    try:
        source = Source(wanted["name"], wanted["source"], wanted["ca_path"])
    except KeyError as error:
        raise HostError("variable-invalid", f"the source {wanted['name']} lacks {error}", "set it") from error
    architecture = run(["dpkg", "--print-architecture"], 15).out.strip()
    result = apply(wanted["component"], source, wanted["pin"], architecture, module.check_mode)
    if not module.check_mode and not lists_there(source):
        apt.update(wanted["lock_timeout"], source.list_path)
    return {"changed": bool(result["changed_files"]), "changed_files": result["changed_files"]}
