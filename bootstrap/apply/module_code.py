"""The code of gpuctl's own Ansible modules as it goes to a host: packed once, unpacked there once, kept by its digest.

Ansible's own way sends a module with all that it imports at every call, and the host compiles it anew each time: about
0.2 s of the host's processor for each of some forty calls.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from bootstrap.content import content_root, playbooks_path

PLACE = "/run/gpuctl"  # root's, gone at the next boot
_START = """\
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bootstrap.hostside.gpuctl_module import main
main(sys.stdin, sys.stdout)
"""
# Code of other gpuctls goes: nobody else works on a host while its lock is held.
_UNPACK = """\
import base64, json, os, shutil, stat, tempfile, zlib
place, target = {place!r}, {target!r}
os.umask(0o077)
os.makedirs(place, mode=0o700, exist_ok=True)
found = os.lstat(place)
if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
    raise SystemExit(place + " is not a folder of root's: remove it")
os.chmod(place, 0o700)
folder = tempfile.mkdtemp(prefix="unpack-", dir=place)
for name, text in json.loads(zlib.decompress(base64.b64decode({packed!r})).decode()).items():
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
try:
    os.rename(folder, target)
except OSError:
    shutil.rmtree(folder)
    if not os.path.isdir(target):
        raise
for name in os.listdir(place):
    other = os.path.join(place, name)
    if name.startswith(("modules-", "unpack-")) and other != target:
        shutil.rmtree(other, ignore_errors=True)
"""


@cache
def files() -> Mapping[str, str]:
    """What is unpacked on a host: relative path → text."""
    found = {"bootstrap/__init__.py": "", "library/__init__.py": "", "start.py": _START}
    for path in sorted((content_root() / "bootstrap" / "hostside").glob("*.py")):
        found[f"bootstrap/hostside/{path.name}"] = path.read_text(encoding="utf-8")
    for path in sorted((playbooks_path() / "library").glob("*.py")):
        found[f"library/{path.name}"] = path.read_text(encoding="utf-8")
    return found


@cache
def folder() -> str:
    """Where this code lies on a host once it has been unpacked."""
    digest = hashlib.sha256(json.dumps(files(), sort_keys=True).encode()).hexdigest()
    return f"{PLACE}/modules-{digest[:32]}"


def read_ahead() -> None:
    """Read all of it now: Ansible forks for every task, and what its parent has read is read once."""
    folder()
    for name in files():
        if name.startswith("library/gpuctl_"):
            options(name.removeprefix("library/").removesuffix(".py"))


def unpacker() -> str:
    """A Python program that puts the code there, whole or not at all; needs root."""
    packed = base64.b64encode(zlib.compress(json.dumps(files()).encode(), 9)).decode()
    return _UNPACK.format(place=PLACE, packed=packed, target=folder())


@cache
def options(module: str) -> Mapping[str, Any]:
    """The options that the module documents, in the form of an argument spec.

    Raises:
        KeyError: there is no such module.
    """
    tree = ast.parse(files()[f"library/{module}.py"])
    texts = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["DOCUMENTATION"]
    ]
    documented = yaml.safe_load(texts[0])["options"]
    return {
        name: {key: value for key, value in option.items() if key != "description"}
        for name, option in documented.items()
    }
