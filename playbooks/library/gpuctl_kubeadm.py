"""Module gpuctl_kubeadm: how far kubeadm got on this host, and what is needed to make its node what is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_kube import KubeError
from bootstrap.hostside.gpuctl_kubeadmops import Wanted, converge
from bootstrap.hostside.gpuctl_kubeadmstate import inspect, node_name
from bootstrap.hostside.gpuctl_kubereset import leftovers, reset_host
from bootstrap.hostside.gpuctl_module import HostModule

DOCUMENTATION = r"""
module: gpuctl_kubeadm
short_description: Look at, clean, converge or reset what kubeadm made of a host
description:
  - V(inspected) changes nothing and refuses, with code leftover-cluster, what is neither ours nor alive.
  - V(cleaned) removes half a node that an interrupted run of gpuctl left, and nothing else.
  - V(converged) applies kubelet settings, labels, the taint, certificate names and kube-proxy settings that differ.
  - V(absent) undoes kubeadm and the pod network on the host.
options:
  state:
    description: What to do.
    type: str
    choices: [inspected, cleaned, converged, absent]
    required: true
  role:
    description: What the host is in the cluster.
    type: str
    choices: [init, control-plane, worker]
    required: true
  fresh:
    description: With V(converged), whether kubeadm has just made the node.
    type: bool
    default: false
  labels:
    description: Labels of the node.
    type: dict
    default: {}
  stale:
    description:
      - With V(inspected), files that an interrupted join left; they are removed unless its unit still works. They may
        hold a token, so nothing of them is kept.
    type: list
    elements: path
    default: []
  schedulable:
    description: Whether a control plane takes ordinary pods.
    type: bool
    default: false
  cert_sans:
    description: Names and addresses that the API server's certificate must have.
    type: list
    elements: str
    default: []
  kube_proxy:
    description: Settings of kube-proxy.
    type: dict
    default: {}
  endpoint:
    description: With V(converged), the name under which the nodes reach the API server.
    type: str
    default: ""
author: [gpuctl]
"""

EXAMPLES = r"""
- name: See how far this host is
  gpuctl_kubeadm:
    state: inspected
    role: worker
"""

RETURN = r"""
node: {type: str, returned: success, description: "Name of the host's node."}
found: {type: str, returned: always, description: "With inspected: none, running, half or whole."}
done: {type: list, elements: str, returned: success, description: "What was done."}
"""


def act(module: HostModule) -> dict[str, Any]:
    """Do what `state` asks for."""
    given = module.params
    if given["state"] == "inspected":
        found = inspect(given["role"])
        stale = [] if found["state"] == "running" else [path for path in given["stale"] if Path(path).exists()]
        for path in [] if module.check_mode else stale:
            Path(path).unlink()
        return {"changed": bool(stale), "found": found["state"], "traces": found["traces"], "done": stale}
    if module.check_mode:
        return {"changed": given["state"] == "absent" and any(leftovers().values()), "done": []}
    if given["state"] == "converged":
        labels = {str(key): str(value) for key, value in given["labels"].items()}
        names = ("role", "schedulable", "cert_sans", "kube_proxy", "fresh", "endpoint")
        done = converge(Wanted(labels=labels, **{name: given[name] for name in names}))
    elif given["state"] == "cleaned" and inspect(given["role"])["state"] != "half":
        done = []
    else:
        done = reset_host()
    return {"changed": bool(done), "done": done}


def main(module: HostModule) -> dict[str, Any]:
    """Do what `state` asks for, and name the node."""
    try:
        return {"node": node_name(), **act(module)}
    except KubeError as error:
        raise HostError("api-unreachable", str(error), "see `crictl ps -a` on the control plane") from error
