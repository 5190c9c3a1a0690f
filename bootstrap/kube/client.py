"""A client of the cluster's API: directly where it is reached, else through a tunnel on the ssh connection.

The only importer of the kubernetes package, which takes most of a second to load.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from bootstrap.access import Access
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_kube import PROFILE_ACCESS
from bootstrap.hostside.gpuctl_strictjson import parse_object, read_bounded
from bootstrap.inventory.model import Host
from bootstrap.kube.credentials import Credentials, credentials_from, kubeconfig_of, url
from bootstrap.kube.shape import not_of_its_kind
from bootstrap.probe.remote import reach, run_as_root
from bootstrap.probe.session import Session

ADMIN_CONF = "/etc/kubernetes/admin.conf"
# Of a minikube cluster: see bootstrap/minikube/access.py, which writes it.
_PROFILE_CONF = ["sh", "-c", f"cat {PROFILE_ACCESS}/*.conf"]
# What the kubernetes package, which takes the form of a kubeconfig for granted, and PyYAML raise for what is none.
_OF_STRANGE_FILES = (
    yaml.YAMLError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)
_DIRECT_TIMEOUT_S = 2.0
REQUEST_TIMEOUT_S = 15.0
# 5,000 pods with 10 KiB each, which is the longest list that is asked for; etcd itself takes objects of 1.5 MiB.
ANSWER_BYTES = 64 << 20
_ANSWER_S = 60.0  # for a list of that length over a slow tunnel
_WORDS = 4096  # of a refusal
_NOT_FOUND = 404
_FIRST_ERROR = 400
_FIRST_REDIRECT = 300
_ATTEMPTS = 3  # at connecting; urllib3's own default


class Cluster:
    """The calls that gpuctl makes, as plain JSON: paths in, parsed objects out."""

    def __init__(self, api_client: Any) -> None:
        self._client = api_client

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """GET; None when there is no such object (404)."""
        return self.call("GET", path, query=query, missing_ok=True)

    def delete(self, path: str) -> None:
        """DELETE in the background; nothing when it is not there."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background", "gracePeriodSeconds": 1}
        self.call("DELETE", path, body=body, missing_ok=True)

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """GET a text (pod logs). Raises ApiError."""
        return self._request("GET", path, query, None, "application/json")[1]

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        missing_ok: bool = False,
    ) -> dict[str, Any] | None:
        """One request.

        Raises:
            ApiError: the API refused it, did not answer or not as it should; `status` is the HTTP status (0: none),
                `message` its words.
        """
        try:
            _, answer = self._request(method, path, query, body, content_type)
        except ApiError as error:
            if error.status == _NOT_FOUND and missing_ok:
                return None
            raise
        return _object(path, answer)

    def _request(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, content_type: str
    ) -> tuple[int, str]:
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json, */*", "Content-Type": content_type}
        sent = self._client.param_serialize(
            method, path, query_params=list((query or {}).items()), header_params=headers, body=body
        )
        try:
            response = self._client.call_api(*sent, _request_timeout=REQUEST_TIMEOUT_S)
            answer = _read(response.response)
        except (HTTPError, OSError, ValueError) as error:
            raise ApiError(0, f"the API server does not answer: {error}") from error
        if response.status >= _FIRST_ERROR:
            raise ApiError(int(response.status), _words(answer))
        if response.status >= _FIRST_REDIRECT:
            elsewhere = str(response.response.headers.get("Location"))[:_WORDS]
            raise ApiError(int(response.status), f"the API server sends elsewhere, which is not followed: {elsewhere}")
        return int(response.status), answer


class ApiError(Exception):
    """The API's refusal of one request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@contextmanager
def cluster_api(seed: Host, access: Access) -> Iterator[Cluster]:
    """The API of the cluster that the seed belongs to, with the credentials of its admin.conf.

    Raises:
        GpuctlError: admin.conf cannot be read, or the API answers neither directly nor through a tunnel (exit 6).
    """
    with admin_api(seed, access) as (api, _):
        yield api


@contextmanager
def admin_api(seed: Host, access: Access) -> Iterator[tuple[Cluster, Credentials]]:
    """The same, with what admin.conf says."""
    with reach(seed, access) as session:
        found = read_admin_conf(session, seed, access)
        with _reach(session, seed, found.host, found.port) as (host, port):
            own = kubeconfig_of(found, "gpuctl", server=url(host, port), tls_server_name=found.host)
            yield client_of(own), found


@contextmanager
def kubeconfig_api(path: Path | None, context: str = "") -> Iterator[Cluster]:
    """The API of a context of a kubeconfig: its current one, and kubectl's own file, unless named.

    Raises:
        GpuctlError: the file or the context cannot be used (exit 3).
    """
    from kubernetes.client import ApiClient, Configuration
    from kubernetes.config import load_kube_config
    from kubernetes.config.config_exception import ConfigException

    settings = _settings()
    settings.proxy = None  # one that the kubeconfig names comes in its place
    try:
        load_kube_config(  # type: ignore[no-untyped-call]
            config_file=str(path) if path else None, context=context or None, client_configuration=settings
        )
        proxy = Configuration(host=settings.host).proxy  # the environment's, for an address of that kind
        if settings.proxy is None and proxy and not _answers_directly(settings.host, settings.ssl_ca_cert):
            settings.proxy = proxy
        client = ApiClient(configuration=settings)
    except (ConfigException, OSError, *_OF_STRANGE_FILES) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        fix = "name a kubeconfig with --kubeconfig and one of its contexts with --context"
        if context and f"name {context} " in what:
            what = f"there is no context {context}"
            start = f"`gpuctl minikube start --profile {context}`"
            fix = f"name another with --context; a minikube profile has one of its name while it runs: {start}"
        raise GpuctlError(ExitCode.SETTINGS, Problem("kubeconfig-unusable", f"kubeconfig: {what}", fix)) from error
    yield Cluster(client)


def read_admin_conf(session: Session, seed: Host, access: Access) -> Credentials:
    """What admin.conf says, or what root has in its place on a minikube host.

    Raises:
        GpuctlError: it cannot be read, or is not as it should be (exit 6).
    """
    result = run_as_root(session, seed, _PROFILE_CONF if seed.is_minikube else ["cat", ADMIN_CONF], access)
    if result.rc != 0:
        of_profile = "run `gpuctl minikube up --launch-agent -q QUEUE -e ENTITY`, which gives a profile an agent"
        fix = of_profile if seed.is_minikube else "run `gpuctl bootstrap` first"
        problem = Problem("no-cluster", f"no cluster here: {result.err.strip()}", fix, seed.name)
        raise GpuctlError(ExitCode.NOT_READY, problem)
    return credentials_from(seed.name, result.out)


@contextmanager
def _reach(session: Session, seed: Host, endpoint: str, port: int) -> Iterator[tuple[str, int]]:
    """(host, port) on which the API answers from here."""
    if seed.is_minikube and not seed.connection.local:
        # Its address is one of the host's own network: here it may be somebody else's.
        yield "127.0.0.1", session.forward(endpoint, port)
        return
    address = endpoint if seed.is_minikube else seed.connection.from_here
    try:
        socket.create_connection((address, port), timeout=_DIRECT_TIMEOUT_S).close()
    except OSError:
        yield "127.0.0.1", session.forward(endpoint if seed.is_minikube else "127.0.0.1", port)
    else:
        yield address, port


def client_of(config: dict[str, Any]) -> Cluster:
    """The API that the only cluster of a kubeconfig names, as its only user.

    It is reached without a proxy: its address is one that has answered here, or the near end of a tunnel.
    """
    from kubernetes.config.kube_config import new_client_from_config_dict

    settings = _settings()
    settings.proxy = None
    return Cluster(new_client_from_config_dict(config, client_configuration=settings))  # type: ignore[no-untyped-call]


def _settings() -> Any:
    """A client's configuration. It follows no redirect: a server does not choose whom this machine asks."""
    from kubernetes.client import Configuration
    from urllib3 import Retry

    settings = Configuration()
    settings.retries = Retry(_ATTEMPTS, redirect=0, raise_on_redirect=False)
    return settings


def _answers_directly(server: str, authority: str | None) -> bool:
    """Whether a proxy of the environment has no part in the way to a server: this machine, or a network next to it.

    A node of minikube's has an address that only its host knows, whatever NO_PROXY says. `authority` is the file of
    the CA that the server has to be of: a gateway may accept connections for addresses behind it.
    """
    url = urlsplit(server)
    if url.hostname == "localhost":
        return True
    try:
        address = ipaddress.ip_address(url.hostname or "")
    except ValueError:
        return False
    if address.is_loopback or not address.is_private:
        return address.is_loopback
    try:
        _greet(str(address), url.port or 443, authority)
    except (OSError, ValueError):
        return False
    return True


def _greet(address: str, port: int, authority: str | None) -> None:
    """Shake hands with a server of that CA. OSError, ValueError: there is none."""
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # more than clusters put into their certificates, from Python 3.13
    with (
        socket.create_connection((address, port), timeout=_DIRECT_TIMEOUT_S) as connection,
        context.wrap_socket(connection, server_hostname=address),
    ):
        pass


def _read(response: Any) -> str:
    """The body of an answer. ValueError: it is too long, or takes too long."""
    try:
        return read_bounded(response, ANSWER_BYTES, _ANSWER_S).decode("utf-8", "replace")
    finally:
        response.release_conn()


def _object(path: str, answer: str) -> dict[str, Any]:
    """The object that an answer is. Raises ApiError: it is none, or not of its kind's shape."""
    try:
        found = parse_object(answer)
    except ValueError as error:
        raise ApiError(0, f"the API server's answer to {path} cannot be read: {error}") from None
    if place := not_of_its_kind(path, found):
        raise ApiError(0, f"the API server's answer to {path} is not of its kind's form: {place}")
    return found


def _words(answer: str) -> str:
    """The message of a Status object, else the beginning of the answer."""
    try:
        return str(parse_object(answer).get("message", answer))[:_WORDS]
    except ValueError:
        return answer[:_WORDS]
