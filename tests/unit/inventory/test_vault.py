"""Inventories with Ansible Vault: passwords as users of Ansible give them, and remedies where they are missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError, Problem
from bootstrap.inventory import vault
from bootstrap.inventory.load import load_inventory
from bootstrap.inventory.vault import Passwords, remember

pytestmark = pytest.mark.usefixtures("quick")
_SITE = Path(__file__).with_name("people") / "vault"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Group variables that are encrypted as a whole; `pw` is the password."""
    shutil.copytree(_SITE, tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    for name in ("ANSIBLE_VAULT_PASSWORD_FILE", "ANSIBLE_VAULT_IDENTITY_LIST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(vault, "_given", [Passwords()])
    return tmp_path / "site"


def refusal(path: Path) -> Problem:
    with pytest.raises(GpuctlError) as caught:
        load_inventory(path)
    (problem,) = caught.value.problems
    return problem


def secret_of(site: Path) -> str:
    host = load_inventory(site / "hosts.ini").hosts[0]
    return str((host.connection_vars or {})["ansible_become_password"])


def test_without_a_password_the_remedy_names_the_file_of_ansible_cfg(site: Path) -> None:
    problem = refusal(site / "hosts.ini")
    assert problem.code == "vault-password-missing"
    assert f"`--vault-password-file {site}/.vault_pass`" in problem.fix
    assert problem.at == f"{Path('site/group_vars/all/vault.yml')}"
    remember(Passwords((f"{site}/.vault_pass",)))
    expected = secret_of(site)
    assert expected
    assert expected != "{{ vault_become }}"


def test_each_way_to_give_the_password(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(Passwords((f"{site}/.vault_pass",)))
    expected = secret_of(site)
    remember(Passwords(ask=lambda: "pw"))
    assert secret_of(site) == expected
    remember(Passwords(known=(("default", b"pw"),)))
    assert secret_of(site) == expected
    remember(Passwords())
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", f"{site}/.vault_pass")
    assert secret_of(site) == expected
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE")
    monkeypatch.setenv("ANSIBLE_VAULT_IDENTITY_LIST", f"dev@{site}/.vault_pass, prod@prompt")
    assert secret_of(site) == expected
    monkeypatch.delenv("ANSIBLE_VAULT_IDENTITY_LIST")
    script = site / "vault.sh"
    script.write_text("#!/bin/sh\necho pw\n")
    script.chmod(0o755)
    remember(Passwords((str(script),)))
    assert secret_of(site) == expected


def test_the_password_is_asked_for_once(site: Path) -> None:
    asked = []

    def ask() -> str:
        asked.append(1)
        return "pw"

    remember(Passwords(ask=ask))
    assert secret_of(site) == secret_of(site)
    assert len(asked) == 1


def _wrong(site: Path) -> Passwords:
    (site / ".vault_pass").write_text("other\n")
    return Passwords((f"{site}/.vault_pass",))


def _absent(site: Path) -> Passwords:
    return Passwords((f"{site}/nothing",))


def _empty(site: Path) -> Passwords:
    (site / ".vault_pass").write_text("\n")
    return Passwords((f"{site}/.vault_pass",))


@pytest.mark.parametrize(
    ("make", "code"),
    [(_wrong, "vault-password-wrong"), (_absent, "vault-password-missing"), (_empty, "vault-password-missing")],
)
def test_a_password_that_does_not_help(make: Callable[[Path], Passwords], code: str, site: Path) -> None:
    remember(make(site))
    problem = refusal(site / "hosts.ini")
    assert problem.code == code
    assert "--vault-password-file" in problem.fix


def test_one_encrypted_value(site: Path) -> None:
    shutil.rmtree(site / "group_vars")
    (site / "inline-host_vars").rename(site / "host_vars")
    problem = refusal(site / "hosts.ini")
    assert (problem.code, problem.host) == ("vault-password-missing", "gpu1")
    assert "`ansible_become_password`" in problem.message
    remember(_wrong(site))
    assert refusal(site / "hosts.ini").code == "vault-password-wrong"
    (site / ".vault_pass").write_text("pw\n")
    gpu1 = load_inventory(site / "hosts.ini").host("gpu1")
    assert (gpu1.connection_vars or {})["ansible_become_password"]


def test_an_encrypted_value_that_nobody_uses_needs_no_password(site: Path) -> None:
    shutil.rmtree(site / "group_vars")
    (site / "inline-host_vars").rename(site / "host_vars")
    text = (site / "host_vars/gpu1.yml").read_text()
    (site / "host_vars/gpu1.yml").write_text(text.replace("ansible_become_password", "my_own_secret"))
    assert len(load_inventory(site / "hosts.ini").hosts) == 2


def test_what_is_encrypted_and_damaged(site: Path) -> None:
    file = site / "group_vars/all/vault.yml"
    file.write_text("\n".join(file.read_text().splitlines()[:-2]) + "\nzz\n")
    remember(Passwords((f"{site}/.vault_pass",)))
    problem = refusal(site / "hosts.ini")
    assert problem.code == "inventory-invalid"
    assert "damaged" in problem.message


def test_an_inventory_that_is_encrypted_as_a_whole(site: Path) -> None:
    shutil.rmtree(site / "group_vars")
    from ansible.parsing.vault import VaultLib, VaultSecret

    text = "control_plane:\n  hosts:\n    cp1: {ansible_host: 192.0.2.10, ansible_become: true}\n"
    (site / "hosts.yml").write_bytes(VaultLib([("default", VaultSecret(b"pw"))]).encrypt(text))
    assert refusal(site / "hosts.yml").code == "vault-password-missing"
    remember(Passwords((f"{site}/.vault_pass",)))
    assert [host.name for host in load_inventory(site / "hosts.yml").hosts] == ["cp1"]
