"""What a lab's hosts may reach: each other, the internet through this machine, and nothing private besides.

Of this machine itself they reach ICMP, its name server where that is the resolver they were given, and the ports in
the table's set `ports`: the mirror's, and those that somebody opened for them. All of it over IPv4; IPv6 is ICMP only.
"""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from bootstrap.testvm import procs
from bootstrap.testvm.names import PREFIX, lab_object

# RFC 1918, RFC 6598 (carrier NAT) and RFC 3927 (link-local, where clouds keep their metadata service).
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")
_DNS = 53
_PORTS = "ports"  # the set of TCP ports of the gateway that hosts may reach


@dataclass(frozen=True, slots=True)
class Allowed:
    """One private address and port that hosts need although it is private (a resolver, a package archive)."""

    address: str
    port: int

    @property
    def is_private(self) -> bool:
        """Whether the general rule would stop packets to it."""
        address = IPv4Address(self.address)
        return any(address in IPv4Network(network) for network in PRIVATE)


_RULES = """\
table inet {table} {{
}}
delete table inet {table}
table inet {table} {{
  set {ports} {{
    type inet_service
{elements}  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{bridge}" oifname "{bridge}" accept
    oifname "{bridge}" ct state established,related accept
    oifname "{bridge}" reject
    iifname "{bridge}" ct state established,related accept
{exceptions}\
    iifname "{bridge}" meta nfproto ipv6 reject
    iifname "{bridge}" ip daddr {{ {private} }} reject
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "{bridge}" ct state established,related accept
    iifname "{bridge}" meta l4proto {{ icmp, ipv6-icmp }} accept
{resolvers}    iifname "{bridge}" ip daddr {gateway} tcp dport @{ports} accept
    iifname "{bridge}" reject
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {network} oifname != "{bridge}" masquerade
  }}
}}
"""


def render(
    lab: str, network: IPv4Network, gateway: IPv4Address, allowed: tuple[Allowed, ...], ports: Iterable[int] = ()
) -> str:
    """The nft commands that replace the lab's table in one transaction. `ports`: TCP ports of the gateway to open."""
    bridge = lab_object(lab)
    exceptions = _accepts(bridge, (item for item in allowed if item.is_private))
    resolvers = _accepts(bridge, (item for item in allowed if item.port == _DNS))
    opened = ", ".join(map(str, sorted(set(ports))))
    return _RULES.format(
        table=bridge, bridge=bridge, exceptions=exceptions, resolvers=resolvers, private=", ".join(PRIVATE),
        gateway=gateway, network=network, ports=_PORTS, elements=f"    elements = {{ {opened} }}\n" if opened else "",
    )  # fmt: skip


def _accepts(bridge: str, allowed: Iterable[Allowed]) -> str:
    return "".join(
        f'    iifname "{bridge}" ip daddr {item.address} {protocol} dport {item.port} accept\n'
        for item in dict.fromkeys(allowed)
        for protocol in ("tcp", "udp")
    )


def load(
    lab: str, network: IPv4Network, gateway: IPv4Address, allowed: tuple[Allowed, ...], ports: Iterable[int] = ()
) -> None:
    """Load the lab's rules; those of an earlier time are replaced."""
    procs.run(["nft", "-f", "-"], text_in=render(lab, network, gateway, allowed, ports))
    _open_foreign_chains(lab)


def open_ports(lab: str, ports: Iterable[int]) -> None:
    """Let the lab's hosts reach these TCP ports of the gateway, beside those that they may reach already."""
    if wanted := ", ".join(map(str, sorted(set(ports)))):
        procs.run(["nft", "-f", "-"], text_in=f"add element inet {lab_object(lab)} {_PORTS} {{ {wanted} }}\n")


def is_loaded(lab: str) -> bool:
    """Whether the lab's table is there, with its set of ports: one without it has the rules of an older gpuctl."""
    table = lab_object(lab)
    return table in tables(table) and f"set {_PORTS} " in procs.run(
        ["nft", "list", "table", "inet", table], check=False
    )


def unload(lab: str) -> None:
    """Remove the lab's rules; nothing there is fine."""
    _close_foreign_chains(lab)
    if lab_object(lab) in tables(lab_object(lab)):
        procs.run(["nft", "delete", "table", "inet", lab_object(lab)])


def tables(prefix: str = PREFIX) -> tuple[str, ...]:
    """Names of nft tables (family inet) that start with `prefix`."""
    if shutil.which("nft", path=procs.environment()["PATH"]) is None:
        return ()
    found = re.findall(r"^table inet (\S+)$", procs.run(["nft", "list", "tables"]), re.MULTILINE)
    return tuple(name for name in found if name.startswith(prefix))


def _open_foreign_chains(lab: str) -> None:
    """Let the lab's packets through a chain whose policy is to drop (docker, ufw): an accept of ours cannot undo that.

    What our own table rejects stays rejected: a packet has to pass both.
    """
    bridge = lab_object(lab)
    mark = ["-m", "comment", "--comment", bridge, "-j", "ACCEPT"]
    wanted = {"FORWARD": (["-i", bridge, *mark], ["-o", bridge, *mark]), "INPUT": (["-i", bridge, *mark],)}
    for chain, rules in wanted.items():
        shown = _iptables("-S", chain)
        if f"-P {chain} DROP" not in shown.splitlines():
            continue
        for rule in rules:
            if f"{rule[0]} {bridge} " not in shown:
                _iptables("-I", chain, *rule)


def _close_foreign_chains(lab: str) -> None:
    """Remove what `_open_foreign_chains` put there, found by its comment."""
    bridge = lab_object(lab)
    for chain in ("FORWARD", "INPUT"):
        for line in _iptables("-S", chain).splitlines():
            words = [word.strip('"') for word in line.split()]
            if words[:2] == ["-A", chain] and ("--comment", bridge) in itertools.pairwise(words):
                _iptables("-D", chain, *words[2:])


def _iptables(*arguments: str) -> str:
    if shutil.which("iptables", path=procs.environment()["PATH"]) is None:
        return ""
    return procs.run(["iptables", "-w", "10", *arguments], check=False)
