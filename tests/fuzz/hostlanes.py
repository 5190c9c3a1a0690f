"""The lanes that read what hosts answer to the probe: from the bytes to what a person sees, and the run's inventory."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from bootstrap.apply.reset import acting_view, foreign_clusters, leaving_nodes, removal_steps
from bootstrap.apply.results import BootstrapResult, PlanResult, ResetResult
from bootstrap.apply.run_inventory import write_run_inventory
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.minikube.checks import check_docker, check_profile, foreign_context
from bootstrap.minikube.look import look
from bootstrap.minikube.options import ProfileOptions
from bootstrap.minikube.state import differences, made_with, phase_of
from bootstrap.plan.arguments import expected_gpus, resolve_arguments
from bootstrap.plan.cluster_view import node_name, view_cluster
from bootstrap.plan.planner import installed_components
from bootstrap.plan.survey import Survey, examine, last_applied_s, not_ready, readiness, summarise
from bootstrap.probe.facts import HostFacts, ProbeResult, Unreachable
from bootstrap.probe.run import read_answer
from bootstrap.probe.session import Completed, Session
from bootstrap.probe.ssh_errors import ConnectFailure
from bootstrap.ui.document import as_text, envelope
from bootstrap.ui.problems import problem_lines
from bootstrap.ui.screens import bootstrap_screen, hosts_screen, plan_result_screen, preflight_screen, reset_screen
from bootstrap.ui.verification import verify_screen
from bootstrap.verify.evidence import Evidence
from bootstrap.verify.layers import judge
from bootstrap.verify.results import VerifyResult
from bootstrap.verify.runtime import RuntimeFacts
from tests.unit.checks.recorded import lab, live, read
from tests.unit.factories import minikube_inventory
from tests.unit.minikube.machine import Machine, record

# The probe's answers that are made hostile, and the host whose each is.
ANSWERS = {"live-control-plane": "cp1", "live-gpu-host": "gpu1"}
# In receipts: what the planner compares and the screens show.
RECEIPT_PLACES = (
    "revision", "component", "state", "machine_id", "completed_at", "gpus", "value", "digest", "evidence", "versions",
)  # fmt: skip


@cache
def inventory() -> Inventory:
    """A control plane and two workers."""
    return lab()


def everywhere(document: Any, text: str) -> Any:
    """The document with the text in the place of every text of it."""
    if isinstance(document, dict):
        return {key: everywhere(item, text) for key, item in document.items()}
    if isinstance(document, list):
        return [everywhere(item, text) for item in document]
    return text if isinstance(document, str) else document


def one_place(document: Any, text: str) -> Iterator[Any]:
    """Copies of the document, each with the text in the place of one text, or of one key."""
    for path, of_key in list(_places(document)):
        changed = copy.deepcopy(document)
        parent = changed
        for key in path[:-1]:
            parent = parent[key]
        if of_key:
            parent[text] = parent.pop(path[-1])
        else:
            parent[path[-1]] = text
        yield changed


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], bool]]:
    if isinstance(value, str):
        yield path, False
        return
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(key, str):
            yield (*path, key), True
        yield from _places(item, (*path, key))


def in_receipts(document: Mapping[str, Any], place: str, text: str) -> dict[str, Any]:
    """The document with the text at that place of each receipt: of the host's, and of the cluster's."""
    changed = copy.deepcopy(dict(document))
    for receipts in (changed.get("receipts") or {}, (changed.get("kube") or {}).get("receipts") or {}):
        for receipt in receipts.values():
            if place in {"value", "digest"}:
                for entry in receipt["arguments"].values():
                    entry[place] = text
            elif place == "gpus":
                receipt[place] = [text]
            elif place in {"evidence", "versions"}:
                receipt[place] = {text: text, "files": {text: text}, "packages": {text: text}}
            else:
                receipt[place] = text
    return changed


def probed(host: str, text: str, of: Inventory) -> ProbeResult:
    """As the probe's thread: what a host's answer cannot be is that host's."""
    try:
        return read_answer(of.host(host), text, time.time(), time.time())
    except ConnectFailure as failure:
        return Unreachable(host, failure.code, str(failure), failure.fix)


class HostLanes:
    """Runs the stations of each verb over one host's answer; `inventories` are the files that Ansible would read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventories: list[str] = []
        self.text = ""  # what stands in the answer; in a look at a profile, too
        self.keep = False  # the next inventory is for Ansible to read
        self._made = 0

    @property
    def lanes(self) -> Mapping[str, Callable[[str, str], list[str]]]:
        """By name: fixture and answer in, what is shown out."""
        return {
            "plan": self.plan,
            "bootstrap": self.bootstrap,
            "verify": self.verify,
            "reset": self.reset,
            "minikube": self.minikube,
        }

    @staticmethod
    def taken(document: Mapping[str, Any], text: str) -> dict[str, Any]:
        """The document with the text wherever the probe's reader takes any text, at once."""
        changed = copy.deepcopy(dict(document))
        changed["os"]["pretty"] = text
        changed["listeners"] = dict.fromkeys(changed["listeners"], text)
        changed["disk_free_bytes"][text] = 1
        for gpu in changed["driver"]["gpus"]:
            gpu["name"] = text
        for node in (changed.get("kube") or {}).get("nodes") or []:
            node["reason"] = text
        for receipt in changed["receipts"].values():
            receipt["evidence"] = dict.fromkeys(receipt.get("evidence") or {}, text) | {f"file:{text}": text}
            for entry in receipt["arguments"].values():
                if isinstance(entry.get("value"), str):
                    entry["value"] = text
        return changed

    def plan(self, fixture: str, text: str) -> list[str]:
        """`gpuctl plan`."""
        survey = self._survey(fixture, text)
        if survey.decision is None:
            return _refused("plan", survey)
        result = PlanResult(**self._common(survey))
        return [*plan_result_screen(result), as_text(envelope("plan", ExitCode.OK, result.as_dict()))]

    def bootstrap(self, fixture: str, text: str) -> list[str]:
        """`gpuctl bootstrap`, up to Ansible's inventory, and its end."""
        survey = self._survey(fixture, text)
        if survey.decision is None:
            return _refused("bootstrap", survey)
        decision = survey.decision
        self._write(inventory(), decision.arguments.by_host, decision.plan.steps, decision.view.seed, {})
        common = self._common(survey)
        state = common["readiness"]
        result = BootstrapResult(**common, problems=not_ready(state) if state else ())
        return [
            *bootstrap_screen(result, "gpuctl verify-gpus"),
            *problem_lines(result.problems),
            as_text(envelope("bootstrap", ExitCode.OK, result.as_dict(), result.problems)),
        ]

    def verify(self, fixture: str, text: str) -> list[str]:
        """`gpuctl verify-gpus`, where the runtimes and the API say nothing more."""
        probes = self._probes(fixture, text)
        facts = {name: probe for name, probe in probes.items() if isinstance(probe, HostFacts)}
        try:
            seen = view_cluster(inventory(), facts)
        except GpuctlError as error:
            return problem_lines(error.problems)
        results, problems = [], []
        for mine in facts.values():
            evidence = Evidence(
                facts=mine,
                expected=expected_gpus(mine),
                runtime=RuntimeFacts(error="not asked"),
                node=seen.nodes.get(node_name(mine)),
                api_error="",
                plugin_pod="",
                computed=None,
                runtime_class="nvidia",
            )
            result, found = judge(evidence)
            results.append(result)
            problems += found
        found = VerifyResult(ExitCode.NOT_READY, "lab", tuple(results), 0.4, tuple(problems))
        document = as_text(envelope("verify-gpus", ExitCode.NOT_READY, found.as_dict(), found.problems))
        return [*verify_screen(found), *problem_lines(found.problems), document]

    def reset(self, fixture: str, text: str) -> list[str]:
        """`gpuctl reset`, up to Ansible's inventory, and its end."""
        probes = self._probes(fixture, text)
        refused = [Problem(p.code, p.message, p.fix, p.host) for p in probes.values() if isinstance(p, Unreachable)]
        if refused:
            return problem_lines(refused)
        facts = {name: probe for name, probe in probes.items() if isinstance(probe, HostFacts)}
        chosen = frozenset(facts)
        try:
            steps = removal_steps(inventory(), facts, chosen)
            seen = acting_view(inventory(), facts, chosen)
            leaving = leaving_nodes(seen, facts, chosen)
            arguments = resolve_arguments(inventory(), facts, seen).by_host
        except GpuctlError as error:
            return problem_lines(error.problems)
        self._write(inventory(), arguments, steps, seen.seed, {"gpuctl_leaving_nodes": leaving})
        kept = foreign_clusters(inventory(), facts, chosen)
        hosts = tuple(summarise(probe) for probe in probes.values())
        result = ResetResult(ExitCode.OK, "lab", hosts, (), 0.4, kept)
        return [*reset_screen(result), as_text(envelope("reset", ExitCode.OK, result.as_dict()))]

    def minikube(self, fixture: str, text: str) -> list[str]:  # noqa: ARG002 - as the others
        """`gpuctl minikube up`, up to the roles' inventory: the same answer, of a host with a profile."""
        shown = [line for answer in _looks(self.text) for line in _profile(answer)]
        of = minikube_inventory()
        survey = examine(of, {"box": probed("box", text, of)})
        if survey.decision is None:
            return [*shown, *_refused("minikube up", survey)]
        decision = survey.decision
        self._write(of, decision.arguments.by_host, decision.plan.steps, decision.view.seed, {})
        return [*shown, *hosts_screen(survey.hosts, 0.4), *preflight_screen(survey.preflight)]

    def _probes(self, fixture: str, text: str) -> dict[str, ProbeResult]:
        host = ANSWERS[fixture]
        return {**_others(), host: probed(host, text, inventory())}

    def _survey(self, fixture: str, text: str) -> Survey:
        return examine(inventory(), self._probes(fixture, text))

    def _common(self, survey: Survey) -> dict[str, Any]:
        assert survey.decision is not None
        view = survey.decision.view
        return {
            "exit_code": ExitCode.OK,
            "cluster_name": inventory().cluster_name,
            "hosts": survey.hosts,
            "preflight": survey.preflight,
            "plan": survey.decision.plan,
            "elapsed_s": 0.4,
            "readiness": readiness(inventory(), survey.facts, view.kube) if view.kube else None,
            "components": installed_components(inventory(), survey.facts, survey.decision),
            "last_applied_s": last_applied_s(survey.facts, view),
        }

    def _write(self, of: Inventory, arguments: Any, steps: Any, seed: str, extra: Mapping[str, Any]) -> None:
        if not self.keep:
            return
        self._made += 1
        path = self.folder / f"inventory-{self._made}.yml"
        stop = self.folder / "stop"
        write_run_inventory(path, of, arguments, steps, seed=seed, run_id="r", stop_file=stop, extra=extra)
        self.inventories.append(str(path))


@cache
def _others() -> Mapping[str, ProbeResult]:
    gpu1 = live("gpu1")
    names = {"host": "gpu2", "hostname": "gpu2", "machine_id": "b" * 32, "boot_id": "c", "macs": ("02:00:00:00:00:02",)}
    return {"cp1": live("cp1"), "gpu1": gpu1, "gpu2": replace(gpu1, **names, receipts={})}


@cache
def recorded(fixture: str) -> dict[str, Any]:
    """The answer as it was recorded."""
    return read(fixture)


def _refused(verb: str, survey: Survey) -> list[str]:
    document = as_text(envelope(verb, ExitCode.PREFLIGHT, None, survey.problems))
    return [
        *hosts_screen(survey.hosts, 0.4),
        *preflight_screen(survey.preflight),
        *problem_lines(survey.problems),
        document,
    ]


class _Answers:
    """A session on which each command prints the same."""

    python = "python3"

    def __init__(self, out: str) -> None:
        self._out = out

    def run(self, argv: Sequence[str], timeout_s: float = 0.0) -> Completed:  # noqa: ARG002
        """The answer."""
        return Completed(0, self._out, self._out)


def _looks(text: str) -> Iterator[str]:
    """Looks at a profile in which the text is: in place of all texts, in minikube's record, in Docker's answers."""
    seen = Machine.running()._seen()
    own = {"profile": "gpuctl", "home": "/home/ada"}
    inner = {
        name: seen[name] | {"out": json.dumps(everywhere(json.loads(seen[name]["out"]), text))}
        for name in ("docker", "container", "node")
    }
    yield json.dumps(everywhere(seen, text))
    yield json.dumps(everywhere(seen, text) | own | {"uid": 1000})
    yield json.dumps(seen | {"config": json.dumps(everywhere(record(), text)), "kubeconfig": text, "others": [text]})
    yield json.dumps(seen | inner)
    yield json.dumps(seen | {"bundle": json.dumps({"addon_images": text}), "version": seen["version"] | {"out": text}})


def _profile(answer: str) -> list[str]:
    """What `minikube up`, `status` and `down` make of a look."""
    try:
        seen = look(cast("Session", _Answers(answer)), "box", "gpuctl")
        options = made_with(seen, "gpuctl")
        shown = [str(phase_of(seen)), *map(str, differences(seen, ProfileOptions(profile="gpuctl")))]
        check_docker(seen, "box")
        check_profile(seen, options, "box", local=False)
        return [*shown, foreign_context(seen, "gpuctl")]
    except GpuctlError as error:
        return problem_lines(error.problems)


def as_answer(document: Any) -> str:
    """What the probe prints."""
    return json.dumps(document)
