"""Kubeconfigs, certificates and answers to requests for one, each with one thing changed: values, or a refusal."""

from __future__ import annotations

import base64
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from bootstrap.errors import GpuctlError
from bootstrap.kube import client_certificate
from bootstrap.kube.client import Cluster, kubeconfig_api
from bootstrap.kube.client_certificate import NotSignedError, ends_soon, personal_credentials
from bootstrap.kube.credentials import Account, RefusedKubeconfigError, kubeconfig_of, read_credentials
from bootstrap.kube.kubeconfig import entries_of, entry_of, merge, remove
from bootstrap.minikube.checks import foreign_context
from bootstrap.minikube.look import Seen, reaches
from bootstrap.minikube.starting import current_context
from tests.fuzz.mutate import document_mutations, text_mutations
from tests.fuzz.share import cases
from tests.unit.certificates import admin_conf, admin_config, certificate, data, key_pem, sign, token

SEED = 20261201
AGENT = Account("wandb", "launch-agent")
# Of one text. The machine may be busy with other tests; what doubles with every line takes hours.
LONGEST_S = 10.0


def of_agent() -> dict[str, Any]:
    config = admin_config()
    config["users"][0]["user"] = {"token": token()}
    return config


def written(documents: Iterator[tuple[str, Any]]) -> Iterator[str]:
    """The documents as YAML, where they can be written as that."""
    for _, config in documents:
        try:
            yield yaml.dump(config, Dumper=yaml.SafeDumper, allow_unicode=True)
        except (yaml.YAMLError, UnicodeError):
            continue


def test_mutated_kubeconfigs_end_in_values_or_a_refusal(figure: Callable[[str], None]) -> None:
    total = taken = 0
    longest = 0.0
    for account, config in ((None, admin_config()), (AGENT, of_agent())):
        texts = [
            *written(document_mutations(config, SEED, cases(2000))),
            *text_mutations(yaml.safe_dump(config), SEED, cases(2000)),
        ]
        for text in texts:
            total, begun = total + 1, time.monotonic()
            try:
                found = read_credentials(text, account)
            except RefusedKubeconfigError:
                continue
            finally:
                longest = max(longest, time.monotonic() - begun)
            taken += 1
            assert set(kubeconfig_of(found, "x")["users"][0]["user"]) == (
                {"client-certificate-data", "client-key-data"} if account is None else {"token"}
            )
    figure(f"mutated kubeconfigs: {total}, {taken} taken for good ones, 0 tracebacks, the longest {longest:.1f} s")
    assert longest < LONGEST_S


def _der_mutations(pem: str, seed: int, count: int) -> Iterator[str]:
    """`count` copies of a PEM text, whose content has one to three bytes changed, gone or put in."""
    chance = random.Random(seed)  # noqa: S311 - a corpus, not a secret
    first, *middle, last = pem.splitlines()
    whole = base64.b64decode("".join(middle))
    for _ in range(count):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(changed))
            end = at + chance.choice((0, 1, 1, 1, 2))
            changed[at:end] = bytes(chance.randrange(256) for _ in range(chance.choice((1, 1, 1, 0, 2))))
        yield f"{first}\n{base64.encodebytes(bytes(changed)).decode()}{last}\n"


def test_mutated_certificates_and_keys_end_in_values_or_a_refusal(figure: Callable[[str], None]) -> None:
    total = taken = 0
    places = (
        ("clusters", "cluster", "certificate-authority-data", certificate("ca", "ca")),
        ("users", "user", "client-certificate-data", certificate("admin")),
        ("users", "user", "client-key-data", key_pem("admin")),
    )
    for section, kind, name, good in places:
        for pem in _der_mutations(good, SEED, cases(2000)):
            config = admin_config()
            config[section][0][kind][name] = data(pem)
            total += 1
            try:
                read_credentials(yaml.safe_dump(config))
            except RefusedKubeconfigError:
                continue
            taken += 1
            ends_soon(pem)
    figure(f"mutated certificates and keys in kubeconfigs: {total}, {taken} taken for good ones, 0 tracebacks")


class Answering:
    """An API that answers a request for a certificate with what `change` makes of a good answer."""

    def __init__(self, change: Callable[[str], Any]) -> None:
        self.change = change
        self.request = ""

    def get(self, path: str, _query: object = None) -> Any:
        return {} if "clusterrolebindings" in path else self.change(sign(self.request))

    def call(self, _method: str, _path: str, *, body: dict[str, Any], **_: Any) -> dict[str, Any]:
        if "spec" in body:
            self.request = base64.b64decode(body["spec"]["request"]).decode()
        return {}

    def delete(self, _path: str) -> None:
        """Nothing is kept."""


def test_mutated_answers_to_a_request_give_our_certificate_or_none(
    figure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_certificate, "_SIGNED_WITHIN_S", 0.001)
    monkeypatch.setattr(client_certificate, "_POLL_S", 0.001)
    admin = read_credentials(admin_conf())
    total = taken = 0

    def answer(pem: str) -> dict[str, Any]:
        return {"kind": "CertificateSigningRequest", "metadata": {"name": "x"}, "status": {"certificate": data(pem)}}

    def document(seed: int) -> Callable[[str], Any]:
        return lambda pem: next(document_mutations(answer(pem), seed, 1))[1]

    def content(seed: int) -> Callable[[str], Any]:
        return lambda pem: answer(next(_der_mutations(pem, seed, 1)))

    for change in (made(SEED + number) for number in range(cases(2000)) for made in (document, content)):
        total += 1
        try:
            found = personal_credentials(cast(Cluster, Answering(change)), admin, "ada")
        except NotSignedError:
            continue
        taken += 1
        assert (found.host, found.port, found.ca) == (admin.host, admin.port, admin.ca)
        read_credentials(yaml.safe_dump(kubeconfig_of(found, "x")))
    figure(f"mutated answers to a request for a certificate: {total}, {taken} taken for good ones, 0 tracebacks")


def test_mutated_files_of_users_are_used_or_named(
    figure: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a second each on a busy disk
    path, named, total = tmp_path / "config", 0, 0
    mine = entry_of(read_credentials(admin_conf()), "lab", "192.0.2.7")
    theirs = {**mine, "preferences": {}, "current-context": "gpuctl-lab", "extensions": [{"name": "a", "extension": 1}]}
    texts = [
        *written(document_mutations(theirs, SEED, cases(1000))),
        *text_mutations(yaml.safe_dump(theirs), SEED, cases(1000)),
        *("x: !!bool maybe", "x: !!int ''", "x: 2026-99-99", "[" * 500, "x: !!timestamp a", "x: 0x", "\x00"),
    ]
    for text in texts:
        total += 1
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        entries_of(path, "gpuctl-lab")
        seen = Seen(root=False, home="/home/ada", kubeconfig=text)
        current_context(seen), foreign_context(seen, "gpuctl-lab")
        reaches(text, "gpuctl-lab", {"Ports": {"8443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8443"}]}})
        for use in (_ask, _merge(mine), _remove):
            try:
                use(path)
            except GpuctlError as error:
                named += 1
                assert error.problems[0].code == "kubeconfig-unusable"  # noqa: PT017 - some pass
    figure(f"mutated kubeconfigs of users: {total} asked, merged into and cleared, {named} times named, 0 tracebacks")
    assert named


def _ask(path: Path) -> None:
    with kubeconfig_api(path):
        pass


def _merge(entry: dict[str, Any]) -> Callable[[Path], None]:
    return lambda path: cast(None, merge(path, entry, use_context=False))


def _remove(path: Path) -> None:
    remove(path, "lab", "192.0.2.0/24")
    remove(path, "lab")
