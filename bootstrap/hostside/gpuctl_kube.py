"""A tiny client for the Kubernetes API, for use on a control plane host with its own admin.conf.

Also on the host of a minikube cluster, where `gpuctl minikube up` leaves root a kubeconfig of the profile.
"""

from __future__ import annotations

import base64
import glob
import hashlib
import http.client
import json
import os
import re
import ssl
import time
from typing import Any, Mapping
from urllib.parse import quote, urlsplit

ADMIN_CONF = "/etc/kubernetes/admin.conf"
# One kubeconfig, PROFILE.conf, for the profile that gpuctl has put something into (bootstrap/minikube/access.py).
PROFILE_ACCESS = "/var/lib/gpuctl/minikube-access"
CONTROLLER_CONF = "/etc/kubernetes/controller-manager.conf"
MANAGER = "gpuctl"
RECEIPT_PREFIX = "gpuctl-receipt-"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class KubeError(Exception):
    """The API said no, or nothing: `status` is the HTTP status, 0 when there was no answer; `body` is what it sent."""

    def __init__(self, status: int, message: str, body: Any = None) -> None:
        self.status = status
        self.body = body
        Exception.__init__(self, message)


def kubeconfig_value(text: str, key: str) -> bytes | None:
    """The value of `KEY-data` (base64), or the content of the file that `KEY` names, in a kubeconfig with one entry.

    Raises OSError when the file cannot be read, ValueError on bad base64.
    """
    found = _entry(text, key + "-data")
    if found is not None:
        return base64.b64decode(found, validate=True)
    path = _entry(text, key)
    if path is None:
        return None
    with open(path, "rb") as handle:
        return handle.read()


def admin_conf() -> str:
    """The kubeconfig by which root administers the cluster that this host is of; kubeadm's where there is none."""
    profiles = [] if os.path.exists(ADMIN_CONF) else sorted(glob.glob(PROFILE_ACCESS + "/*.conf"))
    return profiles[0] if profiles else ADMIN_CONF


def kubeconfig_server(text: str) -> str | None:
    """The first server URL of a kubeconfig."""
    return _entry(text, "server")


def _own_server() -> str | None:
    """The server on this host, which kubeadm gives its controller manager; None where there is none."""
    try:
        with open(CONTROLLER_CONF, encoding="utf-8") as handle:
            return kubeconfig_server(handle.read())
    except (OSError, ValueError):
        return None


def _entry(text: str, key: str) -> str | None:
    match = re.search(r"^[ \t-]*%s:[ \t]+(\S+)[ \t\r]*$" % re.escape(key), text, re.MULTILINE)
    return match.group(1).strip("'\"") or None if match else None


def _tls(text: str) -> ssl.SSLContext:
    """A context that verifies the server; the client key is handed over in memory and never touches a disk."""
    authority = kubeconfig_value(text, "certificate-authority")
    if authority is None:
        raise ValueError("kubeconfig without certificate-authority")
    context = ssl.create_default_context(cadata=authority.decode("ascii"))
    certificate = kubeconfig_value(text, "client-certificate")
    key = kubeconfig_value(text, "client-key")
    if certificate and key:
        memory = os.memfd_create("gpuctl-client")
        try:
            os.write(memory, certificate + b"\n" + key)
            context.load_cert_chain("/proc/self/fd/%d" % memory)
        finally:
            os.close(memory)
    return context


class Api:
    """One kept connection to the API. A request may take `timeout_s` seconds, all of them together `total_s`."""

    def __init__(
        self, server: str, context: ssl.SSLContext, timeout_s: float = 30.0, total_s: float | None = None
    ) -> None:
        parts = urlsplit(server)
        self._address = (parts.hostname or "", parts.port or 443)
        self.server = server
        self._context = context
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + total_s if total_s is not None else None
        self._connection: http.client.HTTPSConnection | None = None
        self._plurals: dict[str, dict[str, tuple[str, bool]]] = {}

    @classmethod
    def from_admin_conf(cls, path: str = "", timeout_s: float = 30.0, total_s: float | None = None) -> Api:
        """The API that a kubeconfig names, by default `admin_conf()`. Raises OSError (unreadable) or ValueError.

        With this host's admin.conf it is the host's own server: the endpoint's name may lead to another control plane,
        which may be down, or no longer in the cluster.
        """
        path = path or admin_conf()
        with open(path, encoding="utf-8") as handle:
            text = handle.read()
        server = (_own_server() if path == ADMIN_CONF else None) or kubeconfig_server(text)
        if server is None:
            raise ValueError(path + " names no server")
        return cls(server, _tls(text), timeout_s, total_s)

    def _connect(self) -> http.client.HTTPSConnection:
        left = self._timeout_s
        if self._deadline is not None:
            left = min(left, self._deadline - time.monotonic())
        if left <= 0:
            raise KubeError(0, "no answer from https://%s:%d in time" % self._address)
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(*self._address, timeout=left, context=self._context)
        elif self._connection.sock is not None:
            self._connection.sock.settimeout(left)
        return self._connection

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """The decoded answer to one request. `body` may be str, bytes or anything JSON. Raises KubeError."""
        data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        raw_body = data.encode() if isinstance(data, str) else data
        headers = {"Accept": "application/json"}
        if raw_body is not None:
            headers["Content-Type"] = content_type
        kept = self._connection is not None
        try:
            try:
                return _decode(*self._exchange(method, path, raw_body, headers))
            except (ConnectionError, http.client.BadStatusLine):
                if not kept:
                    raise
                self.close()  # the server may end an idle connection at any time: once more on a new one
                return _decode(*self._exchange(method, path, raw_body, headers))
        except (OSError, http.client.HTTPException) as error:
            self.close()
            where = "https://%s:%d" % self._address
            raise KubeError(0, "%s: %s" % (where, str(error) or type(error).__name__)) from error

    def _exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = self._connect()
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()

    def get(self, path: str) -> Any:
        """The object or list at a path. Raises KubeError, status 404 when it is not there."""
        return self.request("GET", path)

    def path_of(self, api_version: str, kind: str, namespace: str, name: str) -> str:
        """The REST path of an object; plurals are asked once per group. Raises KubeError (404: no such kind)."""
        base = ("/apis/" if "/" in api_version else "/api/") + api_version
        if api_version not in self._plurals:
            kinds = {}
            for entry in self.get(base).get("resources") or ():
                if "/" not in entry["name"]:
                    kinds[entry["kind"]] = (entry["name"], bool(entry["namespaced"]))
            self._plurals[api_version] = kinds
        if kind not in self._plurals[api_version]:
            raise KubeError(404, "the API has no kind %s in %s" % (kind, api_version))
        plural, namespaced = self._plurals[api_version][kind]
        scope = "/namespaces/" + quote(namespace or "default") if namespaced else ""
        return base + scope + "/" + plural + ("/" + quote(name) if name else "")

    def forget_kinds(self) -> None:
        """Ask anew which kinds there are: some may have come."""
        self._plurals.clear()

    def get_id(self, identity: str) -> Any:
        """The object of "apiVersion/kind/namespace/name". Raises KubeError."""
        return self.get(self.path_of(*split_id(identity)))

    def apply(self, obj: Mapping[str, Any], force: bool = False) -> Any:
        """Server-side apply as field manager gpuctl; returns the object. Raises KubeError, status 409 on conflicts."""
        path = self.path_of(*split_id(object_id(obj)))
        query = "?fieldManager=%s&force=%s" % (MANAGER, "true" if force else "false")
        return self.request("PATCH", path + query, obj, APPLY)

    def close(self) -> None:
        """End the connection; the next request makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _decode(status: int, raw: bytes) -> Any:
    try:
        found = json.loads(raw) if raw else None
    except ValueError:
        found = raw.decode("utf-8", "replace")
    if status < 400:
        return found
    said = found.get("message") if isinstance(found, dict) else found
    raise KubeError(status, "%d %s" % (status, said or http.client.responses.get(status, "")), found)


def receipt_name(component: str) -> str:
    """The name of the ConfigMap with a component's receipt: Kubernetes allows no underscore in it."""
    return RECEIPT_PREFIX + component.replace("_", "-")


def object_id(obj: Mapping[str, Any]) -> str:
    """The key of an object in a receipt: "apiVersion/kind/namespace/name", namespace empty for cluster-wide kinds."""
    meta = obj["metadata"]
    return "/".join((obj["apiVersion"], obj["kind"], meta.get("namespace") or "", meta["name"]))


def split_id(identity: str) -> tuple[str, str, str, str]:
    """(apiVersion, kind, namespace, name) of a key made by `object_id`."""
    version, kind, namespace, name = identity.rsplit("/", 3)
    return version, kind, namespace, name


def owned_digest(obj: Mapping[str, Any], manager: str = MANAGER) -> str:
    """sha256 over the values of the fields that `manager` owns by apply, as managedFields (FieldsV1) lists them.

    Of a Secret's data it takes only which fields are owned: a sum of a short password could be guessed. Nobody changes
    one of them without becoming its owner.
    """
    owned: list[list[Any]] = []
    for entry in obj.get("metadata", {}).get("managedFields") or ():
        if entry.get("manager") == manager and entry.get("operation") == "Apply":
            _collect(entry.get("fieldsV1") or {}, obj, "", owned)
    if obj.get("kind") == "Secret":
        owned = [[path, value is not None if path.startswith("/f:data/") else value] for path, value in owned]
    owned.sort(key=lambda pair: str(pair[0]))
    text = json.dumps(owned, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def last_writer(obj: Mapping[str, Any], manager: str = MANAGER) -> tuple[str, str] | None:
    """(manager, time) of the newest change by anyone else to the object itself, not its status; None without one."""
    others = [
        (str(entry.get("time") or ""), str(entry.get("manager") or "?"))
        for entry in obj.get("metadata", {}).get("managedFields") or ()
        if entry.get("manager") != manager and not entry.get("subresource")
    ]
    return (max(others)[1], max(others)[0]) if others else None


def _collect(fields: Mapping[str, Any], value: Any, path: str, owned: list[list[Any]]) -> None:
    """Append [path, value] for each leaf of a FieldsV1 tree; a field that is gone has the value null."""
    for key in sorted(fields):
        if key == ".":
            owned.append([path + "/.", value is not None])
            continue
        child = _step(value, key)
        if fields[key]:
            _collect(fields[key], child, path + "/" + key, owned)
        else:
            owned.append([path + "/" + key, child])


def _step(value: Any, key: str) -> Any:
    """Go down one FieldsV1 key: f:NAME (map), k:{keys} (list of maps), v:VALUE (set), i:INDEX."""
    kind, _, rest = key.partition(":")
    if kind == "f":
        return value.get(rest) if isinstance(value, dict) else None
    if not isinstance(value, list):
        return None
    if kind == "k":
        wanted = json.loads(rest)
        matches = [
            v for v in value if isinstance(v, dict) and all(v.get(k, _default(k)) == w for k, w in wanted.items())
        ]
        return matches[0] if matches else None
    if kind == "v":
        wanted = json.loads(rest)
        return wanted if wanted in value else None
    return value[int(rest)] if int(rest) < len(value) else None


def _default(key: str) -> Any:
    return "TCP" if key == "protocol" else None  # the one list key with a default that older servers leave out
