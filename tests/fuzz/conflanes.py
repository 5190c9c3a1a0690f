"""What a host hands over as admin.conf, made hostile, and the lanes that let somebody in by it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from bootstrap.errors import GpuctlError
from bootstrap.kube.client import client_of
from bootstrap.kube.credentials import Account, credentials_from, kubeconfig_of, url
from bootstrap.kube.kubeconfig import entry_of, merge
from bootstrap.ui.problems import problem_lines
from tests.fuzz.controller import Bait
from tests.unit.certificates import admin_config, token

ACCOUNT = Account("wandb", "launch-agent")
# All that a kubeconfig of ours has.
_KEYS = frozenset({
    "server", "certificate-authority-data", "tls-server-name", "client-certificate-data", "client-key-data", "token",
})  # fmt: skip


def answers(bait: Bait) -> Mapping[str, Callable[[dict[str, Any]], str]]:
    """By name: what becomes of a good one."""
    texts = bait.texts()
    touch = ["sh", "-c", f"touch {bait.marker}"]
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": touch[0], "args": touch[1:]}
    gcp = {"name": "gcp", "config": {"cmd-path": str(bait.marker), "access-token": "", "expiry": ""}}

    def user(**more: Any) -> Callable[[dict[str, Any]], str]:
        return lambda good: _with(good, "users", "user", more)

    def cluster(**more: Any) -> Callable[[dict[str, Any]], str]:
        return lambda good: _with(good, "clusters", "cluster", more)

    secret = str(bait.secret)
    return {
        "exec": user(exec=run),
        "auth-provider": user(**{"auth-provider": gcp}),
        "tokenFile": user(tokenFile=secret),
        "client-key": user(**{"client-key": secret, "client-certificate": secret}),
        "certificate-authority": cluster(**{"certificate-authority": secret}),
        "proxy-url": cluster(**{"proxy-url": "http://192.0.2.1:3128"}),
        "no TLS": cluster(**{"insecure-skip-tls-verify": True}),
        "server of a file": cluster(server=texts["address of a file"]),
        "server in templates": cluster(server=f"https://{texts['look-up pipe']}:6443"),
        "second user": lambda good: yaml.safe_dump(
            good | {"users": [*good["users"], {"name": "b", "user": {"exec": run}}]}
        ),
        "YAML tag": lambda good: yaml.safe_dump(good) + f"x: {texts['YAML tag']}\n",
        "YAML aliases": lambda good: _laughs() + yaml.safe_dump(good),
    }


def _with(good: dict[str, Any], section: str, kind: str, more: Mapping[str, Any]) -> str:
    changed = copy.deepcopy(good)
    changed[section][0][kind].update(more)
    return yaml.safe_dump(changed)


def _laughs() -> str:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines) + "\n"


def good(lane: str) -> dict[str, Any]:
    """What a host that is not hostile hands over in a lane."""
    config = admin_config()
    if lane == "launch":
        config["users"][0]["user"] = {"token": token(ACCOUNT.namespace, ACCOUNT.name)}
    return config


def lanes(folder: Path) -> Mapping[str, Callable[[str], list[str]]]:
    """By name: a host's text in, what is shown of it out."""

    def bootstrap(text: str) -> list[str]:
        found = credentials_from("cp1", text)
        entry = entry_of(found, "lab", "127.0.0.1")
        merge(folder / "kubeconfig", entry, use_context=True)
        client_of(entry)
        return _checked(entry)

    def verify(text: str) -> list[str]:
        found = credentials_from("cp1", text)
        document = kubeconfig_of(found, "gpuctl", server=url("127.0.0.1", found.port), tls_server_name=found.host)
        client_of(document)
        return _checked(document)

    def launch(text: str) -> list[str]:
        found = credentials_from("cp1", text, ACCOUNT)
        return _checked(kubeconfig_of(found, "agent", server=url("127.0.0.1", 6443), namespace=ACCOUNT.namespace))

    def told(read: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
        def call(text: str) -> list[str]:
            try:
                return read(text)
            except GpuctlError as error:
                return problem_lines(error.problems)

        return call

    return {"bootstrap": told(bootstrap), "verify": told(verify), "minikube": told(verify), "launch": told(launch)}


def _checked(document: Mapping[str, Any]) -> list[str]:
    """What the document leads to. AssertionError: it holds more than checked values."""
    found = {**document["clusters"][0]["cluster"], **document["users"][0]["user"]}
    assert set(found) <= _KEYS, sorted(found)
    assert all(len(document[section]) == 1 for section in ("clusters", "users", "contexts"))
    assert str(found["server"]).startswith("https://")
    return [str(found["server"])]
