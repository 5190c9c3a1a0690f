"""Facts about the network: addresses, routes, listeners, firewall, resolver, proxies. Reads only."""

from __future__ import annotations

import glob
import json
import os
import re
import socket
import struct
from typing import Any, Iterator

from .gpuctl_base import listdir, read_line, read_text, run

PORTS_OF_INTEREST = (6443, 10248, 10249, 10250, 10256, 10257, 10259, 2379, 2380, 2381)
OVERLAY = re.compile(r"^(flannel|cni|veth|cali|cilium|lxc|kube-|vxlan\.|weave|antrea)")  # interfaces of pod networks
RTM_NEWADDR, RTM_GETADDR, NLMSG_DONE, NLMSG_ERROR = 20, 22, 3, 2  # <linux/rtnetlink.h>, <linux/netlink.h>
IFA_ADDRESS, IFA_LOCAL = 1, 2  # <linux/if_addr.h>
DUMP = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH


def _netlink_addresses() -> Iterator[tuple[int, int, int, bytes]]:
    """(family, prefix length, interface index, address) of every address, by rtnetlink."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        link.settimeout(1.0)
        link.sendto(struct.pack("=IHHIIB3x4x", 24, RTM_GETADDR, DUMP, 1, 0, socket.AF_UNSPEC), (0, 0))
        while True:
            data = link.recv(1 << 16)
            while len(data) >= 16:
                length, kind = struct.unpack_from("=IH", data)
                if kind in (NLMSG_DONE, NLMSG_ERROR) or length < 16:
                    return
                if kind == RTM_NEWADDR:
                    family, prefix, _, _, index = struct.unpack_from("=BBBBI", data, 16)
                    found = dict(_attributes(data[24:length]))
                    yield family, prefix, index, found.get(IFA_LOCAL, found.get(IFA_ADDRESS, b""))
                data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind, data[4:length]
        data = data[(length + 3) & ~3 :]


def addresses() -> dict[str, list[str]]:
    """Interface → CIDR addresses; without loopback, link-local addresses and the interfaces of pod networks."""
    found: dict[str, list[str]] = {}
    for family, prefix, index, raw in _netlink_addresses():
        if family not in (socket.AF_INET, socket.AF_INET6) or not raw:
            continue
        name, address = socket.if_indextoname(index), socket.inet_ntop(family, raw)
        if name != "lo" and not OVERLAY.match(name) and not address.lower().startswith(("fe80:", "169.254.")):
            found.setdefault(name, []).append("%s/%d" % (address, prefix))
    return found


def macs() -> list[str]:
    """Hardware addresses of interfaces that are not made by software on this host; unset ones left out."""
    skip = re.compile(r"^(lo$|docker|br-|virbr|bond|dummy|tun|tap)")
    found = []
    for name in listdir("/sys/class/net"):
        address = read_line("/sys/class/net/%s/address" % name)
        if address and not skip.match(name) and not OVERLAY.match(name) and address != "00:00:00:00:00:00":
            found.append(address)
    return found


def interface_macs() -> dict[str, str]:
    """Interface → hardware address, of the interfaces that have an address; bonds, bridges and VLANs are among them."""
    read = {name: read_line("/sys/class/net/%s/address" % name) for name in addresses()}
    return {name: mac for name, mac in read.items() if mac and mac != "00:00:00:00:00:00"}


def parse_routes(text: str) -> list[tuple[str, str]]:
    """(destination CIDR, interface) for each line of /proc/net/route."""
    routes = []
    for line in text.split("\n")[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        try:
            destination = socket.inet_ntoa(struct.pack("=I", int(fields[1], 16)))
            prefix = bin(int(fields[7], 16)).count("1")
        except (ValueError, struct.error):
            continue
        routes.append(("%s/%d" % (destination, prefix), fields[0]))
    return routes


def routes() -> dict[str, Any]:
    """{"routes": destination CIDRs without the default one and pod networks, "default_interface": name or None}."""
    found = parse_routes(read_text("/proc/net/route") or "")
    default = [interface for destination, interface in found if destination == "0.0.0.0/0"]
    others = {d for d, interface in found if d != "0.0.0.0/0" and not OVERLAY.match(interface)}
    return {"routes": sorted(others), "default_interface": default[0] if default else None}


def parse_listeners(text: str) -> dict[int, str]:
    """Port → socket inode of each listening line of /proc/net/tcp or tcp6."""
    found = {}
    for line in text.split("\n")[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == "0A":
            found[int(fields[1].rpartition(":")[2], 16)] = fields[9]
    return found


def listeners() -> dict[str, str]:
    """TCP port → process name; named for the ports that Kubernetes wants, "?" for the others."""
    inodes: dict[int, str] = {}
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        inodes.update(parse_listeners(read_text(path) or ""))
    wanted = {"socket:[%s]" % inode: port for port, inode in inodes.items() if port in PORTS_OF_INTEREST}
    names = {str(port): "?" for port in sorted(inodes)}
    for pid in listdir("/proc") if wanted else ():
        if not pid.isdigit():
            continue
        for descriptor in listdir("/proc/%s/fd" % pid):
            try:
                port = wanted.pop(os.readlink("/proc/%s/fd/%s" % (pid, descriptor)), None)
            except OSError:
                continue
            if port is not None:
                names[str(port)] = read_line("/proc/%s/comm" % pid) or "?"
        if not wanted:
            break
    return names


# Where the name servers stand that a resolver on the host asks: systemd-resolved's, NetworkManager's.
UPSTREAM = ("/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf")
_NAMESERVER = re.compile(r"^[ \t]*nameserver[ \t]+(\S+)", re.MULTILINE)
_LOCAL = re.compile(r"127\.|0\.0\.0\.0$|::1?$|0*(:0*)*:0*1$")


def resolv_loop() -> bool:
    """Whether /etc/resolv.conf names a resolver on the host itself, which a pod cannot reach or would loop through."""
    return any(_LOCAL.match(server) for server in _servers("/etc/resolv.conf"))


def _servers(path: str) -> list[str]:
    return _NAMESERVER.findall(read_text(path) or "")


def resolv_conf() -> str | None:
    """The file with name servers that pods can reach, for a host that asks a local one; None without such a file."""
    for path in UPSTREAM:
        servers = _servers(path)
        if servers and not any(_LOCAL.match(server) for server in servers):
            return path
    return None


def firewall(units: dict[str, str]) -> str | None:
    """ufw, firewalld, nftables-drop (a base chain of hook input drops by default) or None."""
    if re.search(r"^\s*ENABLED=yes", read_text("/etc/ufw/ufw.conf") or "", re.MULTILINE | re.IGNORECASE):
        return "ufw"
    if units.get("firewalld.service", "").startswith("active"):
        return "firewalld"
    try:
        listed = json.loads(run(["nft", "-j", "list", "chains"]) or "{}").get("nftables", [])
    except ValueError:
        return None
    chains = [entry["chain"] for entry in listed if "chain" in entry]
    drops = any(c.get("hook") == "input" and c.get("policy") == "drop" for c in chains)
    return "nftables-drop" if drops else None


PROXY_FILES = (
    "/etc/environment",
    "/etc/systemd/system.conf",
    "/etc/systemd/system.conf.d/*.conf",
    "/etc/systemd/system/containerd.service.d/*.conf",
    "/etc/systemd/system/kubelet.service.d/*.conf",
)
PROXY = re.compile(r"\b((?:https?|no|all|ftp)_proxy)=(\"[^\"]*\"|'[^']*'|[^\s\"']*)", re.IGNORECASE)


def proxies() -> dict[str, str]:
    """Proxy variables of the system's environment files, lower-case name → value without user and password."""
    found = {}
    for pattern in PROXY_FILES:
        for path in sorted(glob.glob(pattern)):
            lines = [line for line in (read_text(path) or "").split("\n") if not line.lstrip().startswith(("#", ";"))]
            for name, value in PROXY.findall("\n".join(lines)):
                if value.strip("\"'"):
                    found[name.lower()] = re.sub(r"//[^/@]*@", "//", value.strip("\"'"))
    return found
