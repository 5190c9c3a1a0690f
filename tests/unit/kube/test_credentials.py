"""What a host hands over as a kubeconfig: read into checked values, or refused."""

from __future__ import annotations

import base64
import copy
import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from bootstrap.errors import GpuctlError
from bootstrap.kube.credentials import (
    Account,
    RefusedKubeconfigError,
    credentials_from,
    kubeconfig_of,
    read_credentials,
)
from tests.unit.certificates import admin_conf, admin_config, certificate, data, key_pem, token

AGENT = Account("wandb", "launch-agent")
TOKEN_PATH = "/var/lib/gpuctl-launch/token"
Change = Callable[[dict[str, Any]], object]


def user(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = config["users"][0]["user"]
    return found


def cluster(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = config["clusters"][0]["cluster"]
    return found


EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", "touch /tmp/owned"]}
HOSTILE: dict[str, Change] = {
    "runs a command": lambda c: user(c).update(exec=EXEC),
    "runs an old plugin": lambda c: user(c).update(
        {"auth-provider": {"name": "gcp", "config": {"cmd-path": "/bin/sh"}}}
    ),
    "a token file": lambda c: user(c).update(tokenFile="/root/.ssh/id_ed25519"),
    "a token besides": lambda c: user(c).update(token=token()),
    "a password": lambda c: user(c).update(username="a", password="b"),
    "a certificate file": lambda c: user(c).update({"client-certificate": "/root/cert"}),
    "a key file": lambda c: user(c).update({"client-key": "/root/.ssh/id_rsa"}),
    "a CA file": lambda c: cluster(c).update({"certificate-authority": "/etc/shadow"}),
    "a proxy": lambda c: cluster(c).update({"proxy-url": "http://198.51.100.1:3128"}),
    "no TLS": lambda c: cluster(c).update({"insecure-skip-tls-verify": True}),
    "somebody else": lambda c: user(c).update({"as": "system:admin"}),
    "groups": lambda c: user(c).update({"as-groups": ["system:masters"]}),
    "extra": lambda c: user(c).update({"as-user-extra": {"a": ["b"]}}),
    "plain http": lambda c: cluster(c).update(server="http://192.0.2.1:6443"),
    "a path": lambda c: cluster(c).update(server="https://192.0.2.1:6443/../x"),
    "a user in the address": lambda c: cluster(c).update(server="https://192.0.2.1:6443@198.51.100.1:443"),
    "no port": lambda c: cluster(c).update(server="https://192.0.2.1"),
    "port 0": lambda c: cluster(c).update(server="https://192.0.2.1:0"),
    "port 65536": lambda c: cluster(c).update(server="https://192.0.2.1:65536"),
    "an option for a host": lambda c: cluster(c).update(server="https://-oProxyCommand=sh:6443"),
    "a zone with a command": lambda c: cluster(c).update(server="https://[fe80::1%$(touch)]:6443"),
    "a zone, quoted": lambda c: cluster(c).update(server="https://[fe80::1%25eth0;x]:6443"),
    "a line feed": lambda c: cluster(c).update(server="https://192.0.2.1:6443\n"),
    "a number for a server": lambda c: cluster(c).update(server=6443),
    "two clusters": lambda c: c["clusters"].append(copy.deepcopy(c["clusters"][0])),
    "two users": lambda c: c["users"].append({"name": "b", "user": {"exec": EXEC}}),
    "two contexts": lambda c: c["contexts"].append({"name": "b", "context": {"cluster": "kubernetes", "user": "b"}}),
    "no users": lambda c: c.update(users=[]),
    "another key": lambda c: user(c).update({"client-key-data": data(key_pem("mallory"))}),
    "a CA that is none": lambda c: cluster(c).update({"certificate-authority-data": data(certificate("leaf"))}),
    "a CA and a key": lambda c: cluster(c).update(
        {"certificate-authority-data": data(certificate("ca", "ca") + key_pem("ca"))}
    ),
    "a key that is no text": lambda c: user(c).update({"client-key-data": ["x"]}),
    "over 64 KiB": lambda c: c.update(preferences={"x": "y" * 70_000}),
    "an extension of the cluster": lambda c: cluster(c).update(extensions=[{"name": "x", "extension": {"exec": EXEC}}]),
}
TEXTS = {
    "nested": "[" * 30_000,
    "bomb": "a: &a [x, x]\n"
    + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "merge keys that double": "a0: &a0 {k: 1, l: 2}\n"
    + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60))
    + admin_conf(),
    "an alias": admin_conf() + "preferences: {a: &a x, b: *a}\n",
    "a key without end": admin_conf().replace("  user:\n", "  user:\n    0x" + "f" * 60_000 + ": 1\n"),
    "python object": "!!python/object/apply:os.system ['touch /tmp/owned']",
    "a list": "[]",
    "empty": "",
    "not text": "\x00\x01",
    "a greeting": "Welcome to gpu1!\n" + admin_conf(),
}


# What is beside the values that are read: it is left behind.
REDUCED: dict[str, str] = {
    "a tag without a value": "x: !!bool maybe\n",
    "an empty number": "x: !!int ''\n",
    "a command as a tag": "x: !!python/object/apply:os.system ['touch /tmp/owned']\n",
    "extensions": "extensions: [{name: x, extension: {exec: {command: sh}}}]\n",
    "preferences": "preferences: {exec: {command: sh}, proxy-url: 'http://198.51.100.1:3128'}\n",
}


def changed(change: Change) -> str:
    config = admin_config()
    change(config)
    return yaml.safe_dump(config)


def refused(text: str, account: Account | None = None) -> bool:
    try:
        read_credentials(text, account)
    except RefusedKubeconfigError:
        return True
    return False


def test_what_kubeadm_writes_is_read() -> None:
    found = read_credentials(admin_conf("https://gpuctl-api:6443"))
    assert (found.host, found.port) == ("gpuctl-api", 6443)
    assert key_pem("admin").splitlines()[1] not in repr(found)
    assert read_credentials(yaml.safe_dump(kubeconfig_of(found, "x"))) == found


def test_an_ipv6_address_keeps_its_brackets() -> None:
    found = read_credentials(admin_conf("https://[2001:db8::1]:6443"))
    assert found.host == "2001:db8::1"
    assert kubeconfig_of(found, "x")["clusters"][0]["cluster"]["server"] == "https://[2001:db8::1]:6443"


def test_hostile_kubeconfigs_are_refused(figure: Callable[[str], None]) -> None:
    texts = {**{name: changed(change) for name, change in HOSTILE.items()}, **TEXTS}
    through = [name for name, text in texts.items() if not refused(text)]
    good = read_credentials(admin_conf())
    reduced = [name for name, more in REDUCED.items() if read_credentials(admin_conf() + more) == good]
    figure(
        f"hostile kubeconfigs: {len(texts) - len(through)} of {len(texts)} refused, "
        f"{len(reduced)} of {len(REDUCED)} reduced to the checked values"
    )
    assert through == []
    assert len(reduced) == len(REDUCED)
    assert len(texts) >= 30


def test_a_certificate_that_warns_is_read_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    config = admin_config()
    lines = certificate("ca", "ca").splitlines()
    der = bytearray(base64.b64decode("".join(lines[1:-1])))
    der[der.index(b"\x02\x14") + 2] |= 0x80  # a serial number below zero, which the library calls deprecated
    text = "\n".join([lines[0], base64.b64encode(bytes(der)).decode(), lines[-1], ""])
    cluster(config).update({"certificate-authority-data": data(text)})
    read_credentials(yaml.safe_dump(config))
    assert not recwarn.list


def test_a_refusal_names_host_and_reason_and_nothing_of_the_hosts_words() -> None:
    with pytest.raises(GpuctlError) as caught:
        credentials_from("cp1", changed(lambda c: user(c).update({"evil\x1b[2J": "x"})))
    [problem] = caught.value.problems
    assert (problem.host, problem.code) == ("cp1", "kubeconfig-refused")
    assert problem.message == "its kubeconfig is not used: its user has `something else`"
    with pytest.raises(GpuctlError, match="its user has `exec`"):
        credentials_from("cp1", changed(lambda c: user(c).update(exec=EXEC)))


@pytest.mark.parametrize(
    "given",
    [
        token(account="admin"),
        token("kube-system"),
        token() + ".x",
        "bare",
        "a.b.c",
        "e30." + "e30" * 4 + ".c2lnbmF0dXJl",
        ["list"],
        None,
    ],
)
def test_a_token_has_to_be_the_accounts(given: Any) -> None:
    config = admin_config()
    config["users"][0]["user"] = {"token": given}
    assert refused(yaml.safe_dump(config), AGENT)


def test_the_agents_token_is_taken_over() -> None:
    config = admin_config()
    config["users"][0]["user"] = {"token": token()}
    found = read_credentials(yaml.safe_dump(config), AGENT)
    again = kubeconfig_of(found, "gpuctl-lab", namespace="wandb")
    assert again["users"] == [{"name": "gpuctl-lab", "user": {"token": token()}}]
    assert refused(yaml.safe_dump(config)), "without an account a certificate is asked for"
    assert refused(admin_conf(), AGENT)


def handed_over(monkeypatch: pytest.MonkeyPatch, text: str, **given: Any) -> dict[str, Any]:
    """What goes on to the agent's host of a kubeconfig that a control plane gave."""
    from bootstrap.content import playbooks_path

    path = playbooks_path() / "action_plugins" / "gpuctl_account_kubeconfig.py"
    spec = importlib.util.spec_from_file_location("account_kubeconfig_action", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.HostAction, "run_on_host", lambda *_: {"kubeconfig": text, "changed": False})
    plugin = module.ActionModule.__new__(module.ActionModule)
    asked = {"namespace": "wandb", "account": "launch-agent", "name": "gpuctl-lab", "server": "https://gpuctl-api:6443"}
    found: dict[str, Any] = plugin.run_on_host({**asked, "token_path": TOKEN_PATH, **given}, {})
    return found


def of_agent(change: Change = lambda _: None) -> str:
    config = admin_config("https://mallory.example:6443")
    config["users"][0]["user"] = {"token": token()}
    change(config)
    return yaml.safe_dump(config)


def test_the_agents_host_gets_what_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    handed = handed_over(monkeypatch, of_agent())
    good = yaml.safe_load(handed["kubeconfig"])
    assert good["clusters"][0]["cluster"]["server"] == "https://gpuctl-api:6443", "not where the control plane says"
    assert good["users"] == [{"name": "gpuctl-lab", "user": {"tokenFile": TOKEN_PATH}}], "ours, whatever theirs names"
    assert handed["token"] == token()
    for text in (of_agent(lambda c: user(c).update(exec=EXEC)), admin_conf(), "", of_agent(lambda c: c.clear())):
        answer = handed_over(monkeypatch, text)
        assert (answer["failed"], answer["code"]) == (True, "kubeconfig-refused")
        assert not answer.keys() & {"kubeconfig", "token"}
    assert handed_over(monkeypatch, of_agent(), wait_only=True) == {"changed": False}
