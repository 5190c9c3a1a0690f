"""`gpuctl launch agent status`: ask the cluster for each right, the agent for its life, the server for the agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap.access import Access
from bootstrap.errors import GpuctlError, Problem, settings_error
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.load import load_inventory
from bootstrap.inventory.model import LAUNCH_AGENT, Host, Inventory
from bootstrap.inventory.plain_http import unencrypted
from bootstrap.inventory.schema import component_named
from bootstrap.inventory.secret import Secret
from bootstrap.kube.addons import receipt_in
from bootstrap.kube.client import ApiError, Cluster, cluster_api, kubeconfig_api
from bootstrap.launch.agent_cluster import deployment_seen, objects_seen, rights_problems
from bootstrap.launch.agent_hosts import hosts_seen
from bootstrap.launch.agent_key import key_for
from bootstrap.launch.agent_model import CLUSTER_MODE, HOST_MODE, OLDER, AgentStatus, Fact, Seen, State, Target
from bootstrap.launch.agent_server import asker, server_seen
from bootstrap.launch.rights import Right, missing_rights
from bootstrap.launch.server_access import ca_text
from bootstrap.plan.launch_arguments import launch_arguments, read_launch_files


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Which cluster: that of an inventory, else that of a context of a kubeconfig (its current one when empty).

    `api_key`: for the server; empty for what the inventory names.
    """

    inventory: Path | None = None
    kubeconfig: Path | None = None
    context: str = ""
    access: Access = field(default_factory=Access)
    api_key: Secret = field(default_factory=Secret)


@dataclass(frozen=True, slots=True)
class _Meant:
    """The agent, how its cluster is reached, and what else of it can be asked."""

    target: Target
    hosts: tuple[Host, ...]
    api_key: Secret
    ca_text: str = ""
    lab: bool = False


def agent_status(request: StatusRequest) -> AgentStatus:
    """Ask everything; what is wrong is in the result, so is what could not be asked.

    Raises:
        GpuctlError: settings (3), no cluster to ask, or one without an agent (6).
    """
    try:
        if request.inventory is not None:
            return _by_inventory(request, load_inventory(request.inventory))
        with kubeconfig_api(request.kubeconfig, request.context) as cluster:
            meant = _Meant(Target.of(_recorded(cluster)), (), request.api_key)
            return _status(meant, request.access, *_cluster_says(cluster, meant.target))
    except ApiError as error:
        problem = Problem("api-unreachable", f"the cluster's API: {error}", "look at the control plane")
        raise GpuctlError(ExitCode.NOT_READY, problem) from error


def _by_inventory(request: StatusRequest, inventory: Inventory) -> AgentStatus:
    agents = inventory.group(LAUNCH_AGENT)
    if not agents and inventory.minikube:
        return _beside_profile(request, inventory, inventory.minikube)
    if not agents:
        words = f"{inventory.path.name} has no host in the group launch_agent: there is no agent to ask for"
        raise settings_error(Problem("launch-agent-none", words, "list the agent's host under [launch_agent]"))
    values = launch_arguments(agents[0], None, inventory, read_launch_files(inventory))
    key = request.api_key or values["launch_agent_api_key"]
    with _seed_api(inventory, request.access) as cluster:
        target = Target.of({**_kept(cluster), **values})
        said = _cluster_says(cluster, target)
    hosts = agents if target.mode == HOST_MODE else ()
    return _status(_Meant(target, hosts, key, ca_text(inventory), inventory.lab), request.access, *said)


def _beside_profile(request: StatusRequest, inventory: Inventory, host: Host) -> AgentStatus:
    """Of an agent that options of `gpuctl minikube up` have set up, not the inventory."""
    with _seed_api(inventory, request.access) as cluster:
        target = Target.of(_recorded(cluster))
        said = _cluster_says(cluster, target)
    hosts = (host,) if target.mode == HOST_MODE else ()
    meant = _Meant(target, hosts, request.api_key, ca_text(inventory), inventory.lab)
    return _status(meant, request.access, *said)


@contextmanager
def _seed_api(inventory: Inventory, access: Access) -> Iterator[Cluster]:
    """The API through the first control plane that has a cluster; what the last one said when none has."""
    with ExitStack() as stack:
        yield _first_api(inventory, access, stack)


def _first_api(inventory: Inventory, access: Access, stack: ExitStack) -> Cluster:
    errors: list[GpuctlError] = []
    for plane in inventory.api_hosts:
        try:
            return stack.enter_context(cluster_api(plane, access))
        except GpuctlError as error:
            errors.append(error)
    raise errors[-1]


def _kept(cluster: Cluster) -> Mapping[str, Any]:
    """What the inventory does not say and the first installation decided; the defaults where there was none."""
    role = component_named("launch_agent")
    try:
        recorded = _recorded(cluster)
    except GpuctlError:
        return {variable.name: variable.default for variable in role.variables if variable.name in role.pinned}
    return {name: value for name, value in recorded.items() if name in role.pinned or name == OLDER}


def _recorded(cluster: Cluster) -> Mapping[str, Any]:
    """The role's variables as the cluster's receipt has them; what it is too old for, as they were then."""
    receipt = receipt_in(cluster, "launch_agent")
    assumed = component_named("launch_agent").assumed
    arguments = receipt.get("arguments", {}) if receipt else {}
    values = {name: entry["value"] for name, entry in arguments.items() if "value" in entry}
    try:
        values = {OLDER: not assumed.keys() <= values.keys(), **assumed, **values}
        Target.of(values)
    except KeyError as error:
        words = "this cluster has no receipt of a Launch agent"
        fix = "name the cluster's own context; or set the agent up: group launch_agent in the inventory"
        raise GpuctlError(ExitCode.NOT_READY, Problem("launch-agent-none", words, fix)) from error
    return values


def _cluster_says(cluster: Cluster, target: Target) -> tuple[Seen, Mapping[str, tuple[Right, ...]]]:
    seen = objects_seen(cluster, target)
    secret = target.key_secret if target.mode == CLUSTER_MODE and not target.older else ""
    missing = missing_rights(cluster, target.namespace, target.account, target.namespaces, secret)
    seen += Seen(problems=rights_problems(target, missing))
    return (seen + deployment_seen(cluster, target) if target.mode == CLUSTER_MODE else seen), missing


def _status(meant: _Meant, access: Access, seen: Seen, missing: Mapping[str, tuple[Right, ...]]) -> AgentStatus:
    target = meant.target
    if target.mode == HOST_MODE and not meant.hosts:
        told = "not asked: it is on a host that only the inventory names"
        seen += Seen((Fact("the agent's service", State.UNKNOWN, told),))
    seen += hosts_seen(meant.hosts, access)
    here = bool(meant.hosts) and all(host.connection.local for host in meant.hosts)
    if words := unencrypted(target.base_url, lab=meant.lab, from_here=here):
        seen += Seen((Fact("warning", State.UNKNOWN, words),))
    key = _key(target, meant.api_key)
    seen += server_seen(target, asker(target, key, meant.ca_text) if key else None)
    return AgentStatus(target, seen.facts, missing, _once(seen.problems))


def _key(target: Target, given: Secret) -> Secret:
    """The key to ask the server with; empty where this machine has none."""
    try:
        return key_for(target.base_url, given)
    except GpuctlError:
        return Secret("")


def _once(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    return tuple(dict.fromkeys(problems))
