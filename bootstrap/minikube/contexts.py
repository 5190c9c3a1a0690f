"""The context of a profile on another machine, in the kubeconfig here. minikube itself writes only the one there."""

from __future__ import annotations

import base64
import ipaddress
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Host
from bootstrap.kube.kubeconfig import context_name, merge, remove
from bootstrap.minikube.look import DOCKER, Seen
from bootstrap.probe.session import Session

_API_PORT = "8443/tcp"
# In the certificate of every API server that minikube sets up (pkg/minikube/constants).
_NAME = "control-plane.minikube.internal"


@dataclass(frozen=True, slots=True)
class Credentials:
    """How the profile's API lets its user in; files as kubeconfigs embed them. `address`, `port`: where it listens."""

    address: str
    port: int
    ca: str
    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class HomeContext:
    """The context in the kubeconfig here. `tunnel` has to run while it is used; empty where none is needed."""

    context: str
    path: str
    current: bool
    tunnel: str = ""


def credentials(session: Session, seen: Seen, profile: str) -> Credentials:
    """Read them where the profile is.

    Raises:
        ConnectFailure: the connection was lost.
        GpuctlError: they, or the port, cannot be read (exit 6).
    """
    folder = f"{seen.home}/.minikube"
    files = (f"{folder}/ca.crt", f"{folder}/profiles/{profile}/client.crt", f"{folder}/profiles/{profile}/client.key")
    texts = [session.run(["cat", path]) for path in files]
    published = session.run([*DOCKER, "port", profile, _API_PORT])
    lines = published.out.splitlines()
    address, _, port = lines[0].rpartition(":") if lines else ("", "", "")
    if any(done.rc for done in texts) or not port.isdecimal():
        words = f"the credentials or the port of profile {profile} cannot be read"
        fix = f"`gpuctl minikube status --profile {profile}`"
        raise GpuctlError(ExitCode.NOT_READY, Problem("minikube-profile-broken", words, fix))
    ca, certificate, key = (base64.b64encode(done.out.encode()).decode() for done in texts)
    return Credentials(address.strip("[]"), int(port), ca, certificate, key)


def bring_home(found: Credentials, host: Host, profile: str, path: Path, *, use_context: bool) -> HomeContext:
    """Put the context of a profile on another machine into the kubeconfig here.

    Docker publishes minikube's API on the loopback address of that machine: what leads there is a tunnel of ssh's,
    whose end here has the same number. An API that is published for all is reached without; TLS is verified either way.

    Raises:
        GpuctlError: the kubeconfig cannot be used, or has a context of that name that is another cluster's (exit 3, 4).
    """
    name = context_name(profile)
    _refuse_another(path, name, found.ca)
    cluster: dict[str, Any] = {"certificate-authority-data": found.ca, "tls-server-name": _NAME}
    tunnel = ""
    if ipaddress.ip_address(found.address).is_unspecified:
        cluster["server"] = f"https://{_bracketed(host.connection.from_here)}:{found.port}"
    else:
        cluster["server"] = f"https://127.0.0.1:{found.port}"
        tunnel = _tunnel(host, found)
    entry = {
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"client-certificate-data": found.certificate, "client-key-data": found.key}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    merged = merge(path, entry, use_context=use_context)
    return HomeContext(name, str(path), merged.current, tunnel)


def forget(path: Path, profile: str, ca: str) -> bool:
    """Take the context out of the kubeconfig here, if it is of the machine with that CA; whether it was there.

    Raises:
        GpuctlError: the kubeconfig cannot be used (exit 3).
    """
    known = _ca_of(path, context_name(profile))
    return known is not None and known == ca and remove(path, profile)


def _refuse_another(path: Path, name: str, ca: str) -> None:
    known = _ca_of(path, name)
    if known is not None and known != ca:
        words = f"{path} has a context {name} already, of another cluster: it was left as it is"
        fix = "choose another --profile or --kubeconfig, or rename that context"
        raise GpuctlError(ExitCode.PREFLIGHT, Problem("minikube-context-taken", words, fix))


def _ca_of(path: Path, name: str) -> str | None:
    """The CA of a cluster in a kubeconfig; None when there is no such cluster. What is broken is for merge to tell."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        clusters: list[Mapping[str, Any]] = (loaded or {}).get("clusters") or []
        found = next((item for item in clusters if item.get("name") == name), None)
        return None if found is None else str((found.get("cluster") or {}).get("certificate-authority-data") or "")
    except (OSError, ValueError, yaml.YAMLError, AttributeError, TypeError):
        return None


def _tunnel(host: Host, found: Credentials) -> str:
    connection = host.connection
    there = f"{connection.user}@{connection.address}" if connection.user else connection.address
    port = ["-p", str(connection.port)] if connection.port else []
    key = ["-i", connection.key_file] if connection.key_file else []
    ends = f"{found.port}:{_bracketed(found.address)}:{found.port}"
    return shlex.join(["ssh", "-N", *port, *key, *shlex.split(connection.ssh_common_args), "-L", ends, there])


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
