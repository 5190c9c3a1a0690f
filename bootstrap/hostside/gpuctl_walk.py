"""What stands between driver and cluster on a GPU host, as it says itself: containerd, CDI, kubelet, device manager.

Changes nothing; prints one JSON object. Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import glob
import json
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List

from .gpuctl_hostio import read_text, run

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")
CHECKPOINT = "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint"
COMMANDS = {
    "daemon": ["ctr", "--timeout", "5s", "version"],
    "config": ["containerd", "config", "dump"],
    "cdi": ["nvidia-ctk", "cdi", "list"],
    "kubelet": ["systemctl", "show", "-p", "ActiveState", "--value", "--", "kubelet.service"],
    "kernel": ["dmesg"],
}
TIMEOUT_S = 12.0
SAID = 2000  # characters of what a command complains of
_XIDS = 20  # the last ones


def binaries(config: str) -> Dict[str, bool]:
    """The programs that containerd's runtimes name, and whether they are there."""
    named = re.findall(r"""^\s*BinaryName\s*=\s*["']([^"']+)["']""", config, re.MULTILINE)
    return {name: shutil.which(name, path=PATH) is not None for name in sorted(set(named))}


def cdi_files() -> Dict[str, str]:
    """The CDI specifications for NVIDIA's devices: path → kind."""
    found = {}
    for path in sorted(p for folder in CDI_FOLDERS for p in glob.glob(folder + "/*")):
        kind = re.search(r"""(?:^|[{,])\s*["']?kind["']?\s*:\s*["']?([a-z0-9./_-]+)""", read_text(path), re.MULTILINE)
        if kind and kind.group(1).startswith(("nvidia.com/", "k8s.device-plugin.nvidia.com/")):
            found[path] = kind.group(1)
    return found


def devices() -> Dict[str, Any]:
    """What the kubelet's device manager offers and has given away; {} where it keeps no checkpoint."""
    try:
        data = json.loads(read_text(CHECKPOINT)).get("Data") or {}
        held = [
            {"pod": entry["PodUID"], "resource": entry["ResourceName"], "ids": _flat(entry.get("DeviceIDs"))}
            for entry in data.get("PodDeviceEntries") or ()
        ]
        return {"registered": data.get("RegisteredDevices") or {}, "held": held}
    except (ValueError, LookupError, AttributeError, TypeError):
        return {}


def _flat(ids: Any) -> List[str]:
    """Device ids, which newer kubelets list by NUMA node."""
    lists = ids.values() if isinstance(ids, dict) else [ids or []]
    return [str(one) for listed in lists for one in listed]


def look() -> Dict[str, Any]:
    """All of it."""
    with ThreadPoolExecutor(len(COMMANDS)) as pool:
        begun = {name: pool.submit(run, argv, TIMEOUT_S, {"PATH": PATH}) for name, argv in COMMANDS.items()}
        ran = {name: one.result() for name, one in begun.items()}
    kernel = ran.pop("kernel")
    found: Dict[str, Any] = {
        name: {"rc": one.rc, "out": one.out, "err": one.err.strip()[-SAID:]} for name, one in ran.items()
    }
    found["xids"] = [line for line in kernel.out.splitlines() if "NVRM: Xid" in line][-_XIDS:]
    found["binaries"] = binaries(found["config"]["out"])
    found["cdi_files"] = cdi_files()
    found["devices"] = devices()
    return found


def main() -> None:
    """Print it on one line of standard output."""
    sys.stdout.write(json.dumps(look()) + "\n")
