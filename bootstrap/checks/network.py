"""Ports, address ranges, interfaces, firewall, resolver, proxies."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from bootstrap.checks.common import Say, complete, in_cluster
from bootstrap.checks.finding import Finding

if TYPE_CHECKING:
    from bootstrap.inventory.model import Host, Inventory
    from bootstrap.probe.facts import HostFacts

# Source: Kubernetes documentation, "Ports and protocols".
WORKER_PORTS = (10250,)
CONTROL_PLANE_PORTS = (10250, 10257, 10259, 2379, 2380)
LOCAL_INTERFACE = re.compile(r"^(lo$|docker|br-|virbr|podman)")  # bridges for containers and virtual machines
RESOLVED = "/run/systemd/resolve/resolv.conf"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def ports(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Ports that Kubernetes is going to listen on; on a node they are its own."""
    if in_cluster(facts):
        return
    wanted = (_api_port(host), *CONTROL_PLANE_PORTS) if host.is_control_plane else WORKER_PORTS
    busy = [(port, facts.listeners[port]) for port in wanted if port in facts.listeners]
    if busy:
        said = ", ".join(f"{port} ({'a process' if name == '?' else name})" for port, name in busy)
        yield Say(host.name, "port-busy").refuse(f"in use: port {said}", "stop that service, or use another host")


def _api_port(host: Host) -> int:
    return int(host.settings.get("cluster_endpoint_port", 6443))


def proxies(inventory: Inventory, facts: Mapping[str, HostFacts]) -> Iterator[Finding]:
    """With a proxy set, everything inside the cluster must be named in no_proxy."""
    for host in inventory.nodes:
        found = facts.get(host.name)
        if found is None or not {"http_proxy", "https_proxy", "all_proxy"}.intersection(found.proxies):
            continue
        needed = _inside(inventory, host, facts)
        excluded = [word.strip() for word in found.proxies.get("no_proxy", "").split(",") if word.strip()]
        missing = [name for name in needed if not _excluded(name, excluded)]
        if missing:
            yield Say(host.name, "proxy-without-exclusions").refuse(
                f"its proxy settings do not exclude {', '.join(missing)}",
                f"set there: no_proxy={','.join(dict.fromkeys([*excluded, *needed]))}",
            )


def _inside(inventory: Inventory, host: Host, facts: Mapping[str, HostFacts]) -> list[str]:
    ranges = [
        str(host.settings[name]) for name in ("cluster_pod_cidr", "cluster_service_cidr") if name in host.settings
    ]
    addresses = [_address(h, facts) for h in inventory.hosts]
    endpoint = str(host.settings.get("cluster_endpoint", ""))
    names = ["127.0.0.1", "localhost", *ranges, *addresses, *([endpoint] if endpoint else []), ".svc", ".cluster.local"]
    return list(dict.fromkeys(names))


def _address(host: Host, facts: Mapping[str, HostFacts]) -> str:
    """As the inventory has it; of this machine, which needs none there, the one that the others use."""
    found = facts.get(host.name)
    if not host.connection.local or found is None or host.connection.address in found.address_list:
        return host.connection.address
    return found.primary_address or host.connection.address


def _excluded(name: str, excluded: Iterable[str]) -> bool:
    """Whether a no_proxy list covers a name, an address or a whole range."""
    network = _network(name)
    for word in excluded:
        if word == "*" or word.lower() == name.lower() or name.endswith("." + word.lstrip(".")):
            return True
        covering = _network(word)
        if network and covering and network.version == covering.version and network.subnet_of(covering):  # type: ignore[arg-type]
            return True
    return False


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def ranges(inventory: Inventory, facts: Mapping[str, HostFacts]) -> Iterator[Finding]:
    """Pod and service ranges against each other, and against what new hosts can reach already."""
    if not inventory.hosts:
        return
    settings = inventory.hosts[0].settings
    ours = {name: _network(str(settings.get(name, ""))) for name in ("cluster_pod_cidr", "cluster_service_cidr")}
    pods, services = ours.values()
    if pods and services and pods.overlaps(services):
        yield Say(None, "cidr-overlap").refuse(
            f"cluster_pod_cidr {pods} and cluster_service_cidr {services} overlap",
            "choose ranges apart from each other",
        )
    for host in inventory.nodes:
        found = facts.get(host.name)
        if found is not None and not in_cluster(found):
            yield from _overlaps(host, found, ours)


def _overlaps(host: Host, facts: HostFacts, ours: Mapping[str, Network | None]) -> Iterator[Finding]:
    there = {f"{address} on {name}": address for name, all_ in facts.addresses.items() for address in all_}
    there.update({f"a route to {route}": route for route in facts.routes})
    for name, network in ours.items():
        for what, text in there.items():
            other = _network(text)
            if network and other and other.prefixlen > 0 and network.overlaps(other):
                yield Say(host.name, "cidr-overlap").refuse(
                    f"{name} {network} overlaps with {what}", f"set {name} to a range that no host uses"
                )
                break


def interfaces(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """Which address the node gets, said whenever there is a choice."""
    if in_cluster(facts) or not facts.addresses:
        return
    say = Say(host.name, "interface-ambiguous")
    choices = {
        name: ipv4
        for name, all_ in facts.addresses.items()
        if not LOCAL_INTERFACE.match(name) and (ipv4 := [a.split("/")[0] for a in all_ if ":" not in a])
    }
    named = [name for name, all_ in choices.items() if host.connection.address in all_]
    used = named[0] if named else facts.default_interface or ""
    if used not in choices:
        yield say.refuse(
            "no interface has an IPv4 address and the default route", "give it one, or set ansible_host to it"
        )
    elif len(choices) > 1:
        address = host.connection.address if named else choices[used][0]
        yield say.repair(
            f"it has addresses on {', '.join(sorted(choices))}", f"{address} on {used} is used for the cluster"
        )


def firewall(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """A firewall that drops what is not allowed: nodes become Ready, pods cannot talk."""
    if facts.firewall is None:
        return
    say, message = Say(host.name, "firewall-active"), f"{facts.firewall} is active"
    needed = "TCP 10250" if not host.is_control_plane else f"TCP {_api_port(host)} 2379-2380 10250 10257 10259"
    fix = (
        f"allow {needed}, UDP 8472 and the pod and service ranges between the hosts, and switch it to accept by default"
    )
    if in_cluster(facts):
        yield say.warn(message, f"if pods cannot talk: {fix}")
    else:
        yield say.refuse(message, {"ufw": "run there: ufw disable", "firewalld": _FIREWALLD}.get(facts.firewall, fix))


_FIREWALLD = "run there: systemctl disable --now firewalld"


def resolver(host: Host, facts: HostFacts) -> Iterator[Finding]:
    """A resolver on the host itself would make CoreDNS ask itself."""
    if not facts.resolv_loop:
        return
    say = Say(host.name, "resolv-loop")
    message = "/etc/resolv.conf names a resolver on the host itself"
    fix = "name servers in /etc/resolv.conf that other machines can reach, too"
    reachable = upstream_resolv_conf(facts)
    if reachable is None and complete(facts, "kubeadm"):
        yield say.warn(f"{message}, which its pods cannot reach", fix)
    elif reachable is None:
        yield say.refuse(message, fix)
    elif not complete(facts, "kubeadm"):
        yield say.repair(message, f"the kubelet is given {reachable}")


def upstream_resolv_conf(facts: HostFacts) -> str | None:
    """The host's file with name servers that pods can reach; None without one. systemd-resolved always has its own."""
    resolved = facts.units.get("systemd-resolved.service", "").startswith("active")
    return facts.resolv_conf or (RESOLVED if resolved else None)
