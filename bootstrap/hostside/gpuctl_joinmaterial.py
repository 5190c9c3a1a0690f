"""What hosts need to join a cluster: a bootstrap token and, for control planes, the key of the uploaded certificates.

Whoever has them makes nodes, or reads the cluster's CA key. So they live as short as a join takes, and go with the run.
Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from typing import Any, Dict, Iterator

from .gpuctl_hostio import HostError, run, write_atomic
from .gpuctl_unitrun import redact

STATE = "/run/gpuctl/join.json"
ADMIN_CONF = "/etc/kubernetes/admin.conf"
_KUBECTL = ("kubectl", f"--kubeconfig={ADMIN_CONF}", "--namespace=kube-system")
TTL_MINUTES = 10
_LEAST_LEFT_S = 240  # a join takes seconds; kubeadm itself waits up to four minutes for the kubelet's bootstrap
_DESCRIPTION = "gpuctl: for hosts of one run"
_JOIN = re.compile(r"--token (\S+)")
_TOKEN = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
_HASH = re.compile(r"--discovery-token-ca-cert-hash (sha256:[0-9a-f]{64})")
_KEY = re.compile(r"^[0-9a-f]{64}$", re.MULTILINE)


def hand_out(control_plane: bool) -> Dict[str, Any]:
    """{"token", "ca_hashes", "certificate_key"}: that of this run while it has time left, else a new one.

    The key is empty unless a control plane joins. HostError join-material.
    """
    with _alone():
        known = _known()
        if time.time() + _LEAST_LEFT_S > float(known.get("token_until", 0)):
            _delete_tokens()
            known.update(_new_token(), token_until=time.time() + 60 * TTL_MINUTES)
            _keep(known)
        if control_plane and time.time() + _LEAST_LEFT_S > float(known.get("key_until", 0)):
            # kubeadm keeps what it uploads for two hours, unless it is taken back before.
            known.update(certificate_key=_new_key(), key_until=time.time() + 60 * TTL_MINUTES)
            _keep(known)
    key = known["certificate_key"] if control_plane else ""
    return {"token": known["token"], "ca_hashes": known["ca_hashes"], "certificate_key": key}


def take_back() -> bool:
    """Delete the tokens that hosts of a run were given, and the uploaded certificates; whether there were any."""
    with _alone():
        found = _delete_tokens()
        if _known().get("certificate_key"):
            run([*_KUBECTL, "delete", "secret", "kubeadm-certs", "--ignore-not-found", "--wait=false"], 30)
            found = True
        with contextlib.suppress(FileNotFoundError):
            os.unlink(STATE)
    return found


def _new_token() -> Dict[str, Any]:
    words = ["token", "create", f"--ttl={TTL_MINUTES}m", f"--description={_DESCRIPTION}", "--print-join-command"]
    printed = _kubeadm(*words)
    token, hashes = _JOIN.search(printed), _HASH.findall(printed)
    if token is None or not _TOKEN.fullmatch(token.group(1)) or not hashes:
        raise HostError("join-material", "kubeadm printed no token", "check the control plane")
    return {"token": token.group(1), "ca_hashes": hashes}


def _new_key() -> str:
    found = _KEY.search(_kubeadm("init", "phase", "upload-certs", "--upload-certs"))
    if found is None:
        raise HostError("join-material", "kubeadm printed no certificate key", "check the control plane")
    return found.group(0)


def _delete_tokens() -> bool:
    """Those of this run, and what a killed one has left."""
    ran = run(["kubeadm", "token", "list", "--output=json"], 30)
    ids = []
    for line in _documents(ran.out) if ran.rc == 0 else ():
        token = str(line.get("token", ""))
        if line.get("description") == _DESCRIPTION and _TOKEN.fullmatch(token):
            ids.append(token.partition(".")[0])
    for one in ids:
        run(["kubeadm", "token", "delete", one], 30)
    return bool(ids)


def _documents(text: str) -> Iterator[Dict[str, Any]]:
    """Kubeadm prints one JSON object per token, one after the other."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text.rstrip()):
        try:
            found, at = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        except ValueError:
            return
        if isinstance(found, dict):
            yield found


def _kubeadm(*arguments: str) -> str:
    ran = run(["kubeadm", *arguments], 90)
    if ran.rc != 0:
        said = redact(ran.tail(1))
        raise HostError("join-material", f"kubeadm {arguments[0]} {arguments[1]}: {said}", "check the control plane")
    return ran.out


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Workers join side by side, and share what was made for the first of them."""
    folder = os.path.dirname(STATE)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    handle = os.open(STATE + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _known() -> Dict[str, Any]:
    try:
        with open(STATE, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _keep(known: Dict[str, Any]) -> None:
    write_atomic(STATE, json.dumps(known).encode(), 0o600)
