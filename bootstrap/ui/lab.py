"""The screens of testvm: labs and their hosts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from bootstrap.jsonform import plain
from bootstrap.testvm.lab import Lab, LabHost
from bootstrap.ui.console import Console
from bootstrap.ui.layout import brief, columns, count


def lines_of_hosts(console: Console, log: logging.Logger) -> Callable[[str, str], None]:
    """A report that says "host  what" as talk, and logs it."""

    def report(host: str, text: str) -> None:
        log.info("%s: %s", host, text)
        console.say(f"  {host:8} {text}")

    return report


def lab_screen(lab: Lab, elapsed: float) -> list[str]:
    """A lab that was just brought up, or found so."""
    head = f"lab {lab.name}: {count(len(lab.hosts), 'host')} in {brief(elapsed)}"
    return [head, *columns(_host(host) for host in lab.hosts), f"  inventory: {lab.inventory}"]


def labs_screen(labs: Sequence[Lab]) -> list[str]:
    """All labs with their hosts."""
    lines: list[str] = []
    for lab in labs:
        lines.append(f"lab {lab.name}   {lab.subnet}   components: {lab.components}   inventory: {lab.inventory}")
        lines += columns(_host(host) for host in lab.hosts)
    return lines or ["no labs"]


def _host(host: LabHost) -> tuple[str, ...]:
    gpus = f"{host.gpus} × {host.model} (simulated)" if host.gpus else "no GPU"
    return host.name, host.address, gpus, host.state


def lab_data(lab: Lab) -> dict[str, Any]:
    """The JSON form of a lab."""
    data: dict[str, Any] = plain(lab)
    return data
