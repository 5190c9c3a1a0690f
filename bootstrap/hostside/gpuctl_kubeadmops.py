"""Bring a node that kubeadm made to what is asked for now, with kubeadm's own phases.

Nothing here makes a cluster: that is `kubeadm init` and `kubeadm join`. Each part looks first and changes only what
differs. Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import ssl
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence

from .gpuctl_hostio import HostError, Ran, read_bytes, read_text, run
from .gpuctl_kube import ADMIN_CONF, MERGE, Api, KubeError, kubeconfig_server
from .gpuctl_kubeadmstate import KUBELET_CONF, MANIFESTS, load_state, node_name, save_state
from .gpuctl_kubenode import register_again
from .gpuctl_podhosts import renew
from .gpuctl_systemd import show, wait_active

CONFIG = "/etc/kubernetes/gpuctl/kubeadm.yaml"
PATCHES = "/etc/kubernetes/gpuctl/patches"
KUBELET_CONFIG = "/var/lib/kubelet/config.yaml"
PKI = "/etc/kubernetes/pki"
APISERVER_CERT = PKI + "/apiserver.crt"
CA_KEY = PKI + "/ca.key"
_ETCD_DATA = "/var/lib/etcd/member"
_AUTHORITIES = tuple(
    f"{PKI}/{name}"
    for name in ("ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key")
)
_LEAVES = ("apiserver", "apiserver-kubelet-client", "apiserver-etcd-client", "front-proxy-client")
_REMADE = {
    "certs": [f"{PKI}/{n}.crt" for n in (*_LEAVES, "etcd/server", "etcd/peer", "etcd/healthcheck-client")],
    "kubeconfig": [f"/etc/kubernetes/{n}.conf" for n in ("admin", "controller-manager", "scheduler")],
    "control-plane": [f"{MANIFESTS}/kube-{n}.yaml" for n in ("apiserver", "controller-manager", "scheduler")],
}
TAINT = "node-role.kubernetes.io/control-plane"
_API_WAIT_S = 90  # a control plane after a boot: kubelet, etcd and API server one after the other
_POLL_S = 0.5
_KUBEADM_S = 300


class Wanted(NamedTuple):
    """What a node has to be: see the role's variables of the same names. `fresh`: kubeadm has just made it."""

    role: str
    labels: Mapping[str, str]
    schedulable: bool
    cert_sans: Sequence[str]
    kube_proxy: Mapping[str, Any]
    fresh: bool
    endpoint: str = ""


def converge(wanted: Wanted) -> List[str]:
    """Apply what differs; returns what was done. Raises HostError, also when the API does not come up."""
    save_state(whole=True)
    if wanted.fresh:
        save_state(kubelet_config=_digest(KUBELET_CONFIG), kube_proxy=_digest_of(wanted.kube_proxy))
        return _labels_and_taint(wanted) if wanted.role == "init" else []
    done = _repair(wanted) if wanted.role != "worker" else []
    done += _start_kubelet()
    _wait_api()
    done += register_again(_own_kubeconfig(), wanted.role != "worker")  # first: kubeadm's phases ask for the node
    if wanted.role != "worker":
        done += _certificate(wanted.cert_sans)
    done += _kubelet_config()
    done += _labels_and_taint(wanted)
    if wanted.role != "worker":  # not the founder's alone: it may have left, and to do it twice is to do it once
        done += _kube_proxy(wanted.kube_proxy)
    return done + renew(wanted.endpoint)


def _kubeadm(*arguments: str, code: str = "kubeadm-failed") -> Ran:
    ran = run(["kubeadm", *arguments], _KUBEADM_S)
    if ran.rc != 0:
        words = " ".join(arguments[:4])
        raise HostError(code, f"kubeadm {words}: {ran.tail(1)}", "see the message, then run again", ran.tail())
    return ran


def _digest(path: str) -> str:
    return hashlib.sha256(read_bytes(path) or b"").hexdigest()


def _digest_of(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _repair(wanted: Wanted) -> List[str]:
    """Make missing certificates, kubeconfigs and static pods again, never a certificate authority."""
    done = []
    for phase, paths in _REMADE.items():
        missing = [path for path in paths if not os.path.exists(path)]
        if missing:
            _need_authorities(missing[0])
            if phase == "certs":
                _drop_orphans(missing)
            _kubeadm("init", "phase", phase, "all", "--config", CONFIG)
            done.append(f"made again: {', '.join(missing)}")
    # A member's data knows its peers, so this brings one that joined back, too.
    if not os.path.exists(f"{MANIFESTS}/etcd.yaml") and (wanted.role == "init" or os.path.exists(_ETCD_DATA)):
        _kubeadm("init", "phase", "etcd", "local", "--config", CONFIG)
        done.append(f"made again: {MANIFESTS}/etcd.yaml")
    return done


def _need_authorities(missing: str) -> None:
    """Refuse when kubeadm would make a new authority or signing key, which nothing in the cluster would trust."""
    gone = [path for path in (*_AUTHORITIES, f"{PKI}/sa.key", f"{PKI}/sa.pub") if not os.path.exists(path)]
    if gone:
        raise HostError(
            "pki-missing",
            f"{missing} is gone, and {gone[0]} with it",
            "put the cluster's own back from a backup or another control plane, then run again",
        )


def _drop_orphans(certificates: Sequence[str]) -> None:
    """Remove keys whose certificate is gone: kubeadm refuses half a pair."""
    for path in certificates:
        key = path[: -len("crt")] + "key"
        if os.path.exists(key):
            os.unlink(key)


def _start_kubelet() -> List[str]:
    unit = show(["kubelet.service"])["kubelet.service"]
    if unit.active == "active":
        return []
    run(["systemctl", "reset-failed", "kubelet.service"], 30)
    run(["systemctl", "start", "kubelet.service"], 60)
    wait_active("kubelet.service", 60)
    return ["started the kubelet"]


def _wait_api() -> None:
    """Until the API that this node uses answers. Raises HostError [api-unreachable]."""
    conf = ADMIN_CONF if os.path.exists(ADMIN_CONF) else KUBELET_CONF
    end, said = time.monotonic() + _API_WAIT_S, ""
    while time.monotonic() < end:
        try:
            Api.from_admin_conf(conf, timeout_s=5).get("/readyz")
        except (OSError, ValueError, KubeError) as error:
            said = str(error)
        else:
            return
        time.sleep(_POLL_S)
    raise HostError(
        "api-unreachable",
        f"{kubeconfig_server(read_text(conf))} did not get ready within {_API_WAIT_S} s: {said}",
        "see `crictl ps -a` and `journalctl -u kubelet` on the control plane",
    )


def certificate_names(path: str) -> List[str]:
    """The names and addresses that a certificate is for; empty when it cannot be read."""
    try:
        decoded = ssl._ssl._test_decode_cert(path)  # type: ignore[attr-defined]  # noqa: SLF001 - the one parser in the standard library
    except (OSError, ValueError, AttributeError, ssl.SSLError):
        return []
    return [value for kind, value in decoded.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]


def _certificate(names: Sequence[str]) -> List[str]:
    """A serving certificate that has all names; the API server reads it again by itself."""
    old = {path: path + ".gpuctl-old" for path in (APISERVER_CERT, APISERVER_CERT[:-3] + "key")}
    for aside in old.values():
        if os.path.exists(aside):  # a killed run's: a key nobody may find, and kubeadm has made its successor
            os.unlink(aside)
    lacking = sorted(set(names) - set(certificate_names(APISERVER_CERT)))
    if not lacking:
        return []
    if not os.path.exists(CA_KEY):
        raise HostError("pki-missing", f"{CA_KEY} is gone: no certificate for {lacking[0]} can be made", "put it back")
    for path, aside in old.items():
        os.replace(path, aside)
    try:
        _kubeadm("init", "phase", "certs", "apiserver", "--config", CONFIG)
    except HostError:
        for path, aside in old.items():
            os.replace(aside, path)
        raise
    for aside in old.values():
        os.unlink(aside)
    _kubeadm("init", "phase", "upload-config", "kubeadm", "--config", CONFIG)
    return [f"certificate of the API server made for {', '.join(lacking)}"]


def _kubelet_config() -> List[str]:
    """The cluster's kubelet configuration with this host's patch; a restart only when a byte of it is new.

    The digest is noted after the restart: a run killed in between restarts the kubelet the next time.
    """
    before = _digest(KUBELET_CONFIG)
    _kubeadm("upgrade", "node", "phase", "kubelet-config", f"--patches={PATCHES}", f"--kubeconfig={_own_kubeconfig()}")
    now = _digest(KUBELET_CONFIG)
    if now == before and load_state().get("kubelet_config", now) == now:
        save_state(kubelet_config=now)
        return []
    ran = run(["systemctl", "restart", "kubelet.service"], 120)
    if ran.rc != 0:
        raise HostError("service-failed", f"kubelet.service: {ran.tail(1)}", "see `journalctl -u kubelet` on the host")
    wait_active("kubelet.service", 60)
    _wait_healthz()
    save_state(kubelet_config=now)
    return ["kubelet configured anew and restarted"]


def _wait_healthz() -> None:
    """Until the kubelet says it is well: a bad setting ends it after systemd has called it active."""
    end = time.monotonic() + 60
    while run(["systemctl", "is-failed", "--quiet", "kubelet.service"], 15).rc != 0 and time.monotonic() < end:
        if _healthy():
            return
        time.sleep(_POLL_S)
    log = run(["journalctl", "--no-pager", "--output=cat", "--lines=15", "--unit=kubelet.service"], 15)
    raise HostError(
        "service-failed", "the kubelet does not get healthy", "check kubeadm_kubelet_config", log.out.strip()
    )


def _healthy() -> bool:
    port = re.search(r"^healthzPort: (\d+)$", read_text(KUBELET_CONFIG), re.MULTILINE)
    connection = http.client.HTTPConnection("127.0.0.1", int(port.group(1)) if port else 10248, timeout=3)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _own_kubeconfig() -> str:
    return ADMIN_CONF if os.path.exists(ADMIN_CONF) else KUBELET_CONF


def _labels_and_taint(wanted: Wanted) -> List[str]:
    """Labels of this node, and on a control plane whether it takes ordinary pods."""
    api, path = Api.from_admin_conf(_own_kubeconfig()), f"/api/v1/nodes/{node_name()}"
    node, done = api.get(path), []
    change: Dict[str, Any] = {}
    labels = node["metadata"].get("labels") or {}
    lacking = {key: value for key, value in wanted.labels.items() if labels.get(key) != value}
    if lacking:
        change["metadata"] = {"labels": lacking}
        done.append(f"labels {', '.join(sorted(lacking))}")
    if wanted.role != "worker":
        taints = [taint for taint in node["spec"].get("taints") or () if taint.get("key") != TAINT]
        if not wanted.schedulable:
            taints.append({"key": TAINT, "effect": "NoSchedule"})
        if len(taints) != len(node["spec"].get("taints") or ()):
            change["spec"] = {"taints": taints}
            done.append("taint " + ("removed" if wanted.schedulable else "set"))
    if change:
        api.request("PATCH", path, change, MERGE)
    return done


def _kube_proxy(config: Mapping[str, Any]) -> List[str]:
    """kube-proxy's settings, when they are others than those applied last; what a user changed in between stays."""
    known, now = load_state().get("kube_proxy"), _digest_of(config)
    if known is None or known == now:
        save_state(kube_proxy=now)
        return []
    _kubeadm("init", "phase", "addon", "kube-proxy", "--config", CONFIG)
    stamp = {"spec": {"template": {"metadata": {"annotations": {"gpuctl/kube-proxy-settings": now[:16]}}}}}
    api = Api.from_admin_conf()
    api.request("PATCH", "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy", stamp, MERGE)
    save_state(kube_proxy=now)
    return ["kube-proxy configured anew"]
