"""What the screens of `gpuctl addon` say, letter by letter: tests/golden/cli/addon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.apply.addon_model import AddonState, AddResult, InventoryChange, ListResult, RemoveResult, State
from bootstrap.apply.results import HostOutcome, Outcome
from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.kube.addons import InUse, Workload
from bootstrap.plan.model import CLUSTER, Effect, Plan, Step
from bootstrap.ui.addon import add_screen, list_screen, remove_screen
from bootstrap.ui.problems import problem_lines

GOLDEN = Path(__file__).parents[2] / "golden" / "cli" / "addon"
INVENTORY = Path("my hosts.ini")
NFS = AddonState(
    "csi-driver-nfs",
    "Turn claims into folders of an NFS export",
    wanted=True,
    installed=True,
    state=State.READY,
    version="4.13.4",
    workloads=(Workload("DaemonSet", "kube-system/csi-nfs-node"),),
)
SHORT = (
    "Deployment volcano-system/volcano-scheduler: 0 of 1 pods ready (ImagePullBackOff: volcanosh/vc-scheduler:v1)",
)
VOLCANO = AddonState(
    "volcano", "Start the pods of a job together", wanted=False, installed=True, state=State.NOT_READY,
    version="1.15.1", detail=SHORT,
)  # fmt: skip
JOBSET = AddonState("jobset", "Run Jobs as one", wanted=True, installed=False, state=State.ABSENT)
UNSEEN = replace(NFS, installed=False, version="", state=State.UNKNOWN)
BOTH = (NFS, replace(JOBSET, version="0.12.0"))
LIST = ListResult("lab", (NFS, VOLCANO, JOBSET), 1.2)
LINE = 'cluster_addons=["csi-driver-nfs"]'
ADD = AddResult(
    ExitCode.OK,
    "lab",
    (NFS,),
    Plan((Step(CLUSTER, "csi_driver_nfs", "install", ("not installed by gpuctl yet",), Effect.NONE),)),
    (HostOutcome("cp1", Outcome.DONE, ("csi_driver_nfs",)),),
    14.3,
    InventoryChange("my hosts.ini", LINE, changed=True, at="my hosts.ini:9"),
)
KEPT = InventoryChange("my hosts.ini", LINE, changed=False)
REMOVE = RemoveResult(ExitCode.OK, "lab", ("csi-driver-nfs",), (), (), 4.1)
USED = InUse("persistentvolumes", "data-1", "Bound")
IN_USE = Problem(
    "addon-in-use",
    "csi-driver-nfs is not removed: 1 object needs it",
    "delete them, or wait until they are gone",
    details="persistentvolumes data-1: Bound",
)
REFUSED = replace(REMOVE, exit_code=ExitCode.PREFLIGHT, removed=(), in_use=(USED,), problems=(IN_USE,))
UNLISTED = InventoryChange("my hosts.ini", "cluster_addons=[]", changed=True, at="my hosts.ini:9")

SCREENS = {
    "list": list_screen(LIST, INVENTORY),
    "list-no-cluster": list_screen(replace(LIST, addons=(UNSEEN,), note="there is no cluster yet"), INVENTORY),
    "add-done": add_screen(ADD, INVENTORY),
    "add-kept": add_screen(replace(ADD, inventory=KEPT), INVENTORY),
    "add-nothing": add_screen(replace(ADD, plan=Plan(()), inventory=None, addons=BOTH), INVENTORY),
    "add-failed": add_screen(replace(ADD, exit_code=ExitCode.NOT_READY), INVENTORY),
    "remove-done": remove_screen(replace(REMOVE, inventory=UNLISTED), ["csi-driver-nfs"], INVENTORY),
    "remove-kept": remove_screen(
        replace(REMOVE, inventory=replace(KEPT, line="cluster_addons=[]")), ["csi-driver-nfs", "jobset"], INVENTORY
    ),
    "remove-nothing": remove_screen(replace(REMOVE, removed=()), ["csi-driver-nfs"], INVENTORY),
    "remove-refused": [
        *remove_screen(REFUSED, ["csi-driver-nfs"], INVENTORY),
        *problem_lines(REFUSED.problems, Path("/run/log"), nothing_changed=True),
    ],
}


@pytest.mark.parametrize("name", SCREENS)
def test_screen(name: str, golden: Callable[[Path, str], None]) -> None:
    golden(GOLDEN / f"{name}.txt", "".join(f"{line}\n" for line in SCREENS[name]))


def test_every_golden_screen_is_compared() -> None:
    assert {file.stem for file in GOLDEN.glob("*.txt")} == set(SCREENS)
