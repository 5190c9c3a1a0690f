"""Kubeconfigs with one thing changed: values, or a refusal."""

from __future__ import annotations

from collections.abc import Callable

import yaml

from bootstrap.kube.credentials import RefusedKubeconfigError, kubeconfig_of, read_credentials
from tests.fuzz.mutate import document_mutations, text_mutations
from tests.fuzz.share import cases
from tests.unit.certificates import admin_conf, admin_config


def _refused(text: str) -> bool:
    try:
        read_credentials(text)
    except RefusedKubeconfigError:
        return True
    return False


def test_mutated_kubeconfigs_end_in_values_or_a_refusal(figure: Callable[[str], None]) -> None:
    total = taken = 0
    for where, config in document_mutations(admin_config(), 20261201, cases(4000)):
        total += 1
        try:
            text = yaml.dump(config, Dumper=yaml.SafeDumper, allow_unicode=True)
        except (yaml.YAMLError, UnicodeError):
            continue
        if not _refused(text):
            found = read_credentials(text)
            taken += 1
            assert set(kubeconfig_of(found, "x")["users"][0]["user"]) == {
                "client-certificate-data",
                "client-key-data",
            }, where
    for text in text_mutations(admin_conf(), 20261201, cases(4000)):
        total += 1
        taken += not _refused(text)
    figure(f"mutated kubeconfigs: {total}, {taken} taken for good ones, 0 tracebacks")
