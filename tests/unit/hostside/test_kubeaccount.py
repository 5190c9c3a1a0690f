"""The kubeconfig of a service account: whole, for one server, and never without a token."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml

from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_kube import KubeError
from bootstrap.hostside.gpuctl_kubeaccount import account_kubeconfig

FULL = {"token": base64.b64encode(b"t.o.k").decode(), "ca.crt": base64.b64encode(b"PEM").decode()}


class OneSecret:
    """An API with one Secret whose data are these, one after the other."""

    def __init__(self, *data: dict[str, str] | None) -> None:
        self.data = list(data)

    def get_id(self, identity: str) -> Any:
        assert identity == "v1/Secret/wandb/launch-agent-token"
        found = self.data.pop(0) if len(self.data) > 1 else self.data[0]
        if found is None:
            raise KubeError(404, "404 not found")
        return {"data": found}


def made(api: OneSecret, wait_s: float = 5.0) -> str:
    return account_kubeconfig(api, "wandb", "launch-agent-token", "https://api:6443", "gpuctl-lab", wait_s)  # type: ignore[arg-type]


def test_the_context_is_the_account_at_the_server() -> None:
    found = yaml.safe_load(made(OneSecret(FULL)))
    assert found["current-context"] == "gpuctl-lab"
    assert found["contexts"][0]["context"] == {"cluster": "gpuctl-lab", "user": "gpuctl-lab", "namespace": "wandb"}
    assert found["clusters"][0]["cluster"] == {
        "server": "https://api:6443",
        "certificate-authority-data": FULL["ca.crt"],
    }
    assert found["users"][0]["user"] == {"token": "t.o.k"}


def test_it_waits_for_the_token() -> None:
    assert "t.o.k" in made(OneSecret({"ca.crt": "x"}, {}, FULL))


@pytest.mark.parametrize("data", [None, {}, {"token": FULL["token"]}])
def test_without_a_token_there_is_none(data: dict[str, str] | None) -> None:
    with pytest.raises(HostError) as caught:
        made(OneSecret(data), wait_s=0.1)
    assert caught.value.code == "launch-account-missing"
