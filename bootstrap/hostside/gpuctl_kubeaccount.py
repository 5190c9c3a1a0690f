"""A kubeconfig for a service account, made on a control plane from the account's token Secret.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any, Mapping

from .gpuctl_hostio import HostError
from .gpuctl_kube import Api, KubeError

# The token controller fills such a Secret within a second; a busy control plane takes a few.
TOKEN_WAIT_S = 60.0


def account_kubeconfig(
    api: Api, namespace: str, secret: str, server: str, name: str, wait_s: float = TOKEN_WAIT_S
) -> str:
    """The text of a kubeconfig (JSON, which is YAML) whose one context, `name`, is the Secret's account at `server`.

    Raises:
        HostError: launch-account-missing: there is no such Secret, or nobody has put a token into it.
    """
    until = time.monotonic() + wait_s
    while True:
        data = _secret(api, namespace, secret)
        if data.get("token") and data.get("ca.crt"):
            break
        if time.monotonic() > until:
            raise HostError(
                "launch-account-missing",
                "secret %s/%s has had no token for %.0f s" % (namespace, secret, wait_s),
                "look at the log of kube-controller-manager: it makes tokens of service accounts",
            )
        time.sleep(0.5)
    cluster = {"server": server, "certificate-authority-data": data["ca.crt"]}
    user = {"token": base64.b64decode(data["token"]).decode("ascii")}
    context = {"cluster": name, "user": name, "namespace": namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }
    return json.dumps(document, indent=1) + "\n"


def _secret(api: Api, namespace: str, secret: str) -> Mapping[str, Any]:
    try:
        found = api.get_id("v1/Secret/%s/%s" % (namespace, secret))
    except KubeError as error:
        raise HostError(
            "launch-account-missing", "secret %s/%s: %s" % (namespace, secret, error), "run gpuctl bootstrap"
        ) from error
    data: Mapping[str, Any] = found.get("data") or {}
    return data
