"""What a host may answer to the probe, with one thing changed: facts, a finding of that host, or a refusal."""

from __future__ import annotations

import json
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache

from bootstrap.apply.results import PlanResult
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.plan.planner import installed_components
from bootstrap.plan.survey import Survey, examine, last_applied_s, not_ready, readiness
from bootstrap.printable import printable
from bootstrap.probe.facts import ProbeResult, Unreachable
from bootstrap.probe.run import read_answer
from bootstrap.probe.ssh_errors import ConnectFailure
from bootstrap.ui.document import as_text, envelope
from bootstrap.ui.problems import problem_lines
from bootstrap.ui.screens import hosts_screen, plan_result_screen, preflight_screen
from tests.fuzz.mutate import document_mutations
from tests.fuzz.share import cases
from tests.unit.checks.recorded import fresh, lab, live, read

HOSTS = {
    "fresh-control-plane": "cp1",
    "fresh-gpu-host": "gpu1",
    "live-control-plane": "cp1",
    "live-gpu-host": "gpu1",
}
CASES = 20_000
SLOW_S = 5.0  # far above what any case takes: one that needs longer hangs, for a user


@cache
def _inventory() -> Inventory:
    return lab()


@cache
def _others(fixture: str) -> Mapping[str, ProbeResult]:
    """Three hosts as they were recorded, the mutated one among them."""
    if fixture.startswith("fresh"):
        return fresh()
    gpu1 = live("gpu1")
    names = {"host": "gpu2", "hostname": "gpu2", "machine_id": "b" * 32, "boot_id": "c", "macs": ("02:00:00:00:00:02",)}
    return {"cp1": live("cp1"), "gpu1": gpu1, "gpu2": replace(gpu1, **names, receipts={})}


def probed(host: str, text: str) -> ProbeResult:
    """As the probe's thread: what a host's answer cannot be is that host's."""
    try:
        return read_answer(_inventory().host(host), text, time.time(), time.time())
    except ConnectFailure as failure:
        return Unreachable(host, failure.code, str(failure), failure.fix)


def shown(survey: Survey) -> Iterable[str]:
    """All that `gpuctl plan` would print of it, and its document."""
    yield from hosts_screen(survey.hosts, 0.4)
    yield from preflight_screen(survey.preflight)
    if survey.decision is None:
        yield from problem_lines(survey.problems)
        yield as_text(envelope("plan", ExitCode.PREFLIGHT, None, survey.problems))
        return
    view = survey.decision.view
    state = readiness(_inventory(), survey.facts, view.kube) if view.kube else None
    result = PlanResult(
        exit_code=ExitCode.OK,
        cluster_name=_inventory().cluster_name,
        hosts=survey.hosts,
        preflight=survey.preflight,
        plan=survey.decision.plan,
        elapsed_s=0.4,
        readiness=state,
        components=installed_components(_inventory(), survey.facts, survey.decision),
        last_applied_s=last_applied_s(survey.facts, view),
    )
    yield from plan_result_screen(result)
    yield from problem_lines(not_ready(state) if state else ())
    yield as_text(envelope("plan", ExitCode.OK, result.as_dict()))


def outcome(fixture: str, text: str) -> str:
    """What became of one answer: facts, refused (the cluster's plan), or the code of the host's finding."""
    host = HOSTS[fixture]
    found = probed(host, text)
    survey = examine(_inventory(), {**_others(fixture), host: found})
    for line in shown(survey):
        printable(line).encode("utf-8")
    if isinstance(found, Unreachable):
        return found.code
    return "facts" if survey.decision else "refused"


def test_mutated_answers_end_in_facts_or_a_finding(figure: Callable[[str], None]) -> None:
    share = cases(CASES) // len(HOSTS)
    seen: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    slowest = 0.0
    for number, fixture in enumerate(HOSTS):
        for where, document in document_mutations(read(fixture), 20261202 + number, share):
            text, began = json.dumps(document), time.monotonic()
            try:
                seen[outcome(fixture, text)] += 1
            except Exception as error:  # noqa: BLE001 - a traceback for what a host says is what is looked for
                place = traceback.extract_tb(error.__traceback__)[-1]
                failures[
                    f"{type(error).__name__} in {place.filename.rpartition('/')[2]}:{place.lineno}, as {where}"
                ] += 1
            slowest = max(slowest, time.monotonic() - began)
    total = sum(seen.values()) + failures.total()
    said = ", ".join(f"{count} {what}" for what, count in seen.most_common())
    figure(f"mutated probe answers: {total}: {said}; {failures.total()} tracebacks, slowest {slowest:.2f} s")
    assert not failures, "\n".join(failures)
    assert slowest < SLOW_S
