"""Text that must not be shown."""

from __future__ import annotations


class Secret(str):
    """A string that does not show itself in a repr, and so not in a traceback or a printed dataclass."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)"


# Connection variables that hold a password.
SECRET_VARIABLES = frozenset(
    {
        "ansible_become_pass",
        "ansible_become_password",
        "ansible_password",
        "ansible_private_key",
        "ansible_private_key_passphrase",
        "ansible_ssh_pass",
        "ansible_ssh_password",
        "ansible_ssh_private_key",
        "ansible_sudo_pass",
        "ansible_ssh_private_key_passphrase",
    }
)
