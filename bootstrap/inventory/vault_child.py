"""Ansible Vault in the resolving child: its passwords, and what a failure to decrypt means. It loads Ansible."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible._internal._templating._jinja_common import UndecryptableVaultError
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import (
    AnsibleVaultError,
    AnsibleVaultFormatError,
    VaultSecret,
    VaultSecretsContext,
    get_file_vault_secret,
)

from bootstrap.inventory.ansible_errors import causes, words
from bootstrap.inventory.vault import DEFAULT_ID, PASSWORD_MISSING, PASSWORD_WRONG, missing_fix

HEADER = "$ANSIBLE_VAULT"
_FAILURES = (AnsibleVaultError, AnsibleVaultFormatError, UndecryptableVaultError)


def load_secrets(loader: DataLoader, asked: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give the loader its passwords; (file, why) of each file that holds none.

    A file may itself be encrypted with a password that comes before it, as with Ansible.
    """
    secrets = [(name, VaultSecret(text.encode("utf-8", "surrogateescape"))) for name, text in asked.get("known") or ()]
    failed = []
    for slug in asked.get("files") or ():
        name, at, file = slug.rpartition("@")
        if (at and not name) or Path(slug).exists():
            name, file = "", slug
        try:
            loader.set_vault_secrets(secrets)
            secret = get_file_vault_secret(filename=file, vault_id=name or None, loader=loader)
            secret.load()
        except (AnsibleError, OSError) as error:
            failed.append((file, words(error)))
        else:
            secrets.append((name or DEFAULT_ID, secret))
    loader.set_vault_secrets(secrets)
    context = VaultSecretsContext.current(optional=True)  # single values (`!vault`) are decrypted with these
    if context is None:
        VaultSecretsContext.initialize(VaultSecretsContext(secrets))
    else:
        context.secrets = secrets
    return failed


def vault_problem(error: BaseException, loader: DataLoader, inventory: Path) -> tuple[str, str, str] | None:
    """(code, sentence, remedy) where the error is one of Ansible Vault; None where it is another."""
    every = [each for cause in causes(error) for each in (cause, cause.__context__)]
    found = next((each for each in every if isinstance(each, _FAILURES)), None)
    if found is None:
        return None
    if isinstance(found, AnsibleVaultFormatError):
        fix = "encrypt it again with ansible-vault: a line of it was changed or lost"
        return "inventory-invalid", f"what is encrypted with Ansible Vault is damaged: {words(found)}", fix
    if not loader._vault.secrets:  # noqa: SLF001 - there is no public name for it
        return PASSWORD_MISSING, "it is encrypted with Ansible Vault, and no password was given", missing_fix(inventory)
    fix = "give the password it was encrypted with; --vault-password-file can be given several times"
    return PASSWORD_WRONG, "it is encrypted with Ansible Vault, and no password that was given decrypts it", fix


def text_of(path: Path, loader: DataLoader, encrypted: list[str]) -> str:
    """What the file holds, decrypted where it is encrypted as a whole, and noted then; empty where it cannot be had."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        if text.startswith(HEADER):
            encrypted.append(str(path))
            text = "".join(loader.get_text_file_contents(str(path)))  # without Ansible's tags
    except (OSError, AnsibleError):
        return ""
    return text
