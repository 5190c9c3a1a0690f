"""Who logs in is said by ssh's configuration where the inventory names nobody: that decides who becomes root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.apply.run_inventory import write_run_inventory
from bootstrap.inventory.connection import connection_variables, read_connection
from bootstrap.inventory.model import Host, Inventory


def becomes(tmp_path: Path, user_line: str, **variables: Any) -> bool:
    config = tmp_path / "ssh.cfg"
    config.write_text(f"Host *\n  {user_line}\n")
    found = {"ansible_host": "198.51.100.9", "ansible_ssh_common_args": f"-F {config}", **variables}
    connection = read_connection("gpu1", found)
    host = Host(
        "gpu1",
        frozenset({"workers"}),
        connection,
        settings={},
        connection_vars=connection_variables(found, connection),
    )
    out = tmp_path / "run.yml"
    inventory = Inventory(tmp_path / "lab.ini", (host,))
    write_run_inventory(
        out, inventory, {"gpu1": {}}, [], seed="gpu1", run_id="r", stop_file=tmp_path / "stop", extra={}
    )
    found = yaml.safe_load(out.read_text().replace("!unsafe", ""))["all"]["hosts"]["gpu1"]
    return bool(found["ansible_become"])


@pytest.mark.parametrize(("line", "expected"), [("User ubuntu", True), ("User root", False)])
def test_the_user_of_an_ssh_configuration_becomes_root(tmp_path: Path, line: str, expected: bool) -> None:
    assert becomes(tmp_path, line) is expected


def test_a_user_of_the_inventory_comes_first(tmp_path: Path) -> None:
    assert becomes(tmp_path, "User ubuntu", ansible_user="root") is False
