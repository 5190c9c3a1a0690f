"""A queue's configuration: read with its lines, refused for what the agent refuses, with variables that fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import GpuctlError
from bootstrap.launch.queue_apply import check_config
from bootstrap.launch.queue_file import QueueConfig, parse_queue_config
from bootstrap.launch.queue_preset import DEFAULT_GPUS, PresetChoices, parse_claim, render_preset
from bootstrap.launch.queue_rules import refusals, warnings
from bootstrap.launch.template_variables import from_option, numbers, problems

GOLDEN = Path(__file__).parents[2] / "golden" / "launch"
JOB = """\
metadata: {namespace: jobs}
spec:
  template:
    spec:
      containers:
        - image: ${image_uri}
          resources: {limits: {nvidia.com/gpu: "{{gpus}}"}}
"""
GPUS = "template_variables:\n  gpus: {type: integer, default: 1, minimum: 1, maximum: 8}\n"


def read(text: str) -> QueueConfig:
    return parse_queue_config(text, "q.yaml")


def indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())


def refused(text: str) -> list[tuple[str, str | None]]:
    return [(problem.code, problem.at) for problem in refusals(read(text))]


@pytest.mark.parametrize(
    ("text", "first_line"),
    [
        (JOB + GPUS, 1),
        ("kubernetes:\n" + indented(JOB, 2) + GPUS, 2),
        ("resource_args:\n  kubernetes:\n" + indented(JOB, 4) + GPUS, 3),
    ],
)
def test_each_form_is_the_same_configuration(text: str, first_line: int) -> None:
    found = read(text)
    assert found.kubernetes == yaml.safe_load(JOB)
    assert found.variables == {"gpus": {"type": "integer", "default": 1, "minimum": 1, "maximum": 8}}
    assert found.at(("metadata", "namespace")) == f"q.yaml:{first_line}"
    assert found.at(("spec", "template", "spec", "containers", 0, "image")) == f"q.yaml:{first_line + 5}"
    assert list(problems(found)) == []
    assert list(refusals(found)) == []
    assert list(warnings(found)) == []


def test_json_is_read_too_with_schemas_as_the_client_has_them() -> None:
    document = {"kubernetes": yaml.safe_load(JOB), "template_variables": {"gpus": {"schema": dict(DEFAULT_GPUS)}}}
    found = read(json.dumps(document, indent=2))
    assert found.variables == {"gpus": DEFAULT_GPUS}
    assert list(problems(found)) == []


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "no configuration"),
        ("- a\n- b\n", None, "no configuration"),
        ("spec:\n  a: b\n c: d\n", 3, "neither YAML nor JSON"),
        ("spec:\n  gpus: {{gpus}}\n", 2, "neither YAML nor JSON"),
        ("a: *b\n", 1, "neither YAML nor JSON"),
        ("x: !!python/object:os.system {}\n", 1, "neither YAML nor JSON"),
        ("kubernetes: {}\nspec: {}\n", 2, "`spec` stands beside `kubernetes`"),
        ("resource_args:\n  sagemaker: {}\n", None, "holds sagemaker, not `kubernetes`"),
        ("kubernetes: 7\n", 1, "`kubernetes` is no mapping"),
        ("spec: {}\ntemplate_variables: 3\n", 2, "`template_variables` is no mapping"),
        ("spec: {}\ntemplate_variables:\n  a: 3\n", 3, "`a` has no schema"),
        ("[" * 3000, None, "neither YAML nor JSON"),
        ("a: &x {b: *x}\n", None, ""),
        ("a: 2024-13-45\n", None, "a value that JSON has not"),
        ("a: 2024-01-01\n", None, "a value that JSON has not"),
        ("a: !!binary aGk=\n", None, "a value that JSON has not"),
        ("a: .nan\n", None, "a value that JSON has not: infinity, or no number"),
        ('{"a": [1, -.inf]}', None, "a value that JSON has not: infinity, or no number"),
        ("a: b\nc: \x1b[2J\n", 2, "a character that YAML forbids (U+001B)"),
        ("spec: {}\ntemplate_variables: {1: 3}\n", 2, "`1` has no schema"),
        ("spec: {}\ntemplate_variables: {yes: 3}\n", 2, "`True` has no schema"),
        ("resource_args:\n  kubernetes: {}\n  template_variables: {}\n", 3, "stands beside `kubernetes`"),
    ],
)
def test_what_is_no_configuration_has_its_line(text: str, line: int | None, words: str) -> None:
    with pytest.raises(GpuctlError) as caught:
        read(text)
    (problem,) = caught.value.problems
    assert problem.code == "launch-config-invalid"
    assert words in problem.message
    assert problem.fix
    assert (problem.at or "").startswith(f"q.yaml:{line}" if line else "q.yaml")


REFUSED: dict[str, Any] = {
    "securityContext": {},
    "hostPath": {"path": "/data"},
    "serviceAccountToken": {},
    "hostPID": True,
    "hostIPC": "yes",
    "hostNetwork": 1,
    "shareProcessNamespace": "true",
    "hostUsers": True,
    "automountServiceAccountToken": "1",
    "hostPort": 8080,
    "serviceAccountName": "admin",
    "serviceAccount": "admin",
    "mountPropagation": "Bidirectional",
}
PASSES: dict[str, Any] = {
    "hostNetwork": False,
    "automountServiceAccountToken": "false",
    "hostPort": 0,
    "serviceAccountName": "",
    "mountPropagation": "HostToContainer",
    "runtimeClassName": "nvidia",
    "emptyDir": {"medium": "Memory"},
    "persistentVolumeClaim": {"claimName": "x"},
    "initContainers": [],
    "annotations": {"note": "unconfined", "seccomp.example.com/x": "RuntimeDefault"},
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_the_agent_refuses_is_refused_here_with_its_line(key: str) -> None:
    text = JOB + f"      deep:\n        - {key}: {json.dumps(REFUSED[key])}\n"
    assert refused(text) == [("launch-config-refused", "q.yaml:9")]


@pytest.mark.parametrize("name", ["container.apparmor.security.beta.kubernetes.io/main", "SECCOMP.example.com/pod"])
def test_a_profile_that_confines_nothing_is_refused(name: str) -> None:
    assert refused(f"metadata:\n  annotations:\n    {name}: unconfined\n") == [("launch-config-refused", "q.yaml:3")]


@pytest.mark.parametrize("key", PASSES)
def test_what_the_agent_takes_is_taken(key: str) -> None:
    assert refused(JOB + f"      more: {{{json.dumps(key)}: {json.dumps(PASSES[key])}}}\n") == []


def test_the_agents_key_is_written_into_no_job() -> None:
    assert refused('a:\n  - "${WANDB_API_KEY}"\n') == [("launch-config-refused", "q.yaml:2")]


def test_a_context_is_refused() -> None:
    assert refused("context: lab\nspec: {}\n") == [("launch-config-refused", "q.yaml:1")]


TREES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(REFUSED)), st.lists(st.tuples(st.booleans(), st.text(max_size=5), TREES), max_size=8))
def test_no_depth_hides_what_is_refused(key: str, above: list[tuple[bool, str, Any]]) -> None:
    value: Any = {key: REFUSED[key]}
    for in_list, name, beside in above:
        value = [beside, value] if in_list else {"beside": beside, f"in {name}": value}
    config = QueueConfig({"spec": value})
    assert key in [problem.message.split("`")[1] for problem in refusals(config)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spec: {}\n", "no namespace"),
        ("apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nmetadata: {name: a}\n", "API key into it in clear text"),
        ("apiVersion: kubeflow.org/v1\nkind: PyTorchJob\n", "needs metadata.name or metadata.generateName"),
        ("metadata: {name: fixed}\n", "only one job of it"),
        ("spec: {}\n", "no container has a limit of nvidia.com/gpu"),
        ("spec: {resources: {requests: {nvidia.com/gpu: 1}}}\n", "no container has a limit of nvidia.com/gpu"),
        ("spec: {resources: {requests: {nvidia.com/gpu: 1}}}\n", "requested without a limit"),
        ("a: ${nothing}\n", "${nothing} is no macro"),
        (JOB + GPUS + "  spare: {type: string}\n", "`spare` is used nowhere"),
    ],
)
def test_what_bites_later_is_said(text: str, words: str) -> None:
    assert any(words in caution.message for caution in warnings(read(text)))


def test_macros_of_the_agent_are_left_alone() -> None:
    macros = "".join(
        f"{name}: ${{{name}}}\n"
        for name in ("image_uri", "run_id", "run_name", "project_name", "entity_name", "author")
    )
    assert not [c for c in warnings(read(macros)) if "macro" in c.message]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("{type: int}", "type is 'int'"),
        ("{default: 1}", "type is 'None'"),
        ("{type: integer, default: 1.5}", "not of type integer"),
        ("{type: integer, default: true}", "not of type integer"),
        ("{type: integer, default: 9, maximum: 8}", "default 9 is not allowed"),
        ("{type: integer, default: 0, minimum: 1}", "default 0 is not allowed"),
        ("{type: integer, minimum: 4, maximum: 2}", "minimum 4 is above maximum 2"),
        ("{type: string, enum: [a], default: b}", "default 'b' is not allowed"),
        ("{type: string, enum: []}", "no list of values"),
        ("{type: string, minimum: a}", "no minimum or maximum"),
        ("{type: number, maximun: 1}", "unknown key `maximun`"),
    ],
)
def test_variables_that_cannot_be_are_refused_with_their_line(schema: str, words: str) -> None:
    found = list(problems(read(f"a: '{{{{x}}}}'\ntemplate_variables:\n  x: {schema}\n")))
    assert [(problem.code, problem.at) for problem in found] == [("launch-variable-invalid", "q.yaml:3")]
    assert words in found[0].message


def test_a_variable_that_nobody_declared_is_refused_where_it_stands() -> None:
    found = list(problems(read(JOB)))
    assert [(problem.code, problem.at) for problem in found] == [("launch-variable-unknown", "q.yaml:7")]
    with pytest.raises(GpuctlError):
        check_config(read(JOB))


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-50, 50))
def test_numbers_are_taken_in_order_only(default: int, low: int, high: int) -> None:
    text = f"{default},{low},{high}"
    if low <= default <= high:
        assert numbers("--gpus", text) == {"type": "integer", "default": default, "minimum": low, "maximum": high}
        assert list(problems(QueueConfig({"a": "{{x}}"}, {"x": numbers("--gpus", text)}))) == []
    else:
        with pytest.raises(GpuctlError):
            numbers("--gpus", text)


@given(st.text(max_size=20))
def test_options_are_a_variable_or_an_error(text: str) -> None:
    try:
        name, schema = from_option("--var", text)
    except GpuctlError as error:
        assert error.problems[0].fix  # noqa: PT017 - any text may be one or the other
        return
    assert list(problems(QueueConfig({"a": f"{{{{{name}}}}}"}, {name: schema}))) == []


@pytest.mark.parametrize("text", ["1", "1,2", "1,1,8,9", "a,b,c", "", "nan,nan,nan", "1,1,inf"])
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(GpuctlError):
        numbers("--gpus", text)


def test_fractions_and_choices() -> None:
    assert numbers("--var", "0.5,0,1") == {"type": "number", "default": 0.5, "minimum": 0.0, "maximum": 1.0}
    assert from_option("--var", "tier=a|b") == ("tier", {"type": "string", "enum": ["a", "b"], "default": "a"})


@pytest.mark.parametrize("name", ["volcano", "pytorchjob"])
def test_presets_of_several_pods_are_what_they_were(golden: Callable[[Path, str], None], name: str) -> None:
    choices = PresetChoices(DEFAULT_GPUS, numbers("--workers", "1,1,3"), "jobs", claim="nfs-kubedata")
    config = render_preset(name, choices, {})
    cautions = [caution.message for caution in check_config(config)]
    assert len(cautions) == 1
    assert "the agent writes the W&B API key into it" in cautions[0]
    text = json.dumps({"kubernetes": config.kubernetes, "variables": config.variables}, indent=2)
    golden(GOLDEN / f"{name}.json", text + "\n")


@pytest.mark.parametrize(
    ("file", "choices"),
    [
        ("job.json", PresetChoices(DEFAULT_GPUS)),
        ("job-nfs.json", PresetChoices(DEFAULT_GPUS, None, "jobs", "{{cpu}}", "300Mi", "nfs-kubedata")),
    ],
)
def test_presets_are_what_they_were(golden: Callable[[Path, str], None], file: str, choices: PresetChoices) -> None:
    cpu = {"cpu": numbers("--var", "2,1,16")} if "cpu" in choices.cpu else {}
    config = render_preset("job", choices, cpu)
    assert check_config(config) == ()
    golden(GOLDEN / file, json.dumps({"kubernetes": config.kubernetes, "variables": config.variables}, indent=2) + "\n")


@pytest.mark.parametrize(
    "choices",
    [
        PresetChoices(DEFAULT_GPUS, cpu="many"),
        PresetChoices(DEFAULT_GPUS, memory="16 Gi"),
        PresetChoices(DEFAULT_GPUS, namespace="My_Jobs"),
    ],
)
def test_choices_that_cannot_be_are_refused(choices: PresetChoices) -> None:
    with pytest.raises(GpuctlError):
        render_preset("job", choices, {})


def test_claims() -> None:
    assert parse_claim("data") == ("data", "/root/.cache")
    assert parse_claim("data:/mnt") == ("data", "/mnt")
    for bad in ("", "Data", "data:", "data:mnt", ":/mnt"):
        with pytest.raises(GpuctlError):
            parse_claim(bad)
