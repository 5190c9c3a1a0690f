"""Module gpuctl_probe: look at a host and change nothing, for playbooks that run without gpuctl."""

from __future__ import annotations

import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gpuctl_probe_main import collect

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


def main() -> None:
    """Collect, and return the document as `facts`."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    started = time.monotonic()
    facts = collect()
    module.exit_json(changed=False, facts=facts, seconds=round(time.monotonic() - started, 3))


if __name__ == "__main__":
    main()
