"""What the driver's role is told about a host: adopt or install, which module, and what NVSwitches need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootstrap.inventory.model import Host
from bootstrap.plan.cluster_view import recorded_argument
from bootstrap.probe.cards import flavour_for
from bootstrap.probe.facts import HostFacts


def driver_arguments(host: Host, values: Mapping[str, Any], facts: HostFacts) -> dict[str, Any]:
    """Derived arguments of nvidia_driver for one host."""
    before = recorded_argument(facts, "nvidia_driver", "nvidia_driver_manage_resolved")
    good = facts.driver.loaded_version is not None and not facts.driver.foreign
    manage = values["nvidia_driver_manage"]
    adopt = manage == "never" or (manage == "auto" and before is None and good)
    resolved = "adopt" if adopt else "install"
    if manage == "auto" and before is not None:
        resolved = str(before)
    found = {
        "nvidia_driver_manage_resolved": resolved,
        "nvidia_driver_module": recorded_argument(facts, "nvidia_driver", "nvidia_driver_module")
        or module_flavour(facts),
        "nvidia_driver_nvswitch": facts.nvswitches > 0 or facts.nvlink_managers > 0,
        "nvidia_driver_nvlsm": facts.nvlink_managers > 0,
    }
    version, branch = str(values["nvidia_driver_version"] or ""), str(values["nvidia_driver_branch"])
    if "nvidia_driver_version" not in host.explicit and not version.startswith(f"{branch}."):
        found["nvidia_driver_version"] = ""  # the default is of the default branch: of another one it is the newest
    return found


def module_flavour(facts: HostFacts) -> str:
    """`open` unless a GPU that counts is older than Turing, which only the closed module drives."""
    return flavour_for(gpu.device_id for gpu in facts.counted_gpus)
