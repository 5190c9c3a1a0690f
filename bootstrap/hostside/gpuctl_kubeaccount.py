"""A kubeconfig for a service account, made on a control plane with a token of the account that ends.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.parse import quote

from .gpuctl_hostio import HostError
from .gpuctl_kube import Api, KubeError

# The account is applied just before; a busy control plane takes a few seconds.
ACCOUNT_WAIT_S = 60.0
_NOT_FOUND = 404


def account_token(api: Api, namespace: str, account: str, lifetime_s: int, wait_s: float = ACCOUNT_WAIT_S) -> str:
    """A token of the account that ends, after `lifetime_s` seconds or whatever less the API server allows.

    Raises:
        HostError: launch-account-missing: there is no such account, or the API makes no token for it.
    """
    path = "/api/v1/namespaces/%s/serviceaccounts/%s" % (quote(namespace), quote(account))
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": lifetime_s},
    }
    found: Any = _patiently(lambda: api.request("POST", path + "/token", asked), namespace, account, wait_s)
    token = ((found or {}).get("status") or {}).get("token")
    if not isinstance(token, str) or not token:
        raise _missing(namespace, account, "the API made no token for it")
    return token


def wait_for_account(api: Api, namespace: str, account: str, wait_s: float = ACCOUNT_WAIT_S) -> None:
    """Until the account is there. Raises HostError launch-account-missing."""
    path = "/api/v1/namespaces/%s/serviceaccounts/%s" % (quote(namespace), quote(account))
    _patiently(lambda: api.get(path), namespace, account, wait_s)


def account_kubeconfig(ca: bytes, token: str, server: str, name: str) -> str:
    """The text of a kubeconfig (JSON, which is YAML) whose one context, `name`, is the token's account at `server`."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(ca).decode("ascii")}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return json.dumps(document, indent=1) + "\n"


def delete_endless_token(api: Api, namespace: str, secret: str, account: str) -> bool:
    """Delete the account's Secret with a token that never ends, as older releases made it; whether there was one."""
    path = "/api/v1/namespaces/%s/secrets/%s" % (quote(namespace), quote(secret))
    try:
        meta = api.get(path).get("metadata") or {}
        if (meta.get("annotations") or {}).get("kubernetes.io/service-account.name") != account:
            return False
        api.request("DELETE", path)
    except KubeError as error:
        if error.status == _NOT_FOUND:
            return False
        raise HostError(
            "launch-account-missing", "secret %s/%s: %s" % (namespace, secret, error), "run gpuctl bootstrap"
        ) from error
    return True


def _patiently(call: Any, namespace: str, account: str, wait_s: float) -> Any:
    until = time.monotonic() + wait_s
    while True:
        try:
            return call()
        except KubeError as error:
            if error.status != _NOT_FOUND or time.monotonic() > until:
                raise _missing(namespace, account, str(error)) from error
        time.sleep(0.5)


def _missing(namespace: str, account: str, words: str) -> HostError:
    return HostError(
        "launch-account-missing", "service account %s/%s: %s" % (namespace, account, words), "run gpuctl bootstrap"
    )
