"""The kubeconfig of a service account: whole, for one server, and with a token that ends."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml

from bootstrap.hostside.gpuctl_hostio import HostError
from bootstrap.hostside.gpuctl_kube import KubeError
from bootstrap.hostside.gpuctl_kubeaccount import (
    account_kubeconfig,
    account_token,
    delete_endless_token,
    wait_for_account,
)

PATH = "/api/v1/namespaces/wandb/serviceaccounts/agent"
SECRET = "/api/v1/namespaces/wandb/secrets/launch-agent-token"


class Answers:
    """An API that gives these answers, one after the other; the last one for good."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Any]] = []

    def request(self, method: str, path: str, body: Any = None) -> Any:
        self.asked.append((method, path, body))
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    def get(self, path: str) -> Any:
        return self.request("GET", path)


def token_of(api: Answers, wait_s: float = 5.0) -> str:
    return account_token(api, "wandb", "agent", 3600, wait_s)  # type: ignore[arg-type]


def test_the_context_is_the_token_at_the_server() -> None:
    found = yaml.safe_load(account_kubeconfig(b"PEM", "t.o.k", "https://api:6443", "gpuctl-lab"))
    assert found["current-context"] == "gpuctl-lab"
    assert found["clusters"][0]["cluster"] == {
        "server": "https://api:6443",
        "certificate-authority-data": base64.b64encode(b"PEM").decode(),
    }
    assert found["users"][0]["user"] == {"token": "t.o.k"}


def test_the_token_ends_after_the_time_that_is_asked_for() -> None:
    api = Answers({"status": {"token": "t.o.k"}})
    assert token_of(api) == "t.o.k"
    ((method, path, body),) = api.asked
    assert (method, path, body["spec"]) == ("POST", f"{PATH}/token", {"expirationSeconds": 3600})


def test_the_account_is_waited_for() -> None:
    api = Answers(KubeError(404, "404 not found"), {"metadata": {}})
    wait_for_account(api, "wandb", "agent")  # type: ignore[arg-type]
    assert len(api.asked) == 2


@pytest.mark.parametrize(
    "answer", [KubeError(404, "404 not found"), KubeError(403, "403 no"), {}, {"status": {}}, None]
)
def test_without_a_token_there_is_none(answer: Any) -> None:
    with pytest.raises(HostError) as caught:
        token_of(Answers(answer), wait_s=0.1)
    assert caught.value.code == "launch-account-missing"


@pytest.mark.parametrize(("account", "deleted"), [("agent", True), ("other", False)])
def test_only_the_accounts_own_endless_token_is_deleted(account: str, deleted: bool) -> None:
    api = Answers({"metadata": {"annotations": {"kubernetes.io/service-account.name": account}}})
    assert delete_endless_token(api, "wandb", "launch-agent-token", "agent") is deleted  # type: ignore[arg-type]
    assert [asked[:2] for asked in api.asked] == [("GET", SECRET)] + [("DELETE", SECRET)] * deleted


def test_no_endless_token_is_none_to_delete() -> None:
    api = Answers(KubeError(404, "404 not found"))
    assert delete_endless_token(api, "wandb", "launch-agent-token", "agent") is False  # type: ignore[arg-type]
