"""The user's kubeconfig: one context per cluster, merged without losing anything of the user's."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bootstrap.errors import GpuctlError
from bootstrap.kube.credentials import Credentials, kubeconfig_of, url
from bootstrap.kube.kubeconfig_file import current_context, kept_mode, load, locked, searched, write


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of the user's kubeconfig."""

    path: Path
    context: str
    changed: bool
    current: bool  # whether the context is the current one now


def context_name(cluster_name: str) -> str:
    """The context, cluster and user name under which a cluster is kept."""
    return f"gpuctl-{cluster_name}"


def default_path(environ: Mapping[str, str]) -> Path:
    """Where kubectl would write: the first file of KUBECONFIG, else ~/.kube/config."""
    first = next((part for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part), "")
    return Path(first).expanduser() if first else Path(environ.get("HOME", "~")).expanduser() / ".kube" / "config"


def entry_of(found: Credentials, cluster_name: str, address: str) -> dict[str, Any]:
    """A kubeconfig with just this cluster, under our names.

    The endpoint's name is kept where this machine resolves it; elsewhere the control plane's own address is used and
    TLS is verified against the endpoint's name.
    """
    name = context_name(cluster_name)
    if _resolves_to(found.host, address):
        return kubeconfig_of(found, name)
    return kubeconfig_of(found, name, server=url(address, found.port), tls_server_name=found.host)


def merge(path: Path, entry: Mapping[str, Any], *, use_context: bool) -> Merged:
    """Put the entry's cluster, user and context into the file; the current context changes only if unset or asked.

    Unset means in all files of KUBECONFIG, if the file is one of them: kubectl takes the first that names one.

    Raises:
        GpuctlError: the file is not a kubeconfig, or cannot be written (exit 3); it is left as it was.
    """
    with locked(path):
        before = load(path)
        after = {"apiVersion": "v1", "kind": "Config", **before}
        for section in ("clusters", "users", "contexts"):
            after[section] = _with_entry(before.get(section) or [], entry[section][0])
        name, files = str(entry["current-context"]), searched(path, os.environ)
        if use_context or not current_context(files, {path: before}):
            after["current-context"] = name
        changed = after != before
        if changed:
            write(path, after)
        elif path.stat().st_mode & 0o007:
            path.chmod(kept_mode(path.stat().st_mode))
        current = current_context(files, {path: after})
    return Merged(path, name, changed, current == name)


def remove(path: Path, cluster_name: str, network: str = "") -> bool:
    """Take the cluster's context, cluster and user out of the file; whether anything was there.

    With `network` (such as 10.1.2.0/24) only if the API server's address is in it: another cluster may have the name.
    """
    if not path.exists():
        return False
    name = context_name(cluster_name)
    with locked(path):
        before = load(path)
        if network and not _is_within(network, before.get("clusters") or [], name):
            return False
        after = dict(before)
        for section in ("clusters", "users", "contexts"):
            after[section] = [item for item in before.get(section) or [] if item.get("name") != name]
        if after.get("current-context") == name:
            after["current-context"] = ""
        if after == before:
            return False
        write(path, after)
    return True


def entries_of(path: Path, name: str) -> dict[str, dict[str, Any]]:
    """The cluster, user and context of that name in the file, as far as they are there; nothing where it is broken.

    What is broken is for `merge` to tell.
    """
    try:
        config = load(path)
    except GpuctlError:
        return {}
    found = {}
    for kind in ("cluster", "user", "context"):
        own = next((item.get(kind) for item in config.get(f"{kind}s") or [] if item.get("name") == name), None)
        if isinstance(own, dict):
            found[kind] = own
    return found


def _is_within(network: str, clusters: list[dict[str, Any]], name: str) -> bool:
    own = next((item.get("cluster") for item in clusters if item.get("name") == name), None)
    server = own.get("server") if isinstance(own, dict) else None
    try:
        address = ipaddress.ip_address(urlsplit(str(server)).hostname or "")
    except ValueError:
        return False
    return address in ipaddress.ip_network(network)


def _with_entry(items: list[dict[str, Any]], entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The list with the entry in the place of its namesake, else at the end."""
    names = [item.get("name") for item in items]
    if entry["name"] in names:
        return [dict(entry) if item.get("name") == entry["name"] else item for item in items]
    return [*items, dict(entry)]


def _resolves_to(name: str, address: str) -> bool:
    try:
        return address in {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
    except OSError:
        return False
