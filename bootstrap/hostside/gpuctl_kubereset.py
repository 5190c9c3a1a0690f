"""Take what kubeadm, the kubelet, kube-proxy and the pod network left off this host.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Dict, List

from .gpuctl_deletion import Mount, delete_tree, unmount_below
from .gpuctl_hostio import HostError, run, write_atomic
from .gpuctl_kubeadmstate import traces
from .gpuctl_unitrun import UnitState, forget_unit, log_path, unit_state

_LINK_FIX = "delete by hand what it leads to, and the link; then run the same command again"
CRI_SOCKET = "unix:///run/containerd/containerd.sock"
# Folders whose content goes; they themselves may be mount points.
_CONTENT = ("/var/lib/kubelet", "/var/lib/etcd", "/var/lib/cni", "/etc/kubernetes", "/run/flannel")
_FILES = ("/etc/cni/net.d/10-flannel.conflist", "/opt/cni/bin/flannel", "/var/lib/gpuctl/kubeadm.json")
# Not /etc/cni/net.d: containerd watches it, and ends when it goes.
_EMPTY_FOLDERS = ("/etc/kubernetes", "/var/lib/etcd", "/var/lib/cni", "/run/flannel")
_LINKS = ("cni0", "flannel.1", "flannel-wg", "flannel-wg-v6", "flannel-v6.1", "kube-ipvs0")
_OURS_IN_IPTABLES = re.compile(r"KUBE-|FLANNEL-|CNI-|flanneld masq")
_OURS_IN_NFT = re.compile(r"^table (\S+ (?:kube-proxy|flannel-ipv[46]|cni_plugins_masquerade|cni_hostport))$")


def reset_host(cri_socket: str = CRI_SOCKET) -> List[str]:
    """Undo kubeadm and the pod network on this host; returns what was done. Raises HostError [reset-failed]."""
    done: List[str] = []
    for unit in ("gpuctl-kubeadm-init", "gpuctl-kubeadm-join"):
        state: UnitState = unit_state(unit)
        if state.load != "not-found":
            forget_unit(unit, state)
        if os.path.exists(log_path(unit)):
            os.unlink(log_path(unit))
    done += _kubeadm_reset(cri_socket)
    done += _links()
    done += _packet_filter()
    done += _files()
    return done


def _kubeadm_reset(cri_socket: str) -> List[str]:
    if not traces():
        return []
    ran = run(["kubeadm", "reset", "--force", f"--cri-socket={cri_socket}"], 300)
    if ran.rc == 127:
        return []  # the package is gone already: what it left is removed below
    if ran.rc != 0:
        raise HostError("reset-failed", f"kubeadm reset: {ran.tail(1)}", "see the message, then run again", ran.tail())
    return ["kubeadm reset"]


def _links() -> List[str]:
    done = []
    for link in _LINKS:
        if os.path.exists(f"/sys/class/net/{link}") and run(["ip", "link", "delete", link], 15).rc == 0:
            done.append(f"link {link}")
    return done


def _packet_filter() -> List[str]:
    done = []
    for family in ("iptables", "ip6tables"):
        for variant in (family, f"{family}-legacy"):
            if _clean_iptables(variant):
                done.append(f"{variant} rules")
    tables = run(["nft", "list", "tables"], 15)
    for line in tables.out.splitlines() if tables.rc == 0 else ():
        found = _OURS_IN_NFT.match(line.strip())
        if found and run(["nft", "delete", "table", *found.group(1).split()], 15).rc == 0:
            done.append(f"nft table {found.group(1)}")
    return done


def _clean_iptables(variant: str) -> bool:
    """Write one variant's rules back without those of Kubernetes and the pod network; others' rules stay."""
    saved = run([f"{variant}-save"], 30)
    if saved.rc != 0 or not _OURS_IN_IPTABLES.search(saved.out):
        return False
    restored = _restore(f"{variant}-restore", without_ours(saved.out))
    if restored:
        raise HostError("reset-failed", f"{variant}-restore: {restored}", "see the message, then run it again")
    return True


def without_ours(rules: str) -> str:
    """The rules in iptables-save form without chains and rules of kube-proxy, kubelet, flannel and CNI plugins."""
    return "".join(line for line in rules.splitlines(keepends=True) if not _OURS_IN_IPTABLES.search(line))


def _restore(program: str, rules: str) -> str:
    """What went wrong, or nothing. A file instead of a pipe, since `run` gives programs no standard input."""
    path = "/run/gpuctl/rules"
    write_atomic(path, rules.encode(), 0o600)
    try:
        ran = run([program, path], 30)
    finally:
        os.unlink(path)
    return "" if ran.rc == 0 else ran.tail(1)


def _files() -> List[str]:
    done = []
    for folder in _CONTENT:
        names = os.listdir(folder) if os.path.isdir(folder) else []
        if os.path.islink(folder):
            raise HostError("delete-refused", f"{folder} is a link, and what it leads to is not deleted", _LINK_FIX)
        for name in names:
            _remove(os.path.join(folder, name))
        if names:
            done.append(folder)
    for path in _FILES:
        if os.path.lexists(path):
            os.unlink(path)
            done.append(path)
    for folder in _EMPTY_FOLDERS:
        if os.path.isdir(folder) and not os.path.ismount(folder) and not os.listdir(folder):
            os.rmdir(folder)
    return done


def _remove(path: str) -> None:
    """Remove a file or a tree, pods' volume mounts below it first."""
    unmount_below(path, _of_a_pod)
    delete_tree(path)


def _of_a_pod(mount: Mount) -> bool:
    """Whether the kubelet, or a volume driver for it, mounted it: below the folder of a pod or of a plugin."""
    return mount.point.startswith(("/var/lib/kubelet/pods/", "/var/lib/kubelet/plugins/", "/run/flannel/"))


def leftovers() -> Dict[str, List[str]]:
    """What a node leaves that is still here: for the check after a removal."""
    return {
        "files": [path for pattern in ("/etc/kubernetes/*", *_FILES) for path in glob.glob(pattern)],
        "links": [link for link in _LINKS if os.path.exists(f"/sys/class/net/{link}")],
    }
