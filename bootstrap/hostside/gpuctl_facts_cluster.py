"""Facts about Kubernetes on this host: what shows that it is part of a cluster, and what that cluster's API says."""

from __future__ import annotations

import base64
import calendar
import hashlib
import json
import os
import re
import time
from typing import Any, Mapping

from .gpuctl_base import listdir, read_text, run
from .gpuctl_kube import (
    ADMIN_CONF,
    RECEIPT_PREFIX,
    Api,
    KubeError,
    admin_conf,
    kubeconfig_server,
    kubeconfig_value,
    last_writer,
)
from .gpuctl_kube import owned_digest as digest_of

KUBELET_CONF = "/etc/kubernetes/kubelet.conf"
CLIENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"
CA = "/etc/kubernetes/pki/ca.crt"
ETCD = "/var/lib/etcd/member"
GPU = "nvidia.com/gpu"
PLUGIN_SET = ("DaemonSet", "nvidia-device-plugin")
INIT_UNITS = ("gpuctl-kubeadm-init.service", "gpuctl-kubeadm-join.service")


def _der(data: bytes, offset: int) -> tuple[int, int, int]:
    """(tag, start of the content, end) of the DER element at an offset. Raises IndexError on a cut one."""
    tag, length, start = data[offset], data[offset + 1], offset + 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    if start + length > len(data):
        raise IndexError("certificate is cut off")
    return tag, start, start + length


def public_key_hash(pem: str) -> str | None:
    """sha256:HEX over the SubjectPublicKeyInfo of the first certificate (kubeadm's discovery hash); None if damaged."""
    match = re.search(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----", pem)
    if not match:
        return None
    try:
        data = base64.b64decode("".join(match.group(1).split()))
        offset = _der(data, _der(data, 0)[1])[1]  # Certificate, then TBSCertificate
        if data[offset] == 0xA0:
            offset = _der(data, offset)[2]  # version
        for _ in range(5):  # serial number, signature algorithm, issuer, validity, subject
            offset = _der(data, offset)[2]
        return "sha256:" + hashlib.sha256(data[offset : _der(data, offset)[2]]).hexdigest()
    except (IndexError, ValueError):
        return None


def traces(units: Mapping[str, str]) -> dict[str, Any]:
    """The ClusterTraces of the controller: files of a cluster, the CA's hash, the server, kubeadm's unit."""
    kubelet_conf, own_conf = read_text(KUBELET_CONF), read_text(ADMIN_CONF)
    authority = None
    if kubelet_conf:
        try:
            authority = kubeconfig_value(kubelet_conf, "certificate-authority")
        except (OSError, ValueError):
            authority = None
    return {
        "admin_conf": own_conf is not None,
        "kubelet_conf": kubelet_conf is not None,
        "etcd_data": bool(listdir(ETCD)),
        "ca_hash": public_key_hash(read_text(CA) or ""),
        "kubelet_ca_hash": public_key_hash(authority.decode("ascii", "replace")) if authority else None,
        "server": kubeconfig_server(kubelet_conf or own_conf or ""),
        "init_unit": _kubeadm_unit(units),
        "node": node_of(read_text(CLIENT) or "") if kubelet_conf is not None else None,
    }


def node_of(pem: str) -> str | None:
    """The node that the kubelet's client certificate is for: its subject is system:node:NAME; None if damaged."""
    match = re.search(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----", pem)
    try:
        data = base64.b64decode("".join(match.group(1).split())) if match else b""
    except ValueError:
        return None
    place = data.find(b"system:node:")
    if place < 1:
        return None
    name = data[place : place + data[place - 1]]  # a DER string: its length stands before it
    return name.decode("ascii", "replace").partition("system:node:")[2] or None


def _kubeadm_unit(units: Mapping[str, str]) -> str | None:
    """How far kubeadm's own unit got: running, exited (well) or failed; None when there is none."""
    for unit in INIT_UNITS:
        if units.get(unit, "absent") not in ("absent", "unknown"):
            return (run(["systemctl", "show", "-p", "SubState", "--value", "--", unit]) or "").strip() or None
    return None


def kube_facts(total_s: float = 2.0) -> dict[str, Any] | None:
    """The KubeFacts of the controller, asked with this host's admin.conf; None when it has none to read."""
    if not os.access(admin_conf(), os.R_OK):
        return None
    facts: dict[str, Any] = {"error": None, "version": None, "nodes": [], "receipts": {}, "drift": {}}
    try:
        api = Api.from_admin_conf(timeout_s=total_s, total_s=total_s)
        facts["version"] = api.get("/version").get("gitVersion")
        running = api.get("/api/v1/pods?fieldSelector=status.phase%3DRunning").get("items") or []
        pods, ages = gpu_pods(running), plugin_ages(running)
        nodes = [node_facts(n, pods) for n in api.get("/api/v1/nodes").get("items") or []]
        facts["nodes"] = [{**node, "plugin_age_s": ages.get(node["name"])} for node in nodes]
        facts["receipts"] = receipts_of(api.get("/api/v1/namespaces/kube-system/configmaps").get("items") or [])
        for component, receipt in facts["receipts"].items():
            facts["drift"][component] = object_drift(api, receipt.get("objects") or {})
    except (OSError, ValueError, KubeError) as error:
        facts["error"] = str(error)
    return facts


def gpu_pods(pods: list[dict[str, Any]]) -> dict[str, int]:
    """Node name → number of these pods that ask for a GPU."""
    counts: dict[str, int] = {}
    for pod in pods:
        containers = pod["spec"].get("containers") or []
        node = pod["spec"].get("nodeName") or ""
        if any(GPU in ((c.get("resources") or {}).get("limits") or {}) for c in containers):
            counts[node] = counts.get(node, 0) + 1
    return counts


def plugin_ages(pods: list[dict[str, Any]]) -> dict[str, int]:
    """Node name → seconds for which gpuctl's own device plugin has run there."""
    ages: dict[str, int] = {}
    for pod in pods:
        meta, node = pod["metadata"], pod["spec"].get("nodeName") or ""
        owners = [(one.get("kind"), one.get("name")) for one in meta.get("ownerReferences") or ()]
        if meta.get("namespace") != "kube-system" or PLUGIN_SET not in owners or meta.get("deletionTimestamp"):
            continue
        states = [c.get("state") or {} for c in (pod.get("status") or {}).get("containerStatuses") or ()]
        since = [(state.get("running") or {}).get("startedAt") for state in states]
        if since and all(since):
            begun = max(calendar.timegm(time.strptime(str(one), "%Y-%m-%dT%H:%M:%SZ")) for one in since)
            ages[node] = max(0, int(time.time() - begun))
    return ages


def _others(quantities: Mapping[str, Any]) -> int:
    """What a node offers of NVIDIA's resources by other names than the usual one."""
    counts = [str(n) for name, n in quantities.items() if name.startswith("nvidia.com/") and name != GPU]
    return sum(int(count) for count in counts if count.isdigit())


def node_facts(node: Mapping[str, Any], pods: Mapping[str, int]) -> dict[str, Any]:
    """One Node object as the NodeFacts of the controller."""
    meta, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    ready: Mapping[str, str] = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), {})
    addresses = [a["address"] for a in status.get("addresses") or () if a.get("type") == "InternalIP"]
    return {
        "name": meta["name"],
        "ready": ready.get("status") == "True",
        "reason": "" if ready.get("status") == "True" else (ready.get("message") or ready.get("reason") or "unknown"),
        "uid": meta.get("uid", ""),
        "kubelet_version": (status.get("nodeInfo") or {}).get("kubeletVersion", ""),
        "internal_ip": addresses[0] if addresses else "",
        "allocatable_gpus": int((status.get("allocatable") or {}).get(GPU, 0)),
        "capacity_gpus": int((status.get("capacity") or {}).get(GPU, 0)),
        "unschedulable": bool(spec.get("unschedulable")),
        "labels": meta.get("labels") or {},
        "gpu_pods": pods.get(meta["name"], 0),
        "other_gpus": _others(status.get("allocatable") or {}),
    }


def receipts_of(config_maps: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Component → receipt of the ConfigMaps gpuctl-receipt-*; a damaged one reads as state "damaged"."""
    found = {}
    for item in config_maps:
        name = item["metadata"]["name"]
        if not name.startswith(RECEIPT_PREFIX):
            continue
        component = name[len(RECEIPT_PREFIX) :].replace("-", "_")
        try:
            receipt = json.loads((item.get("data") or {}).get("receipt") or "")
        except ValueError:
            receipt = None
        found[component] = receipt if isinstance(receipt, dict) else {"component": component, "state": "damaged"}
    return found


def object_drift(api: Api, objects: Mapping[str, str]) -> list[dict[str, str | None]]:
    """Objects whose fields are not as the receipt has them: key "object:ID", and who wrote last. Raises KubeError."""
    drift: list[dict[str, str | None]] = []
    for identity, was in sorted(objects.items()):
        try:
            found = api.get_id(identity)
        except KubeError as error:
            if error.status != 404:
                raise
            drift.append({"key": "object:" + identity, "was": was, "now": "absent", "when": None})
            continue
        now = digest_of(found)
        if now != was:
            writer = last_writer(found)
            said = now + (" (last changed by %s)" % writer[0] if writer else "")
            drift.append({"key": "object:" + identity, "was": was, "now": said, "when": writer[1] if writer else None})
    return drift
