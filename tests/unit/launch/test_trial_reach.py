"""Whom a trial asks, as options and inventory say; and the withdrawal of one item."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bootstrap.access import Access
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Host
from bootstrap.inventory.secret import Secret
from bootstrap.kube import reach as reaching
from bootstrap.kube.client import ApiError
from bootstrap.launch import trial_reach
from bootstrap.launch.server_access import ServerAccess
from bootstrap.launch.trial import Queue
from bootstrap.launch.trial_left import withdraw_item
from bootstrap.launch.trial_model import Item
from bootstrap.launch.trial_reach import TrialRequest, reach_cluster, resolve
from bootstrap.ui.launch_test import withdrawn_screen
from tests.unit.launch.trial_examples import ASKED, IMAGE

KEY = "0123456789" * 4
OTHER = "local-" + "x" * 40
SITE = """
[control_plane]
cp1 ansible_host=192.0.2.1
cp2 ansible_host=192.0.2.2
cp3 ansible_host=192.0.2.3
[launch_agent]
cp1
[all:vars]
cluster_endpoint=api.example.com
cluster_python_image=registry.example.com/python:3.12
cluster_ca_file=ca.pem
launch_agent_entity=vision
launch_agent_queues=["gpu"]
launch_agent_base_url=https://wandb.example.com
launch_agent_api_key_file=key
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "lab.ini").write_text(SITE)
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "ca.pem").write_text("PEM")
    return tmp_path / "lab.ini"


def test_the_inventory_fills_the_blanks(site: Path) -> None:
    target = resolve(TrialRequest("gpu", inventory=site))

    assert target.asked == trial_reach.Asked("vision", "gpu", "gpuctl-test", "registry.example.com/python:3.12")
    assert target.server == ServerAccess("vision", "https://wandb.example.com", Secret(KEY), "PEM")
    assert KEY not in repr(target)


def test_options_go_before_the_inventory(site: Path) -> None:
    request = TrialRequest("gpu", "team", "mine", 2, "img", 60.0, "http://127.0.0.1:1", Secret(OTHER), inventory=site)
    target = resolve(request)

    assert target.asked == trial_reach.Asked("team", "gpu", "mine", "img", 2, 60.0)
    assert (target.server.base_url, target.server.api_key) == ("http://127.0.0.1:1", OTHER)


def test_without_an_inventory_the_defaults_hold() -> None:
    target = resolve(TrialRequest("gpu", "team", api_key=Secret(KEY)))

    assert (target.asked.image, target.server.base_url) == (IMAGE, "https://api.wandb.ai")
    assert (target.server.ca_text, target.inventory) == ("", None)


def test_a_ca_that_cannot_be_read_is_named(site: Path) -> None:
    (site.parent / "ca.pem").unlink()
    with pytest.raises(GpuctlError) as caught:
        resolve(TrialRequest("gpu", inventory=site))
    assert (caught.value.exit_code, caught.value.problems[0].code) == (ExitCode.SETTINGS, "variable-invalid")


def test_an_entity_must_be_named() -> None:
    with pytest.raises(GpuctlError) as caught:
        resolve(TrialRequest("gpu"))
    assert (caught.value.exit_code, caught.value.problems[0].fix) == (
        ExitCode.USAGE, "give --entity, or set WANDB_ENTITY",
    )  # fmt: skip


class Version:
    """A cluster whose API answers /version, refuses it, or is silent."""

    def __init__(self, status: int | None) -> None:
        self.status = status

    def get(self, path: str, _query: object = None) -> dict[str, Any]:
        assert path == "/version"
        if self.status is None:
            return {"major": "1"}
        raise ApiError(self.status, "refused")


@pytest.fixture
def planes(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | str | None]:
    """Per control plane: None answers, 403 refuses, 0 is silent, a text is the problem of reaching it."""
    says: dict[str, int | str | None] = {"cp1": None, "cp2": None, "cp3": None, "closed": ""}

    @contextmanager
    def reach(host: Host, _access: Access) -> Iterator[Version]:
        status = says[host.name]
        if isinstance(status, str):
            raise GpuctlError(ExitCode.PREFLIGHT, Problem("ssh-unreachable", status, "", host.name))
        yield Version(status)
        says["closed"] = f"{says['closed']}{host.name} "

    monkeypatch.setattr(reaching, "cluster_api", reach)
    return says


def reached(site: Path) -> Version:
    request = TrialRequest("gpu", inventory=site)
    with reach_cluster(resolve(request), request) as cluster:
        assert isinstance(cluster, Version)
        return cluster


def test_the_first_control_plane_that_answers_is_asked(site: Path, planes: dict[str, int | str | None]) -> None:
    planes |= {"cp1": "no route", "cp2": 0}

    assert reached(site).status is None
    assert planes["closed"] == "cp2 cp3 "


def test_a_refusal_is_an_answer(site: Path, planes: dict[str, int | str | None]) -> None:
    planes["cp1"] = 403

    assert reached(site).status == 403


def test_when_none_answers_the_first_reason_is_told(site: Path, planes: dict[str, int | str | None]) -> None:
    planes |= {"cp1": 0, "cp2": "no route", "cp3": 0}

    with pytest.raises(GpuctlError) as caught:
        reached(site)
    (problem,) = caught.value.problems
    assert (caught.value.exit_code, problem.code, problem.host) == (
        ExitCode.PREFLIGHT, "launch-cluster-unreachable", "cp1",
    )  # fmt: skip


def test_an_error_while_the_cluster_is_used_is_not_taken_for_one_of_reaching_it(
    site: Path, planes: dict[str, int | str | None]
) -> None:
    request = TrialRequest("gpu", inventory=site)
    with (
        pytest.raises(GpuctlError, match="something else"),
        reach_cluster(resolve(request), request),
    ):
        raise GpuctlError(ExitCode.NOT_READY, Problem("x", "something else"))
    assert "cp2" not in str(planes["closed"])


class OneItem:
    """A server with one item."""

    def __init__(self, item: Item | None, *, keeps: bool = False) -> None:
        self._item, self._keeps = item, keeps
        self.withdrawn = False

    def queue(self) -> Queue:
        return Queue()

    def item(self, _item_id: str) -> Item | None:
        return self._item

    def withdraw(self, _item_id: str) -> None:
        self.withdrawn = True
        self._item = self._item if self._keeps else None


@pytest.mark.parametrize("state", ["PENDING", "CLAIMED", "FAILED"])
def test_an_item_is_withdrawn(state: str) -> None:
    server: Any = OneItem(Item("item1", state))

    assert withdraw_item(server, ASKED, "item1") == state
    assert server.withdrawn


def test_an_item_that_is_not_there_is_said_so() -> None:
    server: Any = OneItem(None)

    assert withdraw_item(server, ASKED, "item1") == ""
    assert not server.withdrawn
    assert withdrawn_screen("gpu", "item1", "") == ["queue gpu has no item item1"]


def test_an_item_that_is_kept_is_an_error() -> None:
    server: Any = OneItem(Item("item1", "CLAIMED"), keeps=True)

    with pytest.raises(GpuctlError, match="queue gpu keeps item item1: it is CLAIMED"):
        withdraw_item(server, ASKED, "item1")
