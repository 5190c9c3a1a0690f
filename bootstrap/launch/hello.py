"""The program of the hello job: its text is sent as `python3 -c`, and it runs in the job's container.

Standard library only, Python 3.7 and later. It says which GPUs it sees, then registers its run with the W&B server,
as the client would: without that the agent counts the job as failed. One JSON line each, so that a log cut short still
says how far it came. No text here may look like a macro or a template variable of Launch: they would be filled in.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from os import environ as own_environment
from pathlib import Path
from typing import Any

SEEN = "gpuctl_hello"  # key of the first line
REGISTERED = "gpuctl_run"  # key of the second: "registered", or what went wrong
_TIMEOUT_S = 10.0
_TRIES = 3  # a server that restarts just now is no reason to fail
_PAUSE_S = 3.0
_UPSERT = (
    "mutation UpsertBucket($name: String, $project: String, $entity: String, $displayName: String) "
    "{ upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, displayName: $displayName}) "
    "{ bucket { id name displayName project { id name entity { id name } } } inserted } }"
)


def look(device_names: Iterable[str], environ: Mapping[str, str]) -> dict[str, Any]:
    """What the container sees: names in /dev, and the driver's variable.

    A MIG slice has no device file of its own: slices are counted by their names in the variable.
    """
    devices = sorted(name for name in device_names if re.match(r"nvidia[0-9]+$", name))
    visible = environ.get("NVIDIA_VISIBLE_DEVICES", "")
    slices = [part for part in visible.split(",") if part.startswith("MIG-")]
    return {SEEN: 1, "gpus": len(slices) or len(devices), "devices": devices, "visible": visible[:300]}


def register(environ: Mapping[str, str]) -> str:
    """Make the run known and end it well; "registered", or what went wrong."""
    needed = ("WANDB_BASE_URL", "WANDB_API_KEY", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_RUN_ID")
    missing = [name for name in needed if not environ.get(name)]
    if missing:
        return "the container's environment lacks " + ", ".join(missing)
    base, _, entity, project, run = (environ[name] for name in needed)
    names = {"name": run, "project": project, "entity": entity, "displayName": environ.get("WANDB_NAME") or run}
    body = {"query": _UPSERT, "variables": names, "operationName": "UpsertBucket"}
    url = base.rstrip("/")
    try:
        answer = _post(url + "/graphql", body, environ["WANDB_API_KEY"])
        if answer.get("errors"):
            return "the W&B server says: " + "; ".join(str(e.get("message", e)) for e in answer["errors"])
        if not (answer.get("data") or {}).get("upsertBucket"):
            return "the W&B server did not register the run"
        stream = "/".join((url, "files", *(urllib.parse.quote(name, safe="") for name in (entity, project, run))))
        _post(stream + "/file_stream", {"complete": True, "exitcode": 0}, environ["WANDB_API_KEY"])
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{base}: {getattr(error, 'reason', error)}"
    return "registered"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key goes to the server that the job was given, and to no other."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing: the answer is an error then."""


def _post(url: str, body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The JSON object that the server answers. Raises OSError and ValueError."""
    basic = "Basic " + base64.b64encode(("api:" + key).encode()).decode()
    headers = {"Authorization": basic, "Content-Type": "application/json"}
    if not url.startswith(("http://", "https://")):
        raise ValueError("no http or https address")
    for attempt in range(_TRIES):
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - checked above
        try:
            opener = urllib.request.build_opener(NoRedirect)
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                found = json.loads(answer.read() or b"null")
                return found if isinstance(found, dict) else {}
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == _TRIES - 1:
                raise ValueError(f"HTTP {error.code} {error.reason} for {url}") from None
        except OSError:
            if attempt == _TRIES - 1:
                raise
        time.sleep(_PAUSE_S)
    raise OSError("no answer")


def main() -> int:
    """Say both lines; 0 when the run is registered."""
    print(json.dumps(look((path.name for path in Path("/dev").iterdir()), own_environment)), flush=True)  # noqa: T201 - the log is its answer
    outcome = register(own_environment)
    print(json.dumps({REGISTERED: outcome}), flush=True)  # noqa: T201
    return 0 if outcome == "registered" else 1


if __name__ == "__main__":
    sys.exit(main())
