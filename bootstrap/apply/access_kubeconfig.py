"""Brings the cluster's credentials home: a certificate of the person's own, in a context of the user's kubeconfig."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from bootstrap.apply.requests import BootstrapRequest
from bootstrap.apply.results import KubeconfigChange
from bootstrap.inventory.model import Host
from bootstrap.kube.client import admin_api
from bootstrap.kube.client_certificate import NotSignedError, ends_soon, personal_credentials, time_left
from bootstrap.kube.kubeconfig import context_name, entries_of, entry_of, merge

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Known:
    """The context as the user's kubeconfig has it: its cluster, its user and the PEM of the user's certificate."""

    cluster: Mapping[str, Any]
    user: Mapping[str, Any]
    certificate: str


def bring_kubeconfig(
    request: BootstrapRequest, seed: Host, cluster_name: str, *, only_if_missing: bool
) -> KubeconfigChange | None:
    """Have the cluster's context in the user's kubeconfig.

    A context that is there stays, unless it is another cluster's (which is only looked at without `only_if_missing`),
    its certificate has less than 30 days left, or it is asked to be renewed. None when nothing was to be done.

    Raises:
        GpuctlError: the cluster's credentials cannot be had (exit 6), or the kubeconfig cannot be used (exit 3).
    """
    known = _known_context(request, cluster_name)
    lasting = known is not None and not request.renew_kubeconfig and not _ends_soon(known)
    if lasting and only_if_missing and not request.use_context:
        return None
    if known is not None and lasting and only_if_missing:
        return _merged(request, _entry(known, context_name(cluster_name)), known)
    address = seed.connection.from_here
    with admin_api(seed, request.access) as (api, admin):
        anew = entry_of(admin, cluster_name, address)
        if known is not None and lasting and _same_authority(known, anew):
            kept = {**anew, "users": [{"name": context_name(cluster_name), "user": dict(known.user)}]}
            return _merged(request, kept, known)
        try:
            mine = personal_credentials(api, admin, request.user_name)
        except NotSignedError as error:
            why = f"it is a copy of the cluster's admin.conf, since a certificate of your own cannot be had: {error}"
            return _merged(request, anew, known, warning=why)
        made = _merged(request, entry_of(mine, cluster_name, address), known)
        # Rounded: the signer dates it back by minutes.
        return replace(made, user=request.user_name, valid_days=round(time_left(mine.certificate) / _DAY))


def _merged(
    request: BootstrapRequest, entry: Mapping[str, Any], known: _Known | None, *, warning: str = ""
) -> KubeconfigChange:
    merged = merge(request.kubeconfig, entry, use_context=request.use_context)
    return KubeconfigChange(
        str(merged.path), merged.context, added=known is None, current=merged.current, warning=warning
    )


def _entry(known: _Known, name: str) -> dict[str, Any]:
    return {
        "clusters": [{"name": name, "cluster": dict(known.cluster)}],
        "users": [{"name": name, "user": dict(known.user)}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def _ends_soon(known: _Known) -> bool:
    """A certificate that cannot be seen here (a file, a token, a command of the user's own) is the user's to renew."""
    return bool(known.certificate) and ends_soon(known.certificate)


def _same_authority(known: _Known, anew: Mapping[str, Any]) -> bool:
    named = "certificate-authority-data"
    return bool(known.cluster.get(named) == anew["clusters"][0]["cluster"][named])


def _known_context(request: BootstrapRequest, cluster_name: str) -> _Known | None:
    """What the kubeconfig has under the cluster's name."""
    found = entries_of(request.kubeconfig, context_name(cluster_name))
    if not found.keys() >= {"cluster", "user", "context"}:
        return None
    data = found["user"].get("client-certificate-data")
    try:
        certificate = base64.b64decode(str(data or ""), validate=True).decode("ascii")
    except ValueError:
        certificate = "damaged"
    return _Known(found["cluster"], found["user"], certificate)
