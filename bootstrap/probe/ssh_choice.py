"""Whether paramiko can make a connection, or OpenSSH itself must: decided before connecting (docs/decisions/0024)."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.probe.known_hosts import KnownHosts, read_known_hosts
from bootstrap.probe.ssh_keys import Offer, certificate_of

if TYPE_CHECKING:
    from bootstrap.probe.ssh_config import Target

# Options whose every value is honoured over paramiko (the session, the way there, keys and known_hosts).
_HONOURED = frozenset(
    {
        "addressfamily",
        "connecttimeout",
        "controlpath",
        "globalknownhostsfile",
        "gssapiauthentication",
        "hashknownhosts",
        "host",
        "hostkeyalias",
        "hostname",
        "identitiesonly",
        "identityfile",
        "kbdinteractiveauthentication",
        "passwordauthentication",
        "port",
        "proxyjump",
        "stricthostkeychecking",
        "user",
        "userknownhostsfile",
    }
)
# Options that change neither where a connection ends nor whom it trusts nor as whom it logs in: the terminal,
# forwardings that gpuctl does not ask for, a length of life that gpuctl ends itself, how canonical names were found.
_INDIFFERENT = frozenset(
    {
        "addkeystoagent",
        "batchmode",
        "canonicaldomains",
        "canonicalizefallbacklocal",
        "canonicalizehostname",
        "canonicalizemaxdots",
        "canonicalizepermittedcnames",
        "channeltimeout",
        "clearallforwardings",
        "compression",
        "connectionattempts",
        "controlmaster",
        "controlpersist",
        "dynamicforward",
        "enableescapecommandline",
        "enablesshkeysign",
        "escapechar",
        "exitonforwardfailure",
        "fingerprinthash",
        "forkafterauthentication",
        "forwardagent",
        "forwardx11",
        "forwardx11timeout",
        "forwardx11trusted",
        "gatewayports",
        "gssapidelegatecredentials",
        "gssapikexalgorithms",
        "gssapirenewalforcesrekey",
        "gssapitrustdns",
        "hostbasedacceptedalgorithms",
        "ignoreunknown",
        "ipqos",
        "localcommand",
        "localforward",
        "loglevel",
        "logverbose",
        "numberofpasswordprompts",
        "obscurekeystroketiming",
        "permitlocalcommand",
        "permitremoteopen",
        "rekeylimit",
        "remoteforward",
        "requesttty",
        "sendenv",
        "serveralivecountmax",
        "serveraliveinterval",
        "setenv",
        "stdinnull",
        "streamlocalbindmask",
        "streamlocalbindunlink",
        "syslogfacility",
        "tag",
        "tcpkeepalive",
        "tunnel",
        "tunneldevice",
        "updatehostkeys",
        "versionaddendum",
        "visualhostkey",
        "xauthlocation",
    }
)
_TICKETS = "/tmp/krb5cc_"  # noqa: S108 - MIT Kerberos' own default
_ASK_S = 5.0


def deviating(found: Mapping[str, tuple[str, ...]], usual: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Options with another value than OpenSSH's own that paramiko does not honour; those unknown to us among them."""
    keys = set(found) - _HONOURED - _INDIFFERENT
    return tuple(sorted(key for key in keys if found[key] != usual.get(key) and not _says_the_same(key, found[key])))


def _says_the_same(key: str, values: tuple[str, ...]) -> bool:
    """Other words for the usual value, and the ways to log in that Ansible leaves where there is no password."""
    if key == "preferredauthentications":
        return "publickey" in values[0].split(",")
    return (key, values) in (("proxycommand", ("none",)), ("identityagent", ("SSH_AUTH_SOCK",)))


def why_openssh(target: Target, offers: Mapping[Target, tuple[Offer, ...]]) -> tuple[str, ...]:
    """What paramiko cannot do on the way to a host; empty: nothing. `offers` are the keys for each hop and the host."""
    return tuple(dict.fromkeys(reason for hop in (*target.jumps, target) for reason in _reasons(hop, offers[hop])))


def _reasons(hop: Target, offers: tuple[Offer, ...]) -> Iterator[str]:
    yield from hop.beyond
    if read_known_hosts(hop.known_hosts).authority(hop.known_as):
        yield "host certificates"
    for offer in offers:
        if offer.kind.startswith("sk-"):
            yield "hardware keys"
        elif "-cert-" in offer.kind or (offer.path and certificate_of(offer.path)):
            yield "user certificates"
    if hop.gssapi and _has_ticket():
        yield "GSSAPI"
    if shared_connection(hop):
        yield "a shared connection"


def known_hosts_of(target: Target) -> KnownHosts:
    """What is known on the whole way to a host."""
    return read_known_hosts([file for hop in (*target.jumps, target) for file in hop.known_hosts])


def _has_ticket() -> bool:
    """Whether a Kerberos ticket may be there: GSSAPIAuthentication is on in Debian's ssh_config for everyone."""
    if os.environ.get("KRB5CCNAME") or any(Path(_TICKETS).parent.glob(f"{Path(_TICKETS).name}{os.getuid()}*")):
        return True
    if shutil.which("klist") is None:
        return False
    try:
        return subprocess.run(["klist", "-s"], stdin=subprocess.DEVNULL, timeout=_ASK_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def shared_connection(target: Target) -> bool:
    """Whether the user keeps a connection open (ControlPath): with a second factor, the only way there."""
    path = target.control_path or "none"
    if path.lower() == "none" or "%" in path or not _is_socket(path):
        return False
    argv = [target.program, "-F", "none", "-S", path, "-O", "check", "gpuctl"]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except OSError:
        return False
