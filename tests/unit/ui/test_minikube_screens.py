"""What the screens of `gpuctl minikube` say, letter by letter: tests/golden/cli/minikube."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.minikube.contexts import HomeContext
from bootstrap.minikube.model import DownResult, StatusResult, UpResult
from bootstrap.ui.minikube import down_screen, status_screen, up_screen
from bootstrap.ui.problems import problem_lines

GOLDEN = Path(__file__).parents[2] / "golden" / "cli" / "minikube"
THERE = ["--inventory", "my hosts.ini"]
UP = UpResult(
    ExitCode.OK, "gpuctl", "box", True, 128.4, "gpuctl", "v1.36.3", 8, 8, simulated=True, notes=("it was the first",)
)
HOME = HomeContext("gpuctl-gpuctl", "/home/ada/.kube/config", False, "ssh -N -L 32771:127.0.0.1:32771 ada@192.0.2.20")
RUNNING = StatusResult(
    ExitCode.OK,
    "gpuctl",
    "box",
    "running",
    {"Host": "Running", "Kubelet": "Running", "APIServer": "Running", "Kubeconfig": "Configured"},
    1.2,
    "gpuctl",
    True,
    "v1.36.3",
    8,
    "28.5.2",
    "v1.38.1",
)
STOPPED = replace(
    RUNNING,
    exit_code=ExitCode.NOT_READY,
    phase="stopped",
    parts=dict.fromkeys(RUNNING.parts, "Stopped"),
    node="",
    ready=False,
    gpus=0,
)
IMPAIRED = replace(STOPPED, phase="impaired", parts={**RUNNING.parts, "APIServer": "Error"}, node="gpuctl")
DOWN = DownResult(ExitCode.OK, "gpuctl", "box", "running", 12.3)
LEFT = Problem(
    "minikube-profile-broken",
    "profile gpuctl was deleted, and this is still there: a volume",
    "run the same command again",
    "box",
)
FAILED = replace(DOWN, exit_code=ExitCode.STEP_FAILED, left=("a volume",), problems=(LEFT,))
SHORT = Problem(
    "minikube-addon-image",
    "the device plugin's image cannot be pulled (ImagePullBackOff: no such host); minikube names it by its digest",
    "reach its registry, or bring the image in a bundle with addon_images in bundle.json",
    "box",
)

SCREENS = {
    "up-done": up_screen(UP, THERE),
    "up-unchanged": up_screen(
        replace(UP, started=False, elapsed_s=1.4, simulated=False, context="gpuctl", notes=()), []
    ),
    "up-elsewhere": up_screen(replace(UP, notes=(), home=HOME), THERE),
    "up-elsewhere-current": up_screen(replace(UP, notes=(), home=replace(HOME, current=True, tunnel="")), THERE),
    "up-unread-kubeconfig": up_screen(
        replace(UP, notes=(), kubeconfig="/home/ada/.kube/config", queues=("gpus",), entity="vision"), []
    ),
    "up-elsewhere-unread": up_screen(
        replace(UP, notes=(), home=HOME, kubeconfig=HOME.path, queues=("gpus",), entity="vision"), ["--host", "ws2"]
    ),
    "up-without-gpus": up_screen(replace(UP, gpus=0, gpus_expected=0), []),
    "up-failed": [
        *up_screen(replace(UP, exit_code=ExitCode.NOT_READY, gpus=0, problems=(SHORT,)), THERE),
        *problem_lines((SHORT,), Path("/run/log")),
    ],
    "status-running": status_screen(RUNNING, []),
    "status-stopped": status_screen(STOPPED, THERE),
    "status-impaired": status_screen(IMPAIRED, ["--host", "ada@192.0.2.20"]),
    "status-broken": status_screen(replace(STOPPED, phase="broken", parts={}), []),
    "stop-done": down_screen(replace(DOWN, was="running"), "stop", THERE),
    "down-done": down_screen(DOWN, "down", []),
    "down-purged": down_screen(replace(DOWN, purged=11), "down", []),
    "down-kept": down_screen(
        replace(DOWN, notes=("the bundle's files stay: another profile may need them",)), "down", []
    ),
    "down-nothing": down_screen(replace(DOWN, was="absent"), "down", []),
    "down-left": [*down_screen(FAILED, "down", []), *problem_lines(FAILED.problems, Path("/run/log"))],
}


@pytest.mark.parametrize("name", SCREENS)
def test_screen(name: str, golden: Callable[[Path, str], None]) -> None:
    golden(GOLDEN / f"{name}.txt", "\n".join(SCREENS[name]) + "\n")


def test_every_golden_screen_is_compared() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(SCREENS)
