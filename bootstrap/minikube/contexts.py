"""The context of a profile on another machine, in the kubeconfig here. minikube itself writes only the one there."""

from __future__ import annotations

import ipaddress
import shlex
from dataclasses import dataclass
from pathlib import Path

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Host
from bootstrap.kube.credentials import (
    Credentials,
    check_authority,
    check_pair,
    encoded,
    kubeconfig_of,
    read_server,
    url,
)
from bootstrap.kube.kubeconfig import context_name, entries_of, merge, remove
from bootstrap.minikube.look import DOCKER, Seen
from bootstrap.probe.session import Session

_API_PORT = "8443/tcp"
# In the certificate of every API server that minikube sets up (pkg/minikube/constants).
_NAME = "control-plane.minikube.internal"


@dataclass(frozen=True, slots=True)
class HomeContext:
    """The context in the kubeconfig here. `tunnel` has to run while it is used; empty where none is needed."""

    context: str
    path: str
    current: bool
    tunnel: str = ""


def credentials(session: Session, seen: Seen, profile: str) -> Credentials:
    """Read them where the profile is; `host` and `port` are where the profile's API listens there.

    Raises:
        ConnectFailure: the connection was lost.
        GpuctlError: they, or the port, cannot be read, or are not what minikube writes (exit 6).
    """
    folder = f"{seen.home}/.minikube"
    files = (f"{folder}/ca.crt", f"{folder}/profiles/{profile}/client.crt", f"{folder}/profiles/{profile}/client.key")
    texts = [session.run(["cat", path]) for path in files]
    published = session.run([*DOCKER, "port", profile, _API_PORT])
    lines = published.out.splitlines()
    fix = f"`gpuctl minikube status --profile {profile}`"
    if any(done.rc for done in texts) or not lines:
        words = f"the credentials or the port of profile {profile} cannot be read"
        raise GpuctlError(ExitCode.NOT_READY, Problem("minikube-profile-broken", words, fix))
    try:
        host, port = read_server(f"https://{lines[0].strip()}")
        ipaddress.ip_address(host)
        ca, certificate, key = (done.out for done in texts)
        check_authority(ca)
        check_pair(certificate, key)
    except ValueError as error:
        words = f"the credentials or the port of profile {profile} are not used: {error}"
        raise GpuctlError(ExitCode.NOT_READY, Problem("kubeconfig-refused", words, fix)) from error
    return Credentials(host, port, ca, certificate, key)


def bring_home(found: Credentials, host: Host, profile: str, path: Path, *, use_context: bool) -> HomeContext:
    """Put the context of a profile on another machine into the kubeconfig here.

    Docker publishes minikube's API on the loopback address of that machine: what leads there is a tunnel of ssh's,
    whose end here has the same number. An API that is published for all is reached without; TLS is verified either way.

    Raises:
        GpuctlError: the kubeconfig cannot be used, or has a context of that name that is another cluster's (exit 3, 4).
    """
    name = context_name(profile)
    _refuse_another(path, name, encoded(found.ca))
    tunnel = ""
    if ipaddress.ip_address(found.host).is_unspecified:
        server = url(host.connection.from_here, found.port)
    else:
        server = url("127.0.0.1", found.port)
        tunnel = _tunnel(host, found)
    entry = kubeconfig_of(found, name, server=server, tls_server_name=_NAME)
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
    found = entries_of(path, name).get("cluster")
    return None if found is None else str(found.get("certificate-authority-data") or "")


def _tunnel(host: Host, found: Credentials) -> str:
    connection = host.connection
    there = f"{connection.user}@{connection.address}" if connection.user else connection.address
    port = ["-p", str(connection.port)] if connection.port else []
    key = ["-i", connection.key_file] if connection.key_file else []
    ends = f"{found.port}:{_bracketed(found.host)}:{found.port}"
    return shlex.join(
        [
            "ssh",
            "-N",
            *shlex.split(connection.ssh_args),
            *port,
            *key,
            *shlex.split(connection.ssh_common_args),
            "-L",
            ends,
            there,
        ]
    )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
