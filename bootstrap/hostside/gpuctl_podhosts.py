"""kube-proxy's own /etc/hosts: a copy of the host's from when its container started, which is how it finds the API.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import json
from typing import List, Optional

from .gpuctl_hostio import read_text, run

PODS = "/var/lib/kubelet/pods"
HOSTS = "/etc/hosts"


def address_of(name: str, path: str) -> Optional[str]:
    """The first address that a hosts file has for a name; None when it has none."""
    for line in read_text(path).splitlines():
        words = line.partition("#")[0].split()
        if name in words[1:]:
            return words[0]
    return None


def renew(endpoint: str) -> List[str]:
    """Restart kube-proxy here when it has the cluster's endpoint at another address than the host; what was done.

    The kubelet writes the file anew for the container that it starts in its place.
    """
    address, done = address_of(endpoint, HOSTS), []
    for container in run(["crictl", "ps", "--quiet", "--name", "^kube-proxy$"], 20).out.split():
        known = address_of(endpoint, f"{PODS}/{_pod(container)}/etc-hosts")
        if address and known and known != address:
            run(["crictl", "stop", "--timeout", "5", container], 30)
            done.append(f"restarted kube-proxy, which had {endpoint} at {known}")
    return done


def _pod(container: str) -> str:
    """The pod's uid; empty when the container has gone."""
    try:
        status = json.loads(run(["crictl", "inspect", container], 20).out)["status"]
        return str(status["labels"]["io.kubernetes.pod.uid"])
    except (ValueError, KeyError):
        return ""
