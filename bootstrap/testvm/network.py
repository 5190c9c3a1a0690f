"""A lab's own network: a bridge and a subnet that nothing else on this machine uses."""

from __future__ import annotations

import ipaddress
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import firewall, procs
from bootstrap.testvm.names import lab_object

# kubeadm's service range and flannel's pod range: the defaults of clusters made on these hosts.
CLUSTER_RANGES = (IPv4Network("10.244.0.0/16"), IPv4Network("10.96.0.0/12"))
# Parts of the private ranges (RFC 1918) that home routers, docker and cloud networks rarely use.
POOLS = (IPv4Network("10.192.0.0/11"), IPv4Network("172.24.0.0/13"), IPv4Network("192.168.128.0/17"))
FIRST_HOST = 11  # .1 is this machine; the rest below is left free
_SPLIT_DEFAULT = 3  # VPNs announce 0.0.0.0/1 and 128.0.0.0/1 instead of a default route


@dataclass(frozen=True, slots=True)
class Subnet:
    """The addresses of one lab."""

    network: IPv4Network

    @property
    def gateway(self) -> IPv4Address:
        """The machine's own address on the lab's bridge."""
        return self.network[1]

    def host(self, index: int) -> IPv4Address:
        """Address of the host with this index (0 is cp1)."""
        return self.network[FIRST_HOST + index]


def choose_subnet(name: str, taken: Iterable[IPv4Network]) -> IPv4Network:
    """A /24 that overlaps nothing in `taken` nor the cluster ranges; the search starts at a place given by `name`.

    Raises GpuctlError `subnet-none` where every candidate is in use.
    """
    blocked = [*taken, *CLUSTER_RANGES]
    for pool in POOLS:
        count = 2 ** (24 - pool.prefixlen)
        start = zlib.crc32(name.encode()) % count
        for step in range(count):
            base = int(pool.network_address) + 256 * ((start + step) % count)
            candidate = IPv4Network((base, 24))
            if not any(candidate.overlaps(other) for other in blocked):
                return candidate
    raise GpuctlError(
        ExitCode.PREFLIGHT,
        Problem(
            "subnet-none",
            f"routes of this machine use all of {', '.join(map(str, POOLS))}",
            "disconnect the VPN whose routes cover the private ranges (`ip route`), then run this again",
        ),
    )


def networks_in_use(routes: Iterable[dict[str, Any]], addresses: Iterable[str]) -> tuple[IPv4Network, ...]:
    """Destinations of `ip -j route` entries and single addresses, as networks; default routes are left out."""
    found: list[IPv4Network] = []
    for text in [*(str(route.get("dst", "default")) for route in routes), *addresses]:
        try:
            network = IPv4Network(text, strict=False)
        except ValueError:
            continue  # "default", or not IPv4
        if network.prefixlen > _SPLIT_DEFAULT:
            found.append(network)
    return tuple(found)


def taken_here() -> tuple[IPv4Network, ...]:
    """Networks that this machine's routes (all tables), addresses and resolvers use."""
    routes = json.loads(procs.run(["ip", "-4", "-j", "route", "show", "table", "all"]) or "[]")
    return networks_in_use(routes, resolvers(Path("/")))


def resolvers(root: Path) -> tuple[str, ...]:
    """IPv4 addresses of name servers that a host can reach: not those on this machine's loopback."""
    for place in ("etc/resolv.conf", "run/systemd/resolve/resolv.conf", "run/NetworkManager/no-stub-resolv.conf"):
        try:
            text = (root / place).read_text()
        except OSError:
            continue
        if found := parse_resolvers(text):
            return found
    return ()


def parse_resolvers(text: str) -> tuple[str, ...]:
    """The usable `nameserver` addresses of a resolv.conf."""
    found: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                address = ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            if address.version == 4 and not address.is_loopback and not address.is_unspecified:
                found.append(str(address))
    return tuple(dict.fromkeys(found))


def uplink_mtu() -> int:
    """The smallest MTU (bytes) of the devices that carry a default route; 1500 where none is known."""
    found = [1500]
    routes = json.loads(procs.run(["ip", "-4", "-j", "route", "show", "default"]) or "[]")
    for device in {str(route["dev"]) for route in routes if "dev" in route}:
        links = json.loads(procs.run(["ip", "-j", "link", "show", "dev", device]) or "[]")
        found += [int(link["mtu"]) for link in links if "mtu" in link]
    return min(found)


def links(prefix: str) -> tuple[str, ...]:
    """Names of network links that start with `prefix`."""
    return tuple(sorted(p.name for p in Path("/sys/class/net").iterdir() if p.name.startswith(prefix)))


def is_up(lab: str, subnet: Subnet) -> bool:
    """Whether the lab's bridge has its address and its firewall rules are loaded."""
    bridge = lab_object(lab)
    if not links(bridge):
        return False
    shown = json.loads(procs.run(["ip", "-4", "-j", "addr", "show", "dev", bridge], check=False) or "[]")
    held = {info.get("local") for link in shown for info in link.get("addr_info", ())}
    return str(subnet.gateway) in held and firewall.is_loaded(lab)


def ensure(lab: str, subnet: Subnet, allowed: Iterable[firewall.Allowed], ports: Iterable[int] = ()) -> None:
    """Make the bridge and the rules, or complete what is there. `ports`: see `firewall.render`."""
    bridge = lab_object(lab)
    firewall.load(lab, subnet.network, subnet.gateway, tuple(allowed), ports)
    if bridge not in links(bridge):
        # A bridge otherwise takes the lowest address of its ports, and changes it as hosts come and go.
        mac = "02:" + ":".join(f"{byte:02x}" for byte in (*subnet.gateway.packed, 1))
        procs.run(["ip", "link", "add", "name", bridge, "address", mac, "type", "bridge"])
    procs.run(["ip", "address", "replace", f"{subnet.gateway}/24", "brd", "+", "dev", bridge])
    procs.run(["ip", "link", "set", "dev", bridge, "up"])


def remove(lab: str) -> None:
    """Remove the bridge, whatever still hangs on it, and the rules; nothing there is fine."""
    bridge = lab_object(lab)
    if bridge in links(bridge):
        for port in Path(f"/sys/class/net/{bridge}/brif").glob("*"):
            # Only a host's own cable goes; anything else that somebody attached is just let go by the bridge.
            if port.name.startswith("vb-"):
                procs.run(["ip", "link", "delete", "dev", port.name], check=False)
        procs.run(["ip", "link", "delete", "dev", bridge], check=False)
    firewall.unload(lab)
