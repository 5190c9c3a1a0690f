"""A signed package source on a host: its key (checked by fingerprint), its CA, its login, its deb822 entry, its lists.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import base64
import glob
import os
import re
import ssl
import urllib.error
import urllib.request
from typing import Any, Dict, List, Mapping, Optional, Tuple
from urllib.parse import urlsplit

from .gpuctl_filesync import Wanted, sync
from .gpuctl_hostio import HostError, read_bytes
from .gpuctl_openpgp import ForeignKeyError, is_one_block, keyring
from .gpuctl_url import Address, parted

LISTS = "/var/lib/apt/lists"
FETCH_TIMEOUT_S = 30
_HEAD = "# Written by gpuctl; a later run undoes what is changed here.\n"


class Source:
    """One source as the settings give it."""

    def __init__(self, name: str, source: Mapping[str, Any], ca_path: Optional[str]) -> None:
        self.name = name
        self._address = parted(str(source["url"]).rstrip("/") + "/")
        self.url = self._address.url
        self.suite = str(source.get("suite") or "/")
        components = source.get("components") or []
        self.components = components.split() if isinstance(components, str) else [str(part) for part in components]
        self._key_address = parted(str(source["key_url"]))
        self.key_url = self._key_address.url
        wanted = source["key_fingerprint"]
        self.fingerprints = [_hex(one) for one in ([wanted] if isinstance(wanted, str) else wanted)]
        self.ca_path = ca_path or None

    @property
    def key_path(self) -> str:
        """Where apt finds the key: named by the key, since apt refuses one repository under two key files."""
        return f"/etc/apt/keyrings/gpuctl-{self.fingerprints[0]}.asc"

    @property
    def list_path(self) -> str:
        """The source's entry."""
        return f"/etc/apt/sources.list.d/gpuctl-{self.name}.sources"

    @property
    def conf_path(self) -> str:
        """Apt's settings for the source: which CA its server has."""
        return f"/etc/apt/apt.conf.d/90gpuctl-{self.name}"

    @property
    def pin_path(self) -> str:
        """Apt's preferences for the source."""
        return f"/etc/apt/preferences.d/gpuctl-{self.name}"

    @property
    def auth_path(self) -> str:
        """Where apt finds the login that its server asks for: apt reads it as root, nobody else can."""
        return f"/etc/apt/auth.conf.d/90gpuctl-{self.name}.conf"

    def auth_text(self) -> str:
        """The login in apt's form (apt_auth.conf(5)); empty where the address has none. HostError variable-invalid."""
        _, user, password = self._address
        if not user and not password:
            return ""
        if re.search(r"[\s\x00-\x1f\x7f]", user + password):
            raise HostError(
                "variable-invalid",
                f"the login for {self.url} has a blank in it, which apt cannot read",
                "give the mirror's account a password without blanks",
            )
        secret = f"password {password}\n" if password else ""
        return f"{_HEAD}machine {self.url}\nlogin {user}\n{secret}"

    def login_for_key(self) -> Address:
        """The key's address with the login that its server asks for: its own, or the source's where both are one."""
        theirs = self._key_address
        if theirs.user or _server(theirs.url) != _server(self.url):
            return theirs
        return self._address._replace(url=theirs.url)

    def entry(self, architecture: str) -> str:
        """The deb822 text. A suite that ends in a slash is a flat repository and has no components."""
        lines = ["Types: deb", f"URIs: {self.url}", f"Suites: {self.suite}"]
        if not self.suite.endswith("/"):
            lines.append(f"Components: {' '.join(self.components)}")
        lines += [f"Architectures: {architecture}", f"Signed-By: {self.key_path}"]
        return _HEAD + "\n".join(lines) + "\n"


def _server(url: str) -> Tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _hex(text: Any) -> str:
    return str(text).replace(" ", "").upper()


def pin_text(pins: List[Mapping[str, Any]]) -> str:
    """Apt preferences of [{"package", "pin", "priority"}]."""
    parts = [f"Package: {p['package']}\nPin: {p['pin']}\nPin-Priority: {p['priority']}\n" for p in pins]
    return _HEAD + "\n" + "\n".join(parts)


def checked_key(data: bytes, source: Source) -> str:
    """The text of the key file for apt: the keys that the settings name, and nothing else that stood in `data`.

    HostError key-mismatch when the data holds another key, or is no key file.
    """
    try:
        return keyring(data, source.fingerprints)
    except ForeignKeyError as error:
        raise HostError(
            "key-mismatch", f"{source.key_url} holds key {error}, expected {' or '.join(source.fingerprints)}", _KEY_FIX
        ) from error
    except ValueError as error:
        raise HostError("key-mismatch", f"{source.key_url} is no usable OpenPGP key: {error}", _KEY_FIX) from error


_KEY_FIX = "compare the fingerprint with the one that the vendor publishes, then set key_fingerprint of this source"


def fetch(address: Address, ca_path: Optional[str]) -> Tuple[bytes, bool]:
    """The body of an https address, and whether it took our CA to verify the server.

    HostError repository-unreachable.
    """
    url = address.url
    if urlsplit(url).scheme != "https":
        raise HostError("repository-unreachable", f"{url} is not an https address", "give the key's https address")
    try:
        return _get(address, None), False
    except urllib.error.URLError as error:
        if not (ca_path and isinstance(error.reason, ssl.SSLError)):
            raise _unreachable(url, error) from error
    except (OSError, ValueError) as error:
        raise _unreachable(url, error) from error
    try:
        return _get(address, ca_path), True
    except (OSError, ValueError) as error:
        raise _unreachable(url, error) from error


def _get(address: Address, ca_path: Optional[str]) -> bytes:
    context = ssl.create_default_context(cafile=ca_path)
    asked = urllib.request.Request(address.url)  # noqa: S310 - https only
    if address.user or address.password:
        login = base64.b64encode(f"{address.user}:{address.password}".encode()).decode("ascii")
        asked.add_unredirected_header("Authorization", f"Basic {login}")  # another server never gets it
    with urllib.request.urlopen(asked, timeout=FETCH_TIMEOUT_S, context=context) as answer:  # noqa: S310 - https only
        body: bytes = answer.read(1 << 20)
    return body


def _unreachable(url: str, error: Exception) -> HostError:
    reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", None) or error
    return HostError("repository-unreachable", f"{url}: {reason}", "check the address, the proxy and cluster_ca_file")


def lists_there(source: Source) -> bool:
    """Whether apt has fetched this source's lists (another component may share it)."""
    parts = urlsplit(source.url)
    place = _list_name(parts.netloc + parts.path)
    suite = _list_name(source.suite.strip("./"))
    if source.suite.endswith("/"):  # a flat repository
        names = glob.escape(f"{place}_{suite}" if suite else place) + "_Packages*"
    else:
        names = glob.escape(f"{place}_dists_{suite}_{_list_name((source.components or ['main'])[0])}") + "_*Packages*"
    return bool(glob.glob(f"{LISTS}/{names}"))


def _list_name(text: str) -> str:
    return text.strip("/").replace("_", "%5f").replace("/", "_")


def apply(
    component: str, source: Source, pins: List[Mapping[str, Any]], architecture: str, check: bool
) -> Dict[str, Any]:
    """Have the source; {"changed_files", "diff"}. The key is fetched only when the one on the host will not do."""
    key = _known_key(source)
    needs_ca = os.path.exists(source.conf_path)
    if not key or not _same_server(source):
        fetched, needs_ca = fetch(source.login_for_key(), source.ca_path)
        key = checked_key(fetched, source)
        if urlsplit(source.url).netloc != urlsplit(source.key_url).netloc:
            needs_ca = source.ca_path is not None and _needs_ca(source)
    files = [Wanted({"dest": source.key_path, "content": key, "mode": "0644"})]
    absent: List[str] = []
    if login := source.auth_text():
        files.append(Wanted({"dest": source.auth_path, "content": login, "mode": "0600", "secret": True}))
    else:
        absent.append(source.auth_path)
    if needs_ca and source.ca_path:
        host = urlsplit(source.url).hostname
        text = f'{_HEAD.replace("#", "//")}Acquire::https::{host}::CaInfo "{source.ca_path}";\n'
        files.append(Wanted({"dest": source.conf_path, "content": text}))
    else:
        absent.append(source.conf_path)
    if pins:
        files.append(Wanted({"dest": source.pin_path, "content": pin_text(pins)}))
    else:
        absent.append(source.pin_path)
    files.append(Wanted({"dest": source.list_path, "content": source.entry(architecture)}))
    return sync(component, files, absent, check)


def _known_key(source: Source) -> str:
    """The key that the host has for this source, checked like one that was fetched; empty when it will not do.

    One clean block stays as it is, however it is laid out: other components may have it among their evidence.
    """
    found = read_bytes(source.key_path)
    if found is None:
        return ""
    try:
        anew = checked_key(found, source)
    except HostError:
        return ""
    return found.decode("ascii") if is_one_block(found) else anew


def _same_server(source: Source) -> bool:
    """Whether the entry on the host already points to this server: then what its CA takes is known."""
    return f"URIs: {source.url}\n".encode() in (read_bytes(source.list_path) or b"")


def _needs_ca(source: Source) -> bool:
    try:
        _get(Address(source.url, "", ""), None)
    except urllib.error.HTTPError:
        return False  # the server was verified; a folder need not have a listing
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return True
        raise _unreachable(source.url, error) from error
    except OSError as error:
        raise _unreachable(source.url, error) from error
    return False
