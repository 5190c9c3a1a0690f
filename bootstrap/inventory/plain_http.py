"""Whether an API key would go over a network unencrypted."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

CODE = "launch-key-unencrypted"
FIX = "give an https address (launch_agent_base_url, WANDB_BASE_URL)"


def unencrypted(base_url: str, *, lab: bool = False, from_here: bool = False) -> str:
    """The warning about a server's address; empty where no network sees the key: https, loopback, a lab.

    `from_here`: only this machine sends the key, so that an address of its own is as good as loopback.
    """
    try:
        parts = urlsplit(base_url)
        host = parts.hostname or ""
    except ValueError:
        return ""  # whoever uses the address says what is wrong with it
    if parts.scheme.lower() != "http" or lab or _loopback(host) or (from_here and _own(host)):
        return ""
    return f"the W&B server's address begins with http://: whoever sees the traffic to {host} has the API key"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _own(host: str) -> bool:
    """Whether it is an address of this machine; names are not looked up."""
    try:
        version = ipaddress.ip_address(host).version
        with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except (ValueError, OSError):
        return False
    return True
