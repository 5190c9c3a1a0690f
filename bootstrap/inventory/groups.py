"""Groups: which hosts are control planes, workers or serve the cluster, and the names that people write instead."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bootstrap.errors import Problem
from bootstrap.inventory.model import CONTROL_PLANE, MINIKUBE, NFS_SERVER, NODE_GROUPS, SERVICE_GROUPS, WORKERS

# What other tools and older documents call the groups.
_OTHER_NAMES = {
    CONTROL_PLANE: "control controller head kube_control_plane kube_master manager master server",
    MINIKUBE: "mini_kube minikube_host",
    WORKERS: "agent compute gpu gpu_node gpu_worker k8s_node kube_node minion node slave",
    NFS_SERVER: "nfs nfs_host",
}
_ALIASES = {alias: group for group, aliases in _OTHER_NAMES.items() for alias in aliases.split()}
_ANSIBLES_OWN = frozenset({"all", "ungrouped"})


def group_problems(answer: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """Hosts that are in no group that says what they are for, or in two that contradict each other.

    Also a cluster without a control plane, and more than one NFS server. Other groups are the user's own, as long as
    their hosts are in one of ours as well.
    """
    places: dict[str, str] = {}
    for group in answer["groups"]:
        places.setdefault(group["name"], group["at"])
    homeless: dict[str, list[str]] = defaultdict(list)
    has_control_plane = False
    for host in answer["hosts"]:
        groups = set(host["groups"])
        has_control_plane |= CONTROL_PLANE in groups
        if {CONTROL_PLANE, WORKERS} <= groups:
            words = "is in both control_plane and workers"
            fix = "list it in control_plane only: a control plane with GPUs runs pods as well (cluster_gpu: auto)"
            yield Problem("group-conflict", words, fix, host["name"], _listed_at(answer, host["name"], WORKERS))
        elif not groups & {*NODE_GROUPS, *SERVICE_GROUPS, MINIKUBE}:
            own = sorted(groups - _ANSIBLES_OWN, key=lambda name: (nearest(name) is None, name)) or ["ungrouped"]
            homeless[own[0]].append(host["name"])
    guesses = {nearest(group) for group in homeless}
    for group, hosts in homeless.items():
        yield _homeless(group, hosts, places.get(group) or _listed_at(answer, hosts[0], group))
    lane = [host for host in answer["hosts"] if MINIKUBE in host["groups"]]
    yield from _minikube_problems(answer, [host["name"] for host in lane], places)
    if not lane and not has_control_plane and not guesses & {CONTROL_PLANE, MINIKUBE}:
        words = f"{path.name} has no host in the group control_plane"
        fix = "list at least one host under [control_plane]; it may be the only one"
        yield Problem("control-plane-missing", words, fix, at=places.get(CONTROL_PLANE))
    servers = [host["name"] for host in answer["hosts"] if NFS_SERVER in host["groups"]]
    if len(servers) > 1:
        words = f"nfs_server holds {', '.join(servers)}: one export has one server"
        yield Problem("group-conflict", words, "leave one host in nfs_server", at=places.get(NFS_SERVER))


def _minikube_problems(answer: Mapping[str, Any], lane: list[str], places: Mapping[str, str]) -> Iterator[Problem]:
    """More than one minikube host, a cluster of nodes beside it, or an agent or an export that is elsewhere."""
    if len(lane) > 1:
        words = f"minikube holds {', '.join(lane)}: gpuctl makes a minikube cluster on one host"
        yield Problem("group-conflict", words, "leave one host in minikube", at=places.get(MINIKUBE))
    beside = sorted({group for host in answer["hosts"] for group in host["groups"] if group in NODE_GROUPS})
    if lane and beside:
        words = f"minikube stands beside {', '.join(beside)}: an inventory is one cluster, of minikube or of nodes"
        yield Problem(
            "group-conflict", words, "put the minikube host into an inventory of its own", at=places.get(MINIKUBE)
        )
    for host in answer["hosts"] if lane else ():
        for group in sorted({*SERVICE_GROUPS} & set(host["groups"]) if host["name"] not in lane else ()):
            words = f"is in {group}: the API and the network of a minikube cluster are reached on its own host only"
            yield Problem("group-conflict", words, f"list {lane[0]} in {group}", host["name"], places.get(group))


def nearest(group: str) -> str | None:
    """The group that was probably meant, or None."""
    plain = group.lower().replace("-", "_")
    close = difflib.get_close_matches(plain, [CONTROL_PLANE, WORKERS, MINIKUBE, *SERVICE_GROUPS, *_ALIASES], 1, 0.75)
    return _ALIASES.get(close[0], close[0]) if close else None


def _homeless(group: str, hosts: list[str], at: str | None) -> Problem:
    names = ", ".join(hosts)
    single = hosts[0] if len(hosts) == 1 else None
    if group in _ANSIBLES_OWN:
        words = f"{names}: in no group; hosts are listed under [control_plane] or [workers]"
        return Problem("group-unknown", words, "move the line below one of the two headings", single, at)
    guess = nearest(group)
    words = f"unknown group `{group}`" + (f", did you mean `{guess}`?" if guess else "") + f" (hosts: {names})"
    rename = f"rename the group to {guess}"
    fix = rename if guess else "list its hosts in control_plane or workers as well"
    return Problem("group-unknown", words, fix, single, at)


def _listed_at(answer: Mapping[str, Any], host: str, group: str) -> str | None:
    places = [entry["at"] for entry in answer["listed"] if entry["name"] == host and entry["group"] == group]
    return places[0] if places else next((e["at"] for e in answer["listed"] if e["name"] == host), None)
