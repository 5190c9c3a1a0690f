"""What `gpuctl addon` decides around the playbooks: what runs, what is refused, what is written into the inventory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.apply import addon as module
from bootstrap.apply import addon_look, run, steps
from bootstrap.apply.addon_model import AddonRequest, State
from bootstrap.apply.events import HostRun
from bootstrap.apply.execute import Execution
from bootstrap.apply.lock import LockWatch
from bootstrap.apply.view import SilentView
from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.inventory.schema import component_named
from bootstrap.kube.addons import InUse, Workload
from bootstrap.plan.addons import Addon, known_addons
from bootstrap.plan.planner import decide
from bootstrap.plan.summary import Preflight
from bootstrap.plan.survey import Survey
from bootstrap.probe.facts import ClusterTraces, Drift, HostFacts, KubeFacts, ProbeResult, Unreachable
from bootstrap.rundir import RunDirectory
from tests.unit.factories import host_facts, inventory, minikube_inventory, node

NFS = "csi-driver-nfs"
TEXT = "[control_plane]\ncp1 ansible_host=198.51.100.1\n"
RECEIPT = {
    "state": "complete",
    "arguments": {"csi_driver_nfs_version": {"digest": "x", "value": "4.13.4"}},
    "objects": {"apps/v1/DaemonSet/kube-system/csi-nfs-node": "sha256:x", "v1/ServiceAccount/kube-system/a": "y"},
}
VOLUME = InUse("persistentvolumes", "data", "Bound")
GANG = InUse("podgroups.scheduling.volcano.sh", "default/train", "Inqueue")
VOLCANO, OPERATOR = "volcano", "kubeflow_training_operator"
TORCH = "kubeflow-training-operator"


def operator(gang: bool, state: str = "complete") -> dict[str, Any]:
    """The training operator's receipt, installed with Volcano or without."""
    return {"state": state, "arguments": {"kubeflow_training_operator_gang": {"digest": "x", "value": gang}}}


def facts(receipt: Mapping[str, Any] | None = None, drift: tuple[Drift, ...] = (), **changes: Any) -> HostFacts:
    traces = ClusterTraces(admin_conf=True, kubelet_conf=True, etcd_data=True, ca_hash="sha256:a")
    receipts = {"csi_driver_nfs": receipt} if receipt else {}
    kube = KubeFacts(nodes=(node("cp1"),), receipts=receipts, drift={"csi_driver_nfs": drift})
    return host_facts(
        "cp1", **{"cluster": traces, "kube": kube, "receipts": {"kubeadm": {"state": "complete"}}, **changes}
    )


class Yes(SilentView):
    """A view whose user says what the test wants."""

    def __init__(self, answer: bool = True) -> None:
        self.answer, self.asked = answer, [""][:0]

    def confirm(self, question: str) -> bool:
        self.asked.append(question)
        return self.answer


class World:
    """Stands in for hosts, Ansible and the API."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.path = tmp_path / "lab.ini"
        self.path.write_text(TEXT)
        self.probe: ProbeResult = facts()
        self.after: Mapping[str, Any] | None = RECEIPT
        self.used: list[tuple[InUse, ...]] = [()]
        self.lacks = ""
        self.playbooks: list[tuple[str, list[str]]] = []
        self.fails: bool | str = False  # a playbook's name: that one
        self.gangs: list[tuple[str, bool]] = []  # what the training operator is told by each playbook
        self.run = RunDirectory.create("addon", root=tmp_path)
        monkeypatch.setattr(module, "load_inventory", self._load)
        monkeypatch.setattr("bootstrap.inventory.edit.load_inventory", self._load)
        monkeypatch.setattr(module, "check_launch_settings", lambda _: None)
        monkeypatch.setattr(module, "sweep_private_directories", lambda: None)
        for place in (module, run):
            monkeypatch.setattr(place, "probe_hosts", lambda *_: {"cp1": self.probe})
        monkeypatch.setattr(run, "examine", self._examine)
        monkeypatch.setattr(module, "hold_locks", self._lock)
        monkeypatch.setattr(steps, "execute", self._execute)
        monkeypatch.setattr(addon_look, "cluster_api", self._api)
        monkeypatch.setattr(module, "in_use", lambda *_: self.used.pop(0) if len(self.used) > 1 else self.used[0])
        lacking = lambda *_: (Workload("DaemonSet", "kube-system/csi-nfs-node", self.lacks),)  # noqa: E731
        monkeypatch.setattr(addon_look, "workloads", lacking)
        monkeypatch.setattr(addon_look, "receipt_in", lambda *_: self.after)
        monkeypatch.setattr(addon_look, "READY_DEADLINE_S", -1.0)

    def _load(self, _path: Path) -> Inventory:
        line = next((line for line in self.path.read_text().splitlines() if line.startswith("cluster_addons=")), None)
        listed = yaml.safe_load(line.partition("=")[2]) if line else []
        found = inventory({"cp1": "198.51.100.1"}, {}, explicit={"cluster_addons": listed} if line else {})
        return dataclasses.replace(found, path=self.path)

    def _examine(self, asked: Inventory, probes: Mapping[str, ProbeResult], **_: object) -> Survey:
        seen = {name: probe for name, probe in probes.items() if isinstance(probe, HostFacts)}
        return Survey(asked, probes, Preflight(0, ()), decide(asked, seen), ())

    @contextmanager
    def _lock(self, *_: object, **__: object) -> Iterator[LockWatch]:
        yield LockWatch()

    @contextmanager
    def _api(self, *_: object) -> Iterator[None]:
        yield

    def _execute(self, playbook: str, _private: Path, inventory_file: Path, *_: object, **__: object) -> Execution:
        hosts = yaml.safe_load(inventory_file.read_text().replace("!unsafe", ""))["all"]["hosts"]
        todo = list(hosts["cp1"]["gpuctl_steps"])
        self.playbooks.append((playbook, todo))
        if OPERATOR in todo and playbook == "site.yml":
            self.gangs.append((playbook, hosts["cp1"]["kubeflow_training_operator_gang"]))
        failed = self.fails in (True, playbook)
        return Execution("successful", {"cp1": HostRun([] if failed else todo)}, (), stopped=False)

    def have(self, receipts: Mapping[str, Any], *listed: str) -> None:
        """Let the cluster have these components, and the inventory list these addons."""
        seen = facts()
        assert seen.kube is not None
        self.probe = dataclasses.replace(seen, kube=dataclasses.replace(seen.kube, receipts=receipts))
        self.path.write_text(f"{TEXT}\n[all:vars]\ncluster_addons={json.dumps(listed)}\n")

    def request(self, *names: str, **changes: Any) -> AddonRequest:
        return AddonRequest(self.path, self.run, names=names or (NFS,), **changes)

    @property
    def text(self) -> str:
        return self.path.read_text()


LISTED = f'{TEXT}\n[all:vars]\ncluster_addons=["{NFS}"]\n'
EMPTIED = LISTED.replace(f'["{NFS}"]', "[]")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


def code_of(error: pytest.ExceptionInfo[GpuctlError]) -> tuple[int, str]:
    return int(error.value.exit_code), error.value.problems[0].code


def test_add_lists_the_addon_and_runs_its_step_alone(world: World) -> None:
    done = module.add(world.request(), SilentView())
    assert (done.exit_code, done.problems) == (ExitCode.OK, ())
    assert world.playbooks == [("site.yml", ["csi_driver_nfs"])], "the cluster lacks more: that is bootstrap's to bring"
    assert world.text == LISTED
    assert done.inventory is not None
    assert (done.inventory.changed, done.inventory.line) == (True, f'cluster_addons=["{NFS}"]')
    assert [(one.name, one.version, one.state) for one in done.addons] == [(NFS, "4.13.4", State.READY)]


def test_add_leaves_the_inventory_when_told_and_says_its_line(world: World) -> None:
    done = module.add(world.request(keep_inventory=True), SilentView())
    assert world.playbooks == [("site.yml", ["csi_driver_nfs"])]
    assert world.text == TEXT
    assert done.inventory is not None
    assert (done.inventory.changed, done.inventory.line) == (False, f'cluster_addons=["{NFS}"]')


def test_add_changes_nothing_when_the_inventory_cannot_be_written_safely(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.path.write_text(f"{TEXT}[all:vars]\ncluster_addons={{{{ ours }}}}\n")
    before, found = world.text, inventory({"cp1": "198.51.100.1"}, {})
    monkeypatch.setattr(module, "load_inventory", lambda _: dataclasses.replace(found, path=world.path))
    with pytest.raises(GpuctlError) as error:
        module.add(world.request(), SilentView())
    assert code_of(error) == (3, "inventory-not-edited")
    assert (world.playbooks, world.text) == ([], before)


def test_add_says_which_pods_do_not_run(world: World) -> None:
    world.lacks = "0 of 1 pods ready (ImagePullBackOff)"
    done = module.add(world.request(), SilentView())
    assert done.exit_code is ExitCode.NOT_READY
    assert [(p.code, "ImagePullBackOff" in p.message) for p in done.problems] == [("addon-not-ready", True)]
    assert world.text == LISTED, "it is wanted: the next run goes on with it"


def test_a_step_that_failed_is_told(world: World) -> None:
    world.fails = True
    done = module.add(world.request(), SilentView())
    assert (done.exit_code, [p.code for p in done.problems]) == (ExitCode.STEP_FAILED, ["ansible-failed"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cluster": ClusterTraces(), "kube": None}, (4, "no-cluster")),
        ({"kube": KubeFacts(error="connection refused")}, (6, "api-unreachable")),
    ],
)
@pytest.mark.parametrize("verb", [module.add, module.remove])
def test_without_a_cluster_nothing_is_done(
    verb: Any, changes: dict[str, Any], expected: tuple[int, str], world: World
) -> None:
    world.probe = facts(**changes)
    with pytest.raises(GpuctlError) as error:
        verb(world.request(yes=True), SilentView())
    assert code_of(error) == expected
    assert (world.playbooks, world.text) == ([], TEXT)


@pytest.mark.parametrize("verb", [module.add, module.remove])
@pytest.mark.parametrize(
    ("names", "words"), [(("csi-drivr-nfs",), "did you mean csi-driver-nfs?"), ((",",), "no addon ,")]
)
def test_an_addon_that_nobody_knows(verb: Any, names: tuple[str, ...], words: str, world: World) -> None:
    with pytest.raises(GpuctlError, match=words.replace("?", r"\?")) as error:
        verb(world.request(*names), SilentView())
    assert code_of(error) == (2, "addon-unknown")
    assert error.value.problems[0].fix.startswith("the addons are: csi-driver-nfs")


@pytest.mark.parametrize("verb", [module.add, module.remove])
def test_a_minikube_profile_is_not_changed_here(verb: Any, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_inventory", lambda _: minikube_inventory())
    with pytest.raises(GpuctlError) as error:
        verb(world.request(), SilentView())
    assert code_of(error) == (3, "minikube-inventory")


def installed(world: World, **changes: Any) -> World:
    world.probe = facts({**RECEIPT, **changes})
    world.path.write_text(LISTED)
    return world


def test_remove_asks_then_takes_it_out_of_cluster_and_inventory(world: World) -> None:
    view = Yes()
    done = module.remove(installed(world).request(), view)
    assert (done.exit_code, done.removed) == (ExitCode.OK, (NFS,))
    assert view.asked == ["Remove csi-driver-nfs from cluster lab: 2 objects will be deleted. Continue?"]
    assert world.playbooks == [("addon_remove.yml", ["csi_driver_nfs"])]
    assert world.text == EMPTIED


def test_remove_that_is_not_confirmed_changes_nothing(world: World) -> None:
    done = module.remove(installed(world).request(), Yes(answer=False))
    assert (done.exit_code, [p.code for p in done.problems]) == (ExitCode.USAGE, ["not-confirmed"])
    assert (world.playbooks, world.text) == ([], LISTED)


@pytest.mark.parametrize("used", [[(VOLUME,)], [(), (VOLUME,)]], ids=["before", "while-asked"])
def test_remove_is_refused_while_somebody_needs_it(used: list[tuple[InUse, ...]], world: World) -> None:
    world.used = used
    done = module.remove(installed(world).request(yes=True), SilentView())
    assert (done.exit_code, done.in_use, done.removed) == (ExitCode.PREFLIGHT, (VOLUME,), ())
    (problem,) = done.problems
    assert (problem.code, problem.details) == ("addon-in-use", "persistentvolumes data: Bound")
    assert (world.playbooks, world.text) == ([], LISTED)


def test_what_was_installed_last_goes_first_and_one_that_is_needed_keeps_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever roles there are: the order is theirs."""
    both = tuple(Addon(name.replace("_", "-"), component_named(name)) for name in ("nfs_volumes", "csi_driver_nfs"))
    monkeypatch.setattr(module, "addons_named", lambda _: both)
    seen = facts(RECEIPT)
    assert seen.kube is not None
    receipts = {"nfs_volumes": {"state": "complete"}, "csi_driver_nfs": RECEIPT}
    world.probe = dataclasses.replace(seen, kube=dataclasses.replace(seen.kube, receipts=receipts))
    world.used = [(VOLUME,), ()]
    refused = module.remove(world.request("a", "b", yes=True, keep_inventory=True), SilentView())
    assert (refused.in_use, world.playbooks) == ((VOLUME,), [])
    done = module.remove(world.request("a", "b", yes=True, keep_inventory=True), SilentView())
    assert done.removed == (NFS, "nfs-volumes")
    assert world.playbooks == [("addon_remove.yml", ["csi_driver_nfs", "nfs_volumes"])]


def test_remove_that_fails_leaves_the_inventory(world: World) -> None:
    world.fails = True
    done = module.remove(installed(world).request(yes=True), SilentView())
    assert (done.exit_code, done.removed, done.inventory) == (ExitCode.STEP_FAILED, (), None)
    assert world.text == LISTED


def test_half_an_installation_is_removed_too(world: World) -> None:
    assert module.remove(installed(world, state="begun").request(yes=True), SilentView()).removed == (NFS,)


def test_remove_of_what_is_not_there_only_unlists_it(world: World) -> None:
    world.path.write_text(LISTED)
    done = module.remove(world.request(), SilentView())
    assert (done.exit_code, done.removed, world.playbooks, world.text) == (ExitCode.OK, (), [], EMPTIED)
    assert module.remove(world.request(), SilentView()).inventory is None


def test_remove_that_keeps_the_inventory_says_its_line(world: World) -> None:
    done = module.remove(installed(world).request(yes=True, keep_inventory=True), SilentView())
    assert world.text == LISTED
    assert done.inventory is not None
    assert (done.inventory.changed, done.inventory.line) == (False, "cluster_addons=[]")


@pytest.mark.parametrize(
    ("receipts", "listed", "named", "steps"),
    [
        ({OPERATOR: operator(gang=False)}, [TORCH], VOLCANO, [VOLCANO, OPERATOR]),
        ({VOLCANO: RECEIPT, OPERATOR: operator(gang=False)}, [VOLCANO, TORCH], VOLCANO, [VOLCANO, OPERATOR]),
        ({}, [TORCH], VOLCANO, [VOLCANO]),
        ({OPERATOR: operator(gang=False)}, [], VOLCANO, [VOLCANO]),
        ({}, [VOLCANO], TORCH, [VOLCANO, OPERATOR]),
        ({VOLCANO: {**RECEIPT, "state": "begun"}}, [VOLCANO], TORCH, [VOLCANO, OPERATOR]),
        ({VOLCANO: RECEIPT}, [VOLCANO], TORCH, [OPERATOR]),
        ({}, [], TORCH, [OPERATOR]),
        ({OPERATOR: operator(gang=False)}, [TORCH], NFS, ["csi_driver_nfs"]),
    ],
    ids=["connected", "interrupted", "not-there", "extra", "needed", "half-there", "there", "alone", "another"],
)
def test_add_connects_the_operator_with_volcano(
    receipts: dict[str, Any], listed: list[str], named: str, steps: list[str], world: World
) -> None:
    world.have(receipts, *listed)
    assert module.add(world.request(named), SilentView()).exit_code is ExitCode.OK
    assert world.playbooks == [("site.yml", steps)]
    assert all(gang == (VOLCANO in [*listed, named]) for _, gang in world.gangs)


@pytest.mark.parametrize("listed", [[VOLCANO, TORCH], [VOLCANO]], ids=["listed", "extra"])
@pytest.mark.parametrize("keep", [False, True])
def test_remove_has_the_operator_let_go_of_volcano_first(listed: list[str], keep: bool, world: World) -> None:
    world.have({VOLCANO: RECEIPT, OPERATOR: operator(gang=True)}, *listed)
    before, view = world.text, Yes()
    done = module.remove(world.request(VOLCANO, keep_inventory=keep), view)
    assert (done.exit_code, done.removed) == (ExitCode.OK, (VOLCANO,))
    assert world.playbooks == [("site.yml", [OPERATOR]), ("addon_remove.yml", [VOLCANO])]
    assert world.gangs == [("site.yml", False)], "with volcano it would not start again"
    assert [(o.outcome, o.completed) for o in done.outcomes] == [("done", (OPERATOR, VOLCANO))]
    assert "kubeflow-training-operator will start pods without volcano" in view.asked[0]
    assert world.text == (before if keep else before.replace('"volcano", ', "").replace('"volcano"', ""))


@pytest.mark.parametrize(
    ("receipts", "names", "playbooks"),
    [
        ({OPERATOR: operator(gang=True)}, (VOLCANO, TORCH), [("addon_remove.yml", [OPERATOR, VOLCANO])]),
        ({OPERATOR: operator(gang=False)}, (VOLCANO,), [("addon_remove.yml", [VOLCANO])]),
        ({}, (VOLCANO,), [("addon_remove.yml", [VOLCANO])]),
        ({OPERATOR: operator(gang=True)}, (TORCH,), [("addon_remove.yml", [OPERATOR])]),
        (
            {OPERATOR: operator(gang=False, state="begun")},
            (VOLCANO,),
            [("site.yml", [OPERATOR]), ("addon_remove.yml", [VOLCANO])],
        ),
    ],
    ids=["both", "without-it", "alone", "operator", "interrupted"],
)
def test_remove_leaves_an_operator_alone_that_goes_too_or_does_not_need_it(
    receipts: dict[str, Any], names: tuple[str, ...], playbooks: list[Any], world: World
) -> None:
    world.have({VOLCANO: RECEIPT, **receipts}, VOLCANO, TORCH)
    assert module.remove(world.request(*names, yes=True), SilentView()).exit_code is ExitCode.OK
    assert world.playbooks == playbooks


def test_an_operator_that_does_not_let_go_keeps_volcano(world: World) -> None:
    world.have({VOLCANO: RECEIPT, OPERATOR: operator(gang=True)}, VOLCANO, TORCH)
    world.fails, before = "site.yml", world.text
    done = module.remove(world.request(VOLCANO, yes=True), SilentView())
    assert (done.exit_code, done.removed) == (ExitCode.STEP_FAILED, ())
    assert (world.playbooks, world.text) == ([("site.yml", [OPERATOR])], before)


def test_a_gang_that_came_before_the_operator_let_go_keeps_volcano(world: World) -> None:
    world.have({VOLCANO: RECEIPT, OPERATOR: operator(gang=True)}, VOLCANO, TORCH)
    world.used, before = [(), (), (GANG,)], world.text
    done = module.remove(world.request(VOLCANO, yes=True), SilentView())
    assert (done.exit_code, done.in_use, done.removed) == (ExitCode.PREFLIGHT, (GANG,), ())
    assert (world.playbooks, world.text) == ([("site.yml", [OPERATOR])], before)
    assert [o.completed for o in done.outcomes] == [(OPERATOR,)], "that much was changed, and is told"


@pytest.mark.parametrize(
    ("probe", "lacks", "listed", "expected"),
    [
        (facts(), "", False, (State.ABSENT, False, False)),
        (facts(), "", True, (State.ABSENT, False, False)),
        (facts(RECEIPT), "", True, (State.READY, True, False)),
        (facts(RECEIPT), "", False, (State.READY, True, True)),
        (facts(RECEIPT), "0 of 1 pods ready", True, (State.NOT_READY, True, False)),
        (facts(RECEIPT, (Drift("object:x", "a", "gone"),)), "", True, (State.CHANGED, True, False)),
        (facts({**RECEIPT, "state": "begun"}), "", True, (State.INTERRUPTED, True, False)),
        (facts(cluster=ClusterTraces(), kube=None), "", True, (State.UNKNOWN, False, False)),
    ],
)
def test_list(probe: HostFacts, lacks: str, listed: bool, expected: tuple[State, bool, bool], world: World) -> None:
    world.probe, world.lacks = probe, lacks
    if listed:
        world.path.write_text(LISTED)
    before = world.text
    found = module.list_addons(AddonRequest(world.path, world.run))
    assert found.exit_code is ExitCode.OK
    assert [one.name for one in found.addons] == [addon.name for addon in known_addons()]
    (mine,) = (one for one in found.addons if one.name == NFS)
    assert (mine.state, mine.installed, mine.extra) == expected
    assert (mine.wanted, mine.purpose) == (listed, "Turn claims into folders of an NFS export")
    assert (world.playbooks, world.text) == ([], before)


def test_a_minikube_profile_is_listed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_inventory", lambda _: minikube_inventory(explicit={"cluster_addons": [NFS]}))
    monkeypatch.setattr(module, "probe_hosts", lambda *_: {"box": dataclasses.replace(facts(RECEIPT), host="box")})
    (mine,) = (one for one in module.list_addons(world.request()).addons if one.name == NFS)
    assert (mine.state, mine.wanted) == (State.READY, True)


def test_a_control_plane_that_cannot_be_reached_is_told(world: World) -> None:
    world.probe = Unreachable("cp1", "unreachable", "no answer", "start it")
    for verb in (lambda r: module.list_addons(r), lambda r: module.remove(r, SilentView())):
        with pytest.raises(GpuctlError) as error:
            verb(world.request())
        assert code_of(error) == (4, "unreachable")


def test_every_addon_says_which_objects_need_it() -> None:
    """A scheduler that goes away under its jobs leaves them hanging: a role without this cannot be told in time."""
    for addon in known_addons():
        assert addon.component.scope == "cluster", addon.name
        assert addon.component.wanted, addon.name
        assert addon.component.purpose, addon.name
        assert addon.component.in_use, addon.name
        for entry in addon.component.in_use:
            assert entry.kind.count("/") in {1, 2}, entry.kind
            assert all(pointer.startswith("/") for pointer in (entry.state, *entry.where)), entry
