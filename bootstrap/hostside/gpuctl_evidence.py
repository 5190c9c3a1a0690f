"""Evidence: what a component left on the host, taken by the same code for its receipt and for every later check."""

from __future__ import annotations

import glob
import grp
import hashlib
import json
import os
import pwd
import stat
from datetime import datetime, timezone
from typing import Any, Iterable, Mapping

from .gpuctl_base import GONE, read_text, run, sysctl_path
from .gpuctl_receipts import read_before

UNKNOWN = "unknown"
ABSENT = "absent"
PRESENT = "present"
STAT = "stat"  # mode of evidence: size and modification time, for what would take long to read
JSON_KEYS = "json-keys "  # mode of evidence: the keys that the component named after it set, and no others
UNVERIFIED = "unverified"  # a key file of ours that holds more than one block, of which an older gpuctl saw the first
_KEYRINGS = "/etc/apt/keyrings/gpuctl-"
_KEY_BLOCK = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
DPKG_STATUS = "/var/lib/dpkg/status"


def parse_dpkg_status(text: str) -> dict[str, tuple[str, str]]:
    """Package name → (version, state) of every paragraph; state is dpkg's third status word, e.g. installed.

    A name that occurs for two architectures keeps the installed one.
    """
    packages: dict[str, tuple[str, str]] = {}
    for paragraph in text.split("\n\n"):
        name = version = state = ""
        for line in paragraph.split("\n"):
            if line.startswith("Package: "):
                name = line[9:].strip()
            elif line.startswith("Status: "):
                state = line.rsplit(" ", 1)[-1]
            elif line.startswith("Version: "):
                version = line[9:].strip()
        if name and (name not in packages or packages[name][1] != "installed"):
            packages[name] = (version, state)
    return packages


class Sources:
    """What evidence is read from. Packages are read once; units are asked for in one call by `load_units`."""

    def __init__(self, dpkg_status: str = DPKG_STATUS) -> None:
        self._dpkg_status = dpkg_status
        self._packages: dict[str, tuple[str, str]] | None = None
        self._packages_read = False
        self._units: dict[str, str] = {}

    def packages(self) -> dict[str, tuple[str, str]] | None:
        """All packages that dpkg knows, or None when its database cannot be read."""
        if not self._packages_read:
            text = read_text(self._dpkg_status)
            self._packages = None if text is None else parse_dpkg_status(text)
            self._packages_read = True
        return self._packages

    def installed(self) -> dict[str, str]:
        """Version of every installed package; empty when unknown."""
        return {name: version for name, (version, state) in (self.packages() or {}).items() if state == "installed"}

    def package(self, name: str) -> str:
        """The version installed; "absent"; "VERSION,STATE" when half done; "unknown"."""
        packages = self.packages()
        if packages is None:
            return UNKNOWN
        version, state = packages.get(name, ("", "not-installed"))
        if state in ("not-installed", "config-files", ""):
            return ABSENT
        return version if state == "installed" else version + "," + state

    def load_units(self, names: Iterable[str]) -> None:
        """Ask systemd about all these units at once."""
        wanted = sorted(set(names) - set(self._units))
        if wanted:
            self._units.update(unit_states(wanted))

    def unit(self, name: str) -> str:
        """State as "active,enabled"; "absent" when systemd does not know it; "unknown" when it does not answer."""
        self.load_units([name])
        return self._units[name]


def unit_states(names: list[str]) -> dict[str, str]:
    """State of each unit as "active,enabled" (ActiveState,UnitFileState), absent or unknown; one call of systemctl."""
    properties = ["-p", "Id", "-p", "LoadState", "-p", "ActiveState", "-p", "UnitFileState"]
    out = run(["systemctl", "show", "--no-pager", *properties, "--", *names], timeout_s=5.0)
    blocks = [b for b in (out or "").split("\n\n") if b.strip()]
    if len(blocks) != len(names):
        return dict.fromkeys(names, UNKNOWN)
    states = {}
    for name, block in zip(names, blocks):  # noqa: B905 - lengths are equal, and Python 3.8 has no strict=
        found = dict(line.split("=", 1) for line in block.strip().split("\n") if "=" in line)
        state = found.get("ActiveState", UNKNOWN) + "," + (found.get("UnitFileState") or "-")
        states[name] = ABSENT if found.get("LoadState") == "not-found" else state
    return states


def file_state(path: str, mode: str = "exact") -> str:
    """What stands at a path: "sha256:HEX,0644,root:root", "link:TARGET", "dir,0755,root:root", present or absent.

    "unverified,0644,root:root" is a key file of apt that is not what gpuctl writes.
    """
    try:
        found = os.lstat(path)
        if mode == PRESENT:
            return PRESENT
        if stat.S_ISLNK(found.st_mode):
            return "link:" + os.readlink(path)
        owner = "%04o,%s:%s" % (stat.S_IMODE(found.st_mode), _user(found.st_uid), _group(found.st_gid))
        if stat.S_ISDIR(found.st_mode):
            return "dir," + owner
        if not stat.S_ISREG(found.st_mode):
            return "special," + owner
        if mode == STAT:
            return "stat:%d:%d,%s" % (found.st_size, found.st_mtime_ns, owner)
        with open(path, "rb") as handle:
            data = handle.read()
        if mode.startswith(JSON_KEYS):
            return _json_keys(data.decode("utf-8", "replace"), path, mode[len(JSON_KEYS) :])
        if mode in _PARTS:
            return _PARTS[mode](data.decode("utf-8", "replace"))
        if path.startswith(_KEYRINGS) and not (data.startswith(_KEY_BLOCK) and data.count(b"-----BEGIN") == 1):
            return UNVERIFIED + "," + owner
        return "sha256:" + hashlib.sha256(data).hexdigest() + "," + owner
    except OSError as error:
        return ABSENT if error.errno in GONE else UNKNOWN


def _block(text: str) -> str:
    """Digest of gpuctl's block in a file that others own as well; absent when there is none."""
    _, begin, rest = text.partition("# BEGIN gpuctl\n")
    body, end, _ = rest.partition("# END gpuctl")
    return "block:" + hashlib.sha256(body.encode()).hexdigest() if begin and end else ABSENT


def _swap_lines(text: str) -> str:
    """The swap that fstab, or /proc/swaps, names: "no-swap", or the devices."""
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    places = [r[0] for r in rows if len(r) >= 3 and (r[2] == "swap" or (len(r) == 5 and r[1] in ("partition", "file")))]
    return "swap:" + ",".join(places) if places else "no-swap"


def _json_keys(text: str, path: str, component: str) -> str:
    """Digest of the keys that a component set in a JSON file that others own as well."""
    head = path + "#"
    ours = [key[len(head) :] for key in read_before(component).get("json_keys", {}) if key.startswith(head)]
    try:
        tree = json.loads(text or "{}")
    except ValueError:
        return "keys:invalid"
    values = {name: _value_at(tree, json.loads(name)) for name in ours}
    return "keys:" + hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _value_at(tree: Any, keys: list[str]) -> list[Any]:
    """The value in a list, which is empty when there is none."""
    for key in keys:
        if not isinstance(tree, dict) or key not in tree:
            return []
        tree = tree[key]
    return [tree]


# What counts of a file that is not ours alone, by the mode that a role's evidence gives it.
_PARTS = {"block": _block, "no-swap": _swap_lines}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def sysctl_state(name: str, root: str = "/proc/sys") -> str:
    """The value in force, white space normalised; absent when the kernel has no such key."""
    try:
        with open(sysctl_path(name, root)) as handle:
            return " ".join(handle.read().split())
    except OSError as error:
        return ABSENT if error.errno in GONE else UNKNOWN


def _paths(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern)) or [pattern] if glob.has_magic(pattern) else [pattern]


def take(spec: Mapping[str, Any], sources: Sources | None = None) -> dict[str, str]:
    """The evidence that a spec names, as it stands now: flat, key "kind:name" → value.

    spec: {"files": [{"path", "mode": "exact"|"present"|…}], "packages": [..], "units": [..], "sysctls": [..],
    "links": [..]}; all keys are optional.
    A glob gives one key per match, and its own key as absent when nothing matches.
    """
    found: dict[str, str] = {}
    now = sources or Sources()
    for entry in spec.get("files") or ():
        for path in _paths(entry["path"]):
            found["file:" + path] = file_state(path, entry.get("mode", "exact"))
    for path in spec.get("links") or ():
        found["link:" + path] = file_state(path)
    for name in spec.get("packages") or ():
        found["package:" + name] = now.package(name)
    units = list(spec.get("units") or ())
    now.load_units(units)
    for name in units:
        found["unit:" + name] = now.unit(name)
    for name in spec.get("sysctls") or ():
        found["sysctl:" + name] = sysctl_state(name)
    return found


def compare(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[dict[str, str | None]]:
    """What differs: [{"key", "was", "now", "when"}], sorted by key.

    Unknown counts as different. `when` is the modification time (UTC, ISO 8601) of files that are there, else None.
    """
    drift: list[dict[str, str | None]] = []
    for key in sorted(set(recorded) | set(now)):
        was, current = recorded.get(key, ABSENT), now.get(key, ABSENT)
        if was != current or current == UNKNOWN:
            drift.append({"key": key, "was": was, "now": current, "when": _changed_at(key)})
    return drift


def _changed_at(key: str) -> str | None:
    kind, _, path = key.partition(":")
    if kind not in ("file", "link"):
        return None
    try:
        seconds = int(os.lstat(path).st_mtime)
    except OSError:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
