"""Where roles, playbooks, example inventories and doubles are: in the checkout, or in the wheel under `_content`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_MARK = "ansible.cfg"


@cache
def content_root() -> Path:
    """The folder that holds ansible.cfg, playbooks/, roles/, inventories/ and tests/doubles/.

    An installed wheel carries the tree as bootstrap/_content; an editable install and a checkout have none and use
    the repository itself.

    Raises:
        FileNotFoundError: neither is there, so the installation is incomplete.
    """
    for candidate in (_PACKAGE / "_content", _PACKAGE.parent):
        if (candidate / _MARK).is_file():
            return candidate
    raise FileNotFoundError(f"gpuctl is installed without its roles and playbooks: no {_MARK} beside {_PACKAGE}")


def roles_path() -> Path:
    """The folder of all roles."""
    return content_root() / "roles"


def playbooks_path() -> Path:
    """The folder of all playbooks."""
    return content_root() / "playbooks"


def inventories_path() -> Path:
    """The folder of the commented example inventories."""
    return content_root() / "inventories"


def catalogue_path() -> Path:
    """The catalogue of error codes."""
    return _PACKAGE / "error_catalogue.yml"


def doubles_path() -> Path:
    """The folder of the hardware doubles that test hosts are given."""
    return content_root() / "tests" / "doubles"


def ansible_config() -> Path:
    """The ansible.cfg that makes roles, modules and module utilities be found."""
    return content_root() / _MARK
