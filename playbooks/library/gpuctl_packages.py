"""Module gpuctl_packages: have the packages of components from their sources, held; or undo what was installed."""

from __future__ import annotations

import os
from typing import Any

from bootstrap.hostside import gpuctl_receipts as receipts
from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_install import Group, have, undo
from bootstrap.hostside.gpuctl_kubeadmstate import traces
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_packages
short_description: Have the Debian packages of components, from signed sources
description:
  - Begins the receipts of the components, because it is what changes a host first.
  - Reads dpkg's own status file first; when all is as wanted, no tool is started.
  - Fetches a source's key over verified TLS and refuses it unless its fingerprint is the one given; writes key, deb822
    entry and, for a server under the given CA, apt's CA setting; fetches the lists when none are there.
  - Waits for the package database and names who holds it.
  - Remembers which packages were absent; O(state=absent) removes these, and what they brought, and nothing else.
options:
  components:
    description:
      - Roles whose packages are meant; each says what it wants in its variable C(__ROLE_install), from which the action
        plugin makes O(groups). Names without that variable are passed over.
      - O(state=absent) takes one.
    type: list
    elements: str
    required: true
  groups:
    description:
      - What each component wants; filled in by the action plugin.
      - C(source) has C(name), C(url), C(suite), C(components), C(key_url), C(key_fingerprint) (one, or a list) and
        C(ca_path), a PEM file on the host to trust for this server where the system's CAs do not do.
      - C(files) are written before a source is asked, as M(gpuctl_files) does.
      - C(wanted) are packages, by name, all of them at C(version) when that is given, a glob such as V(1.36.3-*); or
        with C(name) and C(version) of their own. C({kernel}) in a name stands for the running kernel; C(only_if_path)
        skips a package where that path is absent, C(unless_path) where it is there; C(at_least) is the smallest major
        version that does; C(code) is the code of the failure when no source offers it.
      - C(pins) are preferences for what apt chooses beside them, each with C(package), C(pin) and C(priority).
      - C(hold) holds all of them against upgrades by others.
      - C(instead_of) is a pattern of names; packages that match it and are not wanted are purged, with their
        configuration.
    type: list
    elements: dict
    default: []
  ahead:
    description:
      - For several components at once, before their roles run, because each run of apt takes a second before it does
        anything. Roles find their names in the fact C(gpuctl_packages_ahead). A failure is left to the role that it
        belongs to, and then there is no such fact.
    type: bool
    default: false
  state:
    description: V(absent) removes the packages that this component installed and lifts its holds.
    type: str
    choices: [present, absent]
    default: present
  lock_timeout:
    description: Seconds to wait for the package database.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Install | Have containerd, held
  gpuctl_packages:
    components: [containerd]
"""

RETURN = r"""
installed:
  description: Version of each package that was installed or replaced.
  type: dict
  returned: success
removed:
  description: Packages that were removed.
  type: list
  elements: str
  returned: success
changed_files:
  description: Files that were written or removed.
  type: list
  elements: str
  returned: success
components:
  description: Those whose packages are there now.
  type: list
  elements: str
  returned: success
left:
  description: The failure that O(ahead) leaves to a role; empty when there was none.
  type: str
  returned: O(ahead)
"""


def main(module: HostModule) -> dict[str, Any]:
    """Install, or remove."""
    given = module.params
    if given["state"] == "absent":
        return _result(undo(given["components"][0], given["lock_timeout"], module.check_mode))
    # With a cluster's traces on the host, kubeadm's role looks first at whose they are, and at its last receipt.
    specs = [s for s in given["groups"] if not (given["ahead"] and s["component"] == "kubeadm" and traces())]
    if not module.check_mode:
        _begin(specs)
    try:
        result = _result(have([Group(spec) for spec in specs], given["lock_timeout"], module.check_mode))
    except HostError as error:
        if not given["ahead"]:
            raise
        return {"changed": True, "left": error.as_text()}
    return {"left": "", "components": [spec["component"] for spec in specs], **result}


def _begin(specs: list[dict[str, Any]]) -> None:
    """Before the first change; kubeadm's own role has done so where there are traces."""
    for spec in specs:
        if spec["component"] != "kubeadm" or not traces():
            receipts.begin_role(spec["component"], spec["receipt"], os.environ.get("GPUCTL_RUN", ""))


def _result(change: Any) -> dict[str, Any]:
    return {
        "changed": change.any,
        "installed": change.installed,
        "removed": change.removed,
        "changed_files": change.files,
    }
