"""Files of runs: uploaded to an address that the server hands out, listed, and read again.

They are kept as text in the state; what is no UTF-8 is not kept faithfully.
"""

from __future__ import annotations

import base64
import hashlib
import re
from urllib.parse import quote

from tests.doubles.wandb_api.execution import Node
from tests.doubles.wandb_api.store import Record, Store, now

PREFIX = "/_upload/"  # the address is the permission, as with signed ones: clients send no key to it
_LIMIT = 256 * 1024  # bytes of a file that are kept


def address(base_url: str, run: Record, name: str) -> str:
    """Where a file of a run is written to and read from."""
    where = (quote(part, safe="") for part in (run["entity"], run["project"], run["name"]))
    return f"{base_url}{PREFIX}{'/'.join(where)}/{quote(name, safe='/')}"


def keep(store: Store, path: str, content: bytes) -> None:
    """A file that was uploaded; `path` is ENTITY/PROJECT/RUN/NAME."""
    text = content[:_LIMIT].decode("utf-8", errors="replace")
    store.data["files"][path] = {"size": len(content), "text": text, "updatedAt": now()}


def content_of(store: Store, path: str) -> bytes | None:
    """What was uploaded there."""
    found = store.data["files"].get(path)
    return found["text"].encode() if found else None


def listed(store: Store, base_url: str, run: Record, arguments: Record) -> list[Node]:
    """The files of a run: all, those of `names`, or those whose name is like `pattern` (% stands for anything)."""
    top = f"{run['entity']}/{run['project']}/{run['name']}/"
    names = sorted(path.removeprefix(top) for path in store.data["files"] if path.startswith(top))
    if arguments.get("names"):
        names = [name for name in names if name in arguments["names"]]
    if arguments.get("pattern"):
        like = ".*".join(re.escape(part) for part in arguments["pattern"].split("%"))
        names = [name for name in names if re.fullmatch(like, name)]
    return [_file(store, base_url, run, name) for name in names]


def _file(store: Store, base_url: str, run: Record, name: str) -> Node:
    path = f"{run['entity']}/{run['project']}/{run['name']}/{name}"
    content = content_of(store, path) or b""
    digest = hashlib.md5(content, usedforsecurity=False).digest()
    url = address(base_url, run, name)
    return {
        "__typename": "File", "id": base64.b64encode(path.encode()).decode(), "name": name, "url": lambda _: url,
        "directUrl": url, "sizeBytes": len(content), "mimetype": "text/plain",
        "updatedAt": store.data["files"][path]["updatedAt"], "md5": base64.b64encode(digest).decode(),
    }  # fmt: skip
