"""What minikube prints, one event per line, and what else comes between."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.minikube.events import Download, Event, Failure, Remark, Step, parse_event
from tests.unit.minikube.machine import STARTING, error, event, step

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
KINDS = st.sampled_from(["step", "download", "download.progress", "error", "warning", "info", "else"])
FIELDS = st.sampled_from(["message", "currentstep", "totalsteps", "artifact", "progress", "name", "exitcode", "advice"])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (step(3, "Starting control-plane node"), Step(3, 19, "Starting control-plane node")),
        (event("download", artifact="kicbase.tar"), Download("kicbase.tar")),
        (event("download.progress", artifact="kicbase.tar", progress="0.25"), Download("kicbase.tar", 25.0)),
        (event("download.progress", artifact="a", progress="NaN"), Download("a")),
        (event("download.progress", artifact="a", progress="+Inf"), Download("a", 100.0)),
        (event("warning", message="root"), Remark("root", warning=True)),
        (event("info", message="Using Docker"), Remark("Using Docker")),
        (event("info", message=""), None),
        (error("GUEST_PROVISION", 80, "no", "try"), Failure("no", "GUEST_PROVISION", 80, "try")),
        ("* a line for people", Remark("* a line for people")),
        ("[]", Remark("[]")),
        ('{"type": "io.k8s.sigs.minikube.step", "data": null}', Step(0, 0, "")),
        ("{", Remark("{")),
        ("   ", None),
        ('{"something": "else"}', None),
    ],
)
def test_a_line(line: str, expected: Event | None) -> None:
    assert parse_event(line) == expected


def test_a_start() -> None:
    kinds = [type(parse_event(line)) for line in STARTING]
    assert kinds == [Step, Step, Remark, Download, Download, Step]


@given(st.text())
def test_no_line_breaks_it(line: str) -> None:
    parse_event(line)


@given(KINDS, st.dictionaries(FIELDS, JSON), st.booleans())
def test_no_value_of_a_field_breaks_it(kind: str, data: dict[str, object], whole: bool) -> None:
    line = json.dumps({"type": f"io.k8s.sigs.minikube.{kind}", "data": data if whole else list(data)})
    found = parse_event(line)
    if isinstance(found, Download) and found.percent is not None:
        assert 0 <= found.percent <= 100
    if isinstance(found, Step):
        assert found.number >= 0
        assert found.total >= 0
