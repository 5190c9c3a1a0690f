"""Brings the cluster's credentials home: admin.conf of the seed into the user's kubeconfig."""

from __future__ import annotations

import yaml

from bootstrap.access import Access
from bootstrap.apply.requests import BootstrapRequest
from bootstrap.apply.results import KubeconfigChange
from bootstrap.inventory.model import Host
from bootstrap.kube.client import read_admin_conf
from bootstrap.kube.kubeconfig import context_name, entry_from_admin_conf, merge
from bootstrap.probe.remote import reach


def bring_kubeconfig(
    request: BootstrapRequest, seed: Host, cluster_name: str, *, only_if_missing: bool
) -> KubeconfigChange | None:
    """Merge the cluster's context into the user's kubeconfig; with `only_if_missing` an existing one is left alone."""
    path = request.kubeconfig
    known = _has_context(request, cluster_name)
    if known and only_if_missing and not request.use_context:
        return None
    entry = entry_from_admin_conf(fetch_admin_conf(seed, request.access), cluster_name, seed.connection.from_here)
    merged = merge(path, entry, use_context=request.use_context)
    return KubeconfigChange(str(merged.path), merged.context, added=not known, current=merged.current)


def fetch_admin_conf(seed: Host, access: Access) -> str:
    """The text of admin.conf, read on its host; GpuctlError (exit 6) when it cannot be read."""
    with reach(seed, access) as session:
        return read_admin_conf(session, seed, access)


def _has_context(request: BootstrapRequest, cluster_name: str) -> bool:
    try:
        loaded = yaml.safe_load(request.kubeconfig.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError):
        return False
    contexts = loaded.get("contexts") if isinstance(loaded, dict) else None
    names = [item.get("name") for item in contexts or [] if isinstance(item, dict)]
    return context_name(cluster_name) in names
