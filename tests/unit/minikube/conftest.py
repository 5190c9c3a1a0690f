"""The stations of `gpuctl minikube` on a machine of the test's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.apply.minikube_host import Prepared
from bootstrap.apply.outcomes import unchanged
from bootstrap.apply.view import SilentView
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.minikube import connection, down, gpus, toolkit, up
from bootstrap.minikube.model import MinikubeRequest, UpRequest
from bootstrap.minikube.options import ProfileOptions
from bootstrap.rundir import RunDirectory
from bootstrap.verify.container import ContainerGpus
from tests.unit.factories import host_facts, loaded_driver, minikube_inventory, pci_address
from tests.unit.minikube.machine import Machine


class Seeing(SilentView):
    """What a person saw."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, host: str, step: str) -> None:
        self.lines.append(f"{host} {step} started")

    def task(self, host: str, step: str, title: str) -> None:  # noqa: ARG002
        self.lines.append(title)

    def done(self, host: str, step: str, elapsed: float) -> None:  # noqa: ARG002
        self.lines.append(f"{host} {step} done")

    def failed(self, host: str, step: str, message: str) -> None:
        self.lines.append(f"{host} {step} failed: {message}")


class Lane:
    """gpuctl, pointed at one machine; `prepared` is what the roles are to come to there."""

    def __init__(self, tmp_path: Path) -> None:
        self.machine = Machine()
        self.view = Seeing()
        self.inventory = minikube_inventory()
        self.run_directory = RunDirectory.create("minikube-up", root=tmp_path)
        self.prepared: Callable[[], Prepared] = self.ready
        self.roles_ran = 0
        self.kubeconfig: Path | None = None
        self.container = ContainerGpus(have=8, got=8)  # what Docker gives a container
        self.tried: list[str] = []  # in which ways
        self.known_gpus = 0  # to the driver's receipt, if more than there are

    def ready(self) -> Prepared:
        count = self.machine.pci_gpus
        addresses = [pci_address(index) for index in range(max(count, self.known_gpus))]
        receipts = {"nvidia_driver": {"gpus": addresses}}
        facts = host_facts("box", gpus=count, driver=loaded_driver(count, simulated=True), receipts=receipts)
        return Prepared(ExitCode.OK, facts, unchanged(self.inventory))

    def prepare(self, *_: object) -> Prepared:
        self.roles_ran += 1
        return self.prepared()

    def give_a_container(self, *given: Any) -> ContainerGpus:
        self.tried.append(given[-1])
        return self.container

    def is_local(self) -> None:
        host = self.inventory.hosts[0]
        connection = replace(host.connection, local=True)
        self.inventory = Inventory(self.inventory.path, (replace(host, connection=connection),))

    def asked(self, *, use_context: bool = False, **options: Any) -> UpRequest:
        wanted = ProfileOptions(**options)
        return UpRequest(
            self.inventory, self.run_directory, wanted, use_context=use_context, kubeconfig=self.kubeconfig
        )

    def up(self, *, use_context: bool = False, **options: Any) -> Any:
        return up.up(self.asked(use_context=use_context, **options), self.view)

    def of_profile(self, profile: str = "gpuctl") -> MinikubeRequest:
        return MinikubeRequest(self.inventory, self.run_directory, profile=profile, kubeconfig=self.kubeconfig)

    def start(self) -> Any:
        return up.start(self.of_profile(), self.view)

    def status(self) -> Any:
        return down.status(self.of_profile())

    def stop(self) -> Any:
        return down.stop(self.of_profile(), self.view)

    def down(self, *, purge: bool = False, orphan: bool = False) -> Any:
        return down.down(replace(self.of_profile(), purge=purge, orphan=orphan), self.view)


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lane:
    found = Lane(tmp_path)

    @contextmanager
    def reach(*_: object) -> Iterator[Machine]:
        yield found.machine

    monkeypatch.setattr(connection, "reach", reach)
    monkeypatch.setattr(up, "prepare", found.prepare)
    monkeypatch.setattr(toolkit, "container_gpus", found.give_a_container)
    monkeypatch.setattr(up, "probe_hosts", lambda *_: {"box": found.ready().facts})
    monkeypatch.setattr(gpus, "_PAUSE_S", 0.0)
    monkeypatch.setattr(up, "GPUS_S", 0.05)
    monkeypatch.setattr(up, "PATIENCE_S", 0.05)
    return found
