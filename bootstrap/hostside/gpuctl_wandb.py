"""Whether a W&B server takes a key, and has what a Launch agent is to work for.

Standard library only, Python 3.8 and later: this code runs on the hosts, and on the controller before any change.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import urllib.error
import urllib.request
from typing import Any, Dict, List, Mapping, Optional

from .gpuctl_hostio import HostError
from .gpuctl_strictjson import misshapen, parse_object, read_bounded

TIMEOUT_S = 10.0
# 200 runs or agents with a KiB each are asked for at most, and queues of 64 KiB.
ANSWER_BYTES = 16 << 20
ERROR_BYTES = 1 << 20
ANSWER_S = 60.0
_WORDS = 2000  # of a refusal
# The project that holds an entity's queues; the client knows no other.
PROJECT = "model-registry"
# The client's own rule (wandb 0.31): what follows the first dash, or all of it.
_KEY = re.compile(r"(?:[^-]*-)?[A-Za-z0-9_-]{40,}")
_VIEWER = "query Viewer { viewer { id username } }"
_ENTITY = "query EntityIsTeam($entity: String!) { entity(name: $entity) { id isTeam } }"
_QUEUES = (
    "query ProjectRunQueues($entity: String!, $projectName: String!) "
    "{ project(entityName: $entity, name: $projectName) { runQueues { id name createdBy access } } }"
)


def key_complaint(key: str) -> str:
    """Why a text cannot be an API key, without showing it; empty when it can."""
    if _KEY.fullmatch(key):
        return ""
    return "the W&B API key is no key: %d characters where 40 or more of A-Z a-z 0-9 _ - belong" % len(key)


# As far as any query here asks; what stands under `config` and `schema` is the user's.
_ID = (str, int)
_ANY = (dict, str)
_QUEUE_ITEM = {"id": _ID, "state": str, "associatedRunId": str, "error": _ANY}
_RUN = {"name": str, "state": str, "jobType": str, "heartbeatAt": str}
_AGENT = {
    "id": _ID,
    "name": str,
    "hostname": str,
    "agentStatus": str,
    "heartbeatAt": str,
    "runQueues": [(dict, str, int)],
}
_QUEUE = {
    "id": _ID,
    "prioritizationMode": str,
    "defaultResourceConfigID": _ID,
    "runQueueItem": _QUEUE_ITEM,
    "runQueueItems": {"edges": [{"node!": {"state": str}}]},
}
_CONFIG = {"config": _ANY, "resource": str, "templateVariables": [{"name!": str, "schema": _ANY}]}
_DATA = {
    "viewer": {"username": str},
    "entity": {"defaultResourceConfig": _CONFIG},
    "project": {
        "runQueues": [{"id": _ID, "name!": str}],
        "launchAgents": [_AGENT],
        "runQueue": _QUEUE,
        "runs": {"edges": [{"node": _RUN}]},
        "run": {"state": str},
    },
    "upsertRunQueue": {"success": bool, "configSchemaValidationErrors": [(dict, str)]},
    "pushToRunQueueByName": {"runQueueItemId": _ID},
    "deleteFromRunQueue": {},
}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key goes to the server that was named, and to no other."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing: the answer is an error then."""


class Server:
    """A W&B server as one key sees it; `ca_text` is the PEM of a private CA, empty for the system's own."""

    def __init__(self, base_url: str, api_key: str, ca_text: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self.base_url = base_url.rstrip("/")
        self._authorization = "Basic " + base64.b64encode(("api:" + api_key).encode()).decode()
        self._ca_text = ca_text
        self._timeout_s = timeout_s

    def ask(self, query: str, variables: Mapping[str, Any]) -> Dict[str, Any]:
        """The data that a GraphQL query returns.

        Raises:
            HostError: launch-server-unreachable, launch-key-refused, launch-refused (the server's own words).
        """
        name = query.split("(")[0].split()[1]
        body = json.dumps({"query": query, "variables": dict(variables), "operationName": name}).encode()
        headers = {"Authorization": self._authorization, "Content-Type": "application/json"}
        if not self.base_url.startswith(("https://", "http://")):
            raise HostError("launch-server-unreachable", "%s is no http or https address" % self.base_url, _URL_FIX)
        try:
            request = urllib.request.Request(self.base_url + "/graphql", body, headers)  # noqa: S310 - checked above
            opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=self._context()))
            with opener.open(request, timeout=self._timeout_s) as answer:
                found = parse_object(read_bounded(answer, ANSWER_BYTES, ANSWER_S).decode("utf-8", "replace"))
            place = "" if found.get("errors") else misshapen({"data": _DATA}, found)
            if place:
                raise ValueError("its answer to %s is not of the expected form: %s" % (name, place))
        except urllib.error.HTTPError as error:
            raise self._refused(error) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
            words = "the W&B server %s does not answer: %s" % (self.base_url, reason.strip())
            fix = _CA_FIX if "CERTIFICATE_VERIFY" in reason else _URL_FIX
            raise HostError("launch-server-unreachable", words, fix) from error
        words = _said(found.get("errors"))
        if words:
            raise HostError("launch-refused", "the W&B server %s says: %s" % (self.base_url, words), _ACCESS_FIX)
        return found.get("data") or {}

    def _context(self) -> Optional[ssl.SSLContext]:
        if not self._ca_text:
            return None
        context = ssl.create_default_context()
        context.load_verify_locations(cadata=self._ca_text)
        return context

    def _refused(self, error: urllib.error.HTTPError) -> HostError:
        if error.code in (401, 403):
            return self.stranger()
        if 300 <= error.code < 400:
            words = "the W&B server %s sends elsewhere: %s" % (self.base_url, error.headers.get("Location"))
            return HostError("launch-server-unreachable", words, "give the address that it names")
        said = _errors_in(error) if error.code < 500 else ""
        if said:
            return HostError("launch-refused", "the W&B server %s says: %s" % (self.base_url, said), _ACCESS_FIX)
        words = "the W&B server %s answers %d %s" % (self.base_url, error.code, error.reason)
        return HostError("launch-server-unreachable", words, _URL_FIX)

    def stranger(self) -> HostError:
        """The error of a key that the server does not know."""
        return HostError("launch-key-refused", "the W&B server %s does not know the API key" % self.base_url, _KEY_FIX)


def _errors_in(error: urllib.error.HTTPError) -> str:
    """What a GraphQL server says in an answer with an error status; empty when it is none of GraphQL's."""
    try:
        return _said(parse_object(read_bounded(error, ERROR_BYTES, ANSWER_S).decode("utf-8", "replace")).get("errors"))
    except (OSError, ValueError, http.client.HTTPException):
        return ""


def _said(errors: Any) -> str:
    """The messages of a list of errors; empty without any."""
    listed = errors if isinstance(errors, list) else [errors] if errors else []
    return "; ".join(str(one.get("message", one) if isinstance(one, dict) else one) for one in listed)[:_WORDS]


_URL_FIX = "look whether the address (launch_agent_base_url, --base-url) is right and can be reached from here"
_CA_FIX = "name its CA: cluster_ca_file of the inventory, or SSL_CERT_FILE in the environment"
_KEY_FIX = "copy the key anew: it must be one of this server"
_ACCESS_FIX = "look whether the key's user may do this for the entity"


def check_server(server: Server, entity: str, queues: List[str]) -> None:
    """See that the key is good, the entity there, and each queue in it.

    Raises:
        HostError: of `ask`, launch-entity-unknown, launch-queue-unknown.
    """
    if not server.ask(_VIEWER, {}).get("viewer"):
        raise server.stranger()
    if not server.ask(_ENTITY, {"entity": entity}).get("entity"):
        raise HostError(
            "launch-entity-unknown",
            "%s has no entity %s, or the key may not see it" % (server.base_url, entity),
            "name your user or team (launch_agent_entity, --entity)",
        )
    project = server.ask(_QUEUES, {"entity": entity, "projectName": PROJECT}).get("project") or {}
    there = sorted(str(queue["name"]) for queue in project.get("runQueues") or [])
    missing = [name for name in queues if name not in there]
    if missing:
        raise HostError(
            "launch-queue-unknown",
            "entity %s has no queue %s (it has: %s)" % (entity, ", ".join(missing), ", ".join(there) or "none"),
            "make it with `gpuctl launch queue apply %s --preset job -e %s`" % (missing[0], entity),
        )
