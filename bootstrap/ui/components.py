"""The screens of testvm components: what is being built, and what the mirror holds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from bootstrap.jsonform import plain
from bootstrap.testvm.components.mirror import Mirror
from bootstrap.testvm.components.parts import Progress
from bootstrap.ui.console import Console
from bootstrap.ui.layout import clock as as_clock
from bootstrap.ui.layout import columns, count


def lines_of_components(console: Console, log: logging.Logger) -> Callable[[Progress], None]:
    """A report that says a line per component with its time."""

    def report(progress: Progress) -> None:
        line = component_line(progress)
        log.info("%s", line)
        console.say(line)

    return report


def component_line(progress: Progress) -> str:
    """One component: "  containerd   ✓ 1:11"."""
    time = as_clock(progress.elapsed_s)
    now = {
        "started": f"▸ {progress.detail or 'building'}",
        "cached": "· unchanged",
        "done": f"✓ {time}",
        "failed": f"✗ {time}   {progress.detail}",
    }[progress.state]
    return f"  {progress.component:26} {now}".rstrip()


def build_screen(mirror: Mirror) -> list[str]:
    """The mirror that a build ended with."""
    held = f"{count(len(mirror.packages), 'package')}, {count(len(mirror.images), 'image')}"
    held += ", minikube" if mirror.minikube else ""
    if not mirror.complete:
        return [f"built what was asked for: {held}; not the whole mirror: the current one stays as it was"]
    return [f"mirror: {held}", "next: gpuctl testvm up"]


def mirror_screen(mirror: Mirror) -> list[str]:
    """Packages and images with their versions, and the files for minikube."""
    lines = [
        f"mirror: {mirror.path}",
        "packages",
        *columns(sorted(mirror.packages.items())),
        "images",
        *columns((name, digest[:19]) for name, digest in sorted(mirror.images.items())),
    ]
    files = [(name, f"sha256:{digest[:12]}") for name, digest in sorted(mirror.minikube.items())]
    return [*lines, "minikube", *columns(files)] if files else lines


def mirror_data(mirror: Mirror) -> dict[str, Any]:
    """The JSON form of a mirror."""
    data: dict[str, Any] = plain(mirror)
    return data
