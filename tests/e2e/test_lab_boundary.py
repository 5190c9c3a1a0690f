"""What a lab's rules let its hosts reach of this machine: the real nft rules, with network namespaces as hosts."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

import pytest

from bootstrap.testvm import firewall, network
from bootstrap.testvm.names import lab_object
from tests.e2e.tool import wait_for

LANE_COST_S = 10
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="nft rules need root"),
    pytest.mark.skipif(not shutil.which("nft") or not shutil.which("ip"), reason="needs nft and ip"),
]
# Asks from inside a namespace: whether each connection is taken.
_ASK = """
import json, socket, sys
found = []
for family, *address in json.load(sys.stdin):
    with socket.socket(family) as asked:
        asked.settimeout(1)
        found.append(asked.connect_ex(tuple(address)) == 0)
print(json.dumps(found))
"""
# An echo request by a raw socket: the program ping need not be there. The kernel fills in the sum of ICMPv6 itself.
_PING = """
import socket, sys
six = ":" in sys.argv[1]
family, protocol, ask, answer = (10, 58, 128, 129) if six else (2, 1, 8, 0)
with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
    raw.settimeout(2)
    total = 0xFFFF - ((ask << 8) + 0x6770 + 1)
    raw.sendto(bytes([ask, 0]) + total.to_bytes(2, "big") + bytes([0x67, 0x70, 0, 1]), (sys.argv[1], 0))
    got = b""
    while (got if six else got[20:])[:1] != bytes([answer]):
        got = raw.recv(200)
"""
FOUR, SIX = int(socket.AF_INET), int(socket.AF_INET6)
Target = tuple[int, str, int] | tuple[int, str, int, int, int]  # family, address, port; flow and interface for IPv6


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30).stdout


@dataclass(frozen=True)
class Made:
    """A lab's bridge and rules with one host: a namespace."""

    name: str
    subnet: network.Subnet

    @property
    def host(self) -> str:
        return str(self.subnet.host(0))

    @property
    def gateway(self) -> str:
        return str(self.subnet.gateway)

    def asks(self, *targets: Target) -> list[bool]:
        """Whether the host reaches each."""
        argv = ["ip", "netns", "exec", f"ns-{self.name}", sys.executable, "-c", _ASK]
        done = subprocess.run(argv, input=json.dumps(targets), capture_output=True, text=True, timeout=60, check=True)
        answer: list[bool] = json.loads(done.stdout)
        return answer

    def pings(self, address: str) -> bool:
        argv = ["ip", "netns", "exec", f"ns-{self.name}", sys.executable, "-c", _PING, address]
        return subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 0


@contextmanager
def lab(name: str, third: int, ports: list[int], allowed: tuple[firewall.Allowed, ...] = ()) -> Iterator[Made]:
    made = Made(name, network.Subnet(IPv4Network(f"10.222.{third}.0/24")))
    cable, space = f"vb-{name}", f"ns-{name}"
    try:
        network.ensure(name, made.subnet, allowed, ports)
        ip("netns", "add", space)
        ip("link", "add", cable, "type", "veth", "peer", "name", "host0", "netns", space)
        ip("link", "set", cable, "master", lab_object(name), "up")
        ip("-n", space, "link", "set", "lo", "up")
        ip("-n", space, "address", "add", f"{made.host}/24", "dev", "host0")
        ip("-n", space, "address", "add", "fd00:6770::11/64", "dev", "host0", "nodad")
        ip("-n", space, "link", "set", "host0", "up")
        ip("-n", space, "route", "add", "default", "via", made.gateway)
        yield made
    finally:
        network.remove(name)
        subprocess.run(["ip", "netns", "delete", space], capture_output=True, timeout=30, check=False)


@contextmanager
def served() -> Iterator[int]:
    """A port that takes connections at every address of this machine, over IPv4 and IPv6."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
def labs() -> Iterator[tuple[Made, Made]]:
    tag = f"{os.getpid() % 46656:x}"[:4]
    with lab(f"x{tag}", 7, []) as first, lab(f"y{tag}", 8, []) as second:
        yield first, second


def test_hosts_reach_the_mirror_and_icmp_and_nothing_else(
    labs: tuple[Made, Made], figure: Callable[[str], None]
) -> None:
    mine, other = labs
    bridge = lab_object(mine.name)
    # An address of this machine on another network, as its uplink has one, and one of IPv6 on the lab's own.
    ip("address", "add", "10.222.9.1/32", "dev", "lo")
    ip("address", "add", "fd00:6770::1/64", "dev", bridge, "nodad")
    link_local = next(
        entry["local"]
        for link in json.loads(ip("-j", "-6", "address", "show", "dev", bridge))
        for entry in link["addr_info"]
        if entry["scope"] == "link"
    )
    index, inside = socket.if_nametoindex(bridge), _index_inside(mine)
    try:
        with served() as mirror, served() as closed, _in_namespace(other) as theirs:
            forbidden: dict[str, Target] = {
                "another port of the gateway": (FOUR, mine.gateway, closed),
                "an address of another network": (FOUR, "10.222.9.1", closed),
                "the mirror's port there": (FOUR, "10.222.9.1", mirror),
                "the other lab's gateway": (FOUR, other.gateway, closed),
                "the mirror's port there, too": (FOUR, other.gateway, mirror),
                "a host of the other lab": (FOUR, other.host, theirs),
                "IPv6": (SIX, "fd00:6770::1", closed),
                "the mirror's port over IPv6": (SIX, "fd00:6770::1", mirror),
                "IPv6, link-local": (SIX, link_local, closed, 0, inside),
            }
            from_here = {**forbidden, "IPv6, link-local": (SIX, link_local, closed, 0, index)}
            wait_for("all of it to listen", lambda: all(_reached(target) for target in from_here.values()), 10)
            assert mine.asks((FOUR, mine.gateway, mirror)) == [False], "nothing is open unless asked for"
            firewall.open_ports(mine.name, [mirror])
            assert mine.asks((FOUR, mine.gateway, mirror)) == [True]
            reached = [name for name, ok in zip(forbidden, mine.asks(*forbidden.values()), strict=True) if ok]
            figure(f"places of this machine and of other labs that a lab's host tried: {len(forbidden)}, "
                   f"reached: {len(reached)}")  # fmt: skip
            assert reached == []
            assert mine.pings(mine.gateway)
            assert mine.pings("fd00:6770::1")
    finally:
        ip("address", "del", "10.222.9.1/32", "dev", "lo")


def test_the_machines_own_resolver_is_reached_by_its_port_alone() -> None:
    tag = f"{os.getpid() % 46656:x}"[:4]
    ip("address", "add", "10.222.9.53/32", "dev", "lo")
    try:
        resolver = firewall.Allowed("10.222.9.53", 53)
        with lab(f"z{tag}", 9, [], (resolver,)) as made, socket.socket() as dns, socket.socket() as web:
            for server, port in ((dns, 53), (web, 80)):
                server.bind(("10.222.9.53", port))
                server.listen()
            assert made.asks((FOUR, "10.222.9.53", 53), (FOUR, "10.222.9.53", 80)) == [True, False]
    finally:
        ip("address", "del", "10.222.9.53/32", "dev", "lo")


def test_rules_of_an_older_gpuctl_are_replaced() -> None:
    name = f"w{os.getpid() % 46656:x}"[:5]
    subnet = network.Subnet(IPv4Network("10.222.10.0/24"))
    try:
        old = f"table inet {lab_object(name)} {{\n}}\n"
        subprocess.run(["nft", "-f", "-"], input=old, text=True, check=True, timeout=30)
        assert not firewall.is_loaded(name)
        firewall.load(name, subnet.network, IPv4Address("10.222.10.1"), (), [8443])
        assert firewall.is_loaded(name)
    finally:
        firewall.unload(name)


def _index_inside(made: Made) -> int:
    return int(json.loads(ip("-n", f"ns-{made.name}", "-j", "link", "show", "dev", "host0"))[0]["ifindex"])


@contextmanager
def _in_namespace(made: Made) -> Iterator[int]:
    """A service on the host of a lab."""
    code = (
        "import socket,sys\ns=socket.socket()\ns.bind(('0.0.0.0',0))\ns.listen()\n"
        "print(s.getsockname()[1],flush=True)\nsys.stdin.read()"
    )
    argv = ["ip", "netns", "exec", f"ns-{made.name}", sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield int(process.stdout.readline())
        process.stdin.close()


def _reached(target: Target) -> bool:
    """Whether this machine itself reaches it: what nobody can reach shows nothing."""
    family, *address = target
    with socket.socket(family) as asked:
        asked.settimeout(2)
        return asked.connect_ex(tuple(address)) == 0
