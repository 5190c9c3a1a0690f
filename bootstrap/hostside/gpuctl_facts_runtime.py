"""Facts about where runtimes keep their data: what containerd, Docker and the kubelet are configured to. Reads only."""

from __future__ import annotations

import glob
import json
import os
import re
from typing import Any, Mapping

from .gpuctl_base import listdir, read_text, run
from .gpuctl_toml import parse

CONTAINERD_CONFIG = "/etc/containerd/config.toml"
DOCKER_CONFIG = "/etc/docker/daemon.json"
DEFAULT_IMPORTS = "/etc/containerd/conf.d/*.toml"
PROGRAMS = ("/usr/bin/containerd", "/usr/sbin/containerd", "/usr/local/bin/containerd")
# Where gpuctl has set containerd up its file is the one that counts: systemd need not be asked.
RECEIPT = "/var/lib/gpuctl/receipts/containerd.json"
KUBELET_FILES = ("/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet", "/etc/sysconfig/kubelet")
ETCD_MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
# What gpuctl's own file decides, or carries over: nothing else of the main file is lost.
_KEPT = frozenset({"version", "root", "state", "imports", "disabled_plugins", "required_plugins", "temp"})
_DEEP = 3  # plugins → one plugin → its setting: deeper names say no more
_MANY = 64


def toml(text: str) -> dict[str, Any]:
    """A TOML file as nested dictionaries, by Python's own reader where it has one (3.11). Raises ValueError."""
    try:
        import tomllib
    except ImportError:
        return parse(text)
    return tomllib.loads(text)


def _flags(unit: str) -> list[str]:
    """The command line of a unit's running process; else that of its file."""
    pid = (run(["systemctl", "show", "-p", "MainPID", "--value", "--", unit]) or "").strip()
    words = (read_text("/proc/%s/cmdline" % pid) or "").split("\0") if pid.isdigit() and pid != "0" else []
    if len(words) > 1:
        return words[1:]
    found = re.search(r"argv\[\]=(.*?) ;", run(["systemctl", "show", "-p", "ExecStart", "--value", "--", unit]) or "")
    return found.group(1).split()[1:] if found else []


def flag(words: list[str], *names: str) -> str | None:
    """The value of the last of these flags, as --flag=VALUE or --flag VALUE; None when none is there."""
    value = None
    for position, word in enumerate(words):
        name, given, rest = word.partition("=")
        if name in names and given:
            value = rest
        elif word in names and position + 1 < len(words):
            value = words[position + 1]
    return value.strip("\"'") if value else None


def containerd(unit: str = "containerd.service") -> dict[str, Any] | None:
    """The ContainerdFacts of the controller; None where no containerd is configured or runs."""
    words = [] if os.path.exists(RECEIPT) or not any(map(os.path.exists, PROGRAMS)) else _flags(unit)
    named = flag(words, "--config", "-config", "-c")
    path = named or CONTAINERD_CONFIG
    text = read_text(path)
    if text is None and not words:
        return None
    facts: dict[str, Any] = {"root": None, "state": None, "imports": [], "settings": [], "error": None}
    facts["config"] = named if named and os.path.normpath(named) != CONTAINERD_CONFIG else None
    try:
        facts.update(read_containerd(text or "", path))
    except (ValueError, RecursionError) as error:
        facts["error"] = "%s: %s" % (path, error)
    facts["root"] = flag(words, "--root", "-root") or facts["root"]
    facts["state"] = flag(words, "--state", "-state") or facts["state"]
    return facts


def read_containerd(text: str, path: str = CONTAINERD_CONFIG) -> dict[str, Any]:
    """Root, state, imports and further settings of a configuration; imported files win. Raises ValueError."""
    tree = toml(text)
    listed = tree.get("imports")
    patterns = [p for p in listed if isinstance(p, str)] if isinstance(listed, list) else []
    imports = [os.path.normpath(os.path.join(os.path.dirname(path), pattern)) for pattern in patterns]
    found = {name: tree[name] for name in ("root", "state") if isinstance(tree.get(name), str) and tree[name]}
    error = None
    for name in _imported([*imports, DEFAULT_IMPORTS]):
        try:
            further = toml(read_text(name) or "")
        except (ValueError, RecursionError):
            continue  # containerd itself says so when the role asks for the merged configuration
        found.update({key: further[key] for key in ("root", "state") if isinstance(further.get(key), str)})
        disabled = further.get("disabled_plugins")
        if isinstance(disabled, list) and any(str(plugin).rpartition(".")[2] == "cri" for plugin in disabled):
            error = "%s disables the plugin cri" % name
    places = {key: os.path.normpath(str(value)) for key, value in found.items()}
    settings = sorted(_names({key: value for key, value in tree.items() if key not in _KEPT}))
    return {
        **places,
        "imports": [i for i in imports if i != DEFAULT_IMPORTS][:_MANY],
        "settings": settings[:_MANY],
        "error": error,
    }


def _imported(patterns: list[str]) -> list[str]:
    return list(dict.fromkeys(name for pattern in patterns for name in sorted(glob.glob(pattern))))


def _names(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[str]:
    """The dotted names of what a tree sets, a plugin's inner tables by their own name alone."""
    found: list[str] = []
    for key, value in tree.items():
        place = (*above, key if re.match(r"^[A-Za-z0-9_-]+$", key) else '"%s"' % key)
        if isinstance(value, dict) and len(place) < _DEEP:
            found += _names(value, place)
        elif value not in ({}, [], ""):
            found.append(".".join(place))
    return found


def docker_root() -> str | None:
    """The folder of Docker's data that daemon.json or a flag names; None for its own default."""
    try:
        tree = json.loads(read_text(DOCKER_CONFIG) or "{}")
    except ValueError:
        tree = {}
    given = tree.get("data-root") or tree.get("graph") if isinstance(tree, dict) else None
    there = bool(given) or os.path.exists("/usr/bin/dockerd")
    named = flag(_flags("docker.service"), "--data-root", "--graph", "-g") if there else None
    found = named or (given if isinstance(given, str) else None)
    return os.path.normpath(found) if found and found.startswith("/") else None


def kubelet_root() -> str | None:
    """The kubelet's --root-dir in the files that its unit reads; None for its own default."""
    for path in KUBELET_FILES:
        for line in (read_text(path) or "").split("\n"):
            _, given, value = line.partition("=")
            words = value.strip(" \t\r\"'").split() if given and not line.lstrip().startswith(("#", ";")) else []
            found = flag(words, "--root-dir")
            if found and found.startswith("/"):
                return os.path.normpath(found)
    return None


def etcd_root() -> str | None:
    """The data folder in etcd's manifest; None where there is none."""
    found = re.search(r"--data-dir=(/\S+)", read_text(ETCD_MANIFEST) or "")
    return os.path.normpath(found.group(1)) if found else None


def data_roots(seen: Mapping[str, Any] | None) -> dict[str, str]:
    """Component → folder of its data, of those that are configured to one; `seen` is what `containerd` found."""
    named = {"containerd": (seen or {}).get("root"), "docker": docker_root(), "kubelet": kubelet_root()}
    named["etcd"] = etcd_root()
    return {name: str(path) for name, path in named.items() if path}


def links_at_the_top() -> list[str]:
    """Symbolic links to folders in /, below which a setting may place data."""
    places = ["/" + name for name in listdir("/") if os.path.islink("/" + name) and os.path.isdir("/" + name)]
    return [place for place in places if not os.path.realpath(place).startswith("/usr/")]
