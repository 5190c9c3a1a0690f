"""Groups: which hosts are control planes, workers or serve the cluster, and the names that people write instead.

Hosts in none of gpuctl's groups are the user's own (jump hosts, login nodes, `localhost`) and left alone, unless their
group is plainly a misspelling of one of ours.
"""

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
_OURS = (CONTROL_PLANE, WORKERS, MINIKUBE, *SERVICE_GROUPS)
# Found by trying: every one-letter mistake in our names lies above it, `file_server` and `ntp_server` do not.
_MISSPELLED, _ALIAS = 0.82, 0.85
_MOST_NAMES = 5  # of hosts in one sentence


def group_problems(answer: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """Hosts in groups that contradict each other, and groups that are misspelled, or called as other tools call them.

    Also a cluster without a control plane, and more than one NFS server.
    """
    places: dict[str, str] = {}
    for group in answer["groups"]:
        places.setdefault(group["name"], group["at"])
    has_control_plane = False
    for host in answer["hosts"]:
        groups = set(host["groups"])
        has_control_plane |= CONTROL_PLANE in groups
        if {CONTROL_PLANE, WORKERS} <= groups:
            words = "is in both control_plane and workers"
            fix = "list it in control_plane only: a control plane with GPUs runs pods as well (cluster_gpu: auto)"
            yield Problem("group-conflict", words, fix, host["name"], _listed_at(answer, host["name"], WORKERS))
    guesses = set()
    for group, hosts in _homeless(answer).items():
        if guess := _meant(group, answer):
            guesses.add(guess)
            yield _unknown(group, guess, hosts, places.get(group) or _listed_at(answer, hosts[0], group))
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


def left_alone_note(answer: Mapping[str, Any]) -> Iterator[Problem]:
    """Says which hosts are left alone, in one sentence, and which groups gpuctl would have."""
    named = [
        f"{', '.join(hosts[:_MOST_NAMES])}{', …' if len(hosts) > _MOST_NAMES else ''}"
        + ("" if group in _ANSIBLES_OWN else f" ({group})")
        for group, hosts in _homeless(answer).items()
    ]
    if not named:
        return
    count = len(answer["others"])
    words = f"{count} host{' is' if count == 1 else 's are'} in no group of gpuctl's and left alone: {'; '.join(named)}"
    pairs = [(group, nearest(group)) for group in _homeless(answer)]
    renames = [f"rename {group} to {guess}" for group, guess in pairs if guess in SERVICE_GROUPS]
    fix = f"if it is to be part of the cluster, {' and '.join(renames) or 'list it in control_plane or workers'}"
    yield Problem("hosts-left-alone", words, fix)


def nearest(group: str) -> str | None:
    """The group that was probably meant, or None."""
    plain = group.lower().replace("-", "_")
    close = difflib.get_close_matches(plain, _OURS, 1, _MISSPELLED)
    other = difflib.get_close_matches(plain, _ALIASES, 1, _ALIAS)
    return close[0] if close else _ALIASES[other[0]] if other else None


def _meant(group: str, answer: Mapping[str, Any]) -> str | None:
    """The group of ours that this one stands for: misspelled, or as another tool calls it while ours is empty."""
    guess = nearest(group)
    if guess is None or group in _ANSIBLES_OWN:
        return None
    plain = group.lower().replace("-", "").replace("_", "")
    if guess in SERVICE_GROUPS:  # a cluster need not have one, and file servers of others have such names
        return guess if plain.removesuffix("s") == guess.replace("_", "") else None
    spelled = difflib.get_close_matches(group.lower().replace("-", "_"), [guess], 1, _MISSPELLED)
    return guess if spelled or not any(guess in host["groups"] for host in answer["hosts"]) else None


def _homeless(answer: Mapping[str, Any]) -> dict[str, list[str]]:
    """Group → hosts that are in it and in none of ours; each host once, by the group that is nearest to one of ours."""
    found: dict[str, list[str]] = defaultdict(list)
    for host in answer["others"]:
        own = sorted(set(host["groups"]) - _ANSIBLES_OWN, key=lambda name: (nearest(name) is None, name))
        found[(own or ["ungrouped"])[0]].append(host["name"])
    return found


def _unknown(group: str, guess: str, hosts: list[str], at: str | None) -> Problem:
    words = f"unknown group `{group}`, did you mean `{guess}`? (hosts: {', '.join(hosts)})"
    fix = f"rename the group to {guess}, or to a name unlike it if its hosts are no part of the cluster"
    return Problem("group-unknown", words, fix, hosts[0] if len(hosts) == 1 else None, at)


def _listed_at(answer: Mapping[str, Any], host: str, group: str) -> str | None:
    places = [entry["at"] for entry in answer["listed"] if entry["name"] == host and entry["group"] == group]
    return places[0] if places else next((e["at"] for e in answer["listed"] if e["name"] == host), None)
