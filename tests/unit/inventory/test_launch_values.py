"""The chart's values.yaml: what is taken from it, and every complaint with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.inventory.launch_schema import _SSH as SSH
from bootstrap.inventory.launch_schema import CHART, LAUNCH_CONFIG
from bootstrap.inventory.launch_values import parse_values, secrets_of, settings_of

KEY = "local-" + "0123456789abcdef" * 2 + "01234567"
PATH = Path("values.yaml")
INVALID = "launch-values-invalid"
BUILDER, MEANT = "launchConfig.builder", "did you mean `build-context-store`?"
RICH = (Path(__file__).parents[2] / "fixtures" / "launch" / "rich-values.yaml").read_text(encoding="utf-8")


def complaints(text: str) -> list[str]:
    return [f"{p.at}: {p.message} [{p.code}]" for p in parse_values(text, PATH)[1]]


def test_a_rich_file_is_taken_whole() -> None:
    values, problems = parse_values(RICH, PATH)
    assert problems == ()
    assert set(values) == set(CHART)
    assert values["launchConfig"]["builder"]["build-context-store"] == "s3://builds/contexts"
    assert settings_of(values) == {
        "launch_agent_api_key": KEY,
        "launch_agent_base_url": "https://wandb.example.com",
        "launch_agent_entity": "vision-lab",
        "launch_agent_image": "registry.example.com/wandb/launch-agent:0.31.0",
        "launch_agent_max_jobs": 8,
        "launch_agent_namespace": "launch",
        "launch_agent_queues": ["gpus", "cpus"],
        "launch_agent_target_namespaces": ["default", "vision"],
    }


def test_values_of_environment_variables_stay_as_written() -> None:
    values, problems = parse_values("additionalEnvVars:\n  MODE: 0644\n  ON: yes\n  DAY: 2026-01-02\n  EMPTY:\n", PATH)
    assert problems == ()
    assert values["additionalEnvVars"] == {"MODE": "0644", "ON": "yes", "DAY": "2026-01-02", "EMPTY": ""}


def test_keys_without_a_value_are_left_out() -> None:
    assert parse_values("agent:\nserviceAccount:\n  annotations:\nnamespace:\n", PATH) == (
        {"agent": {}, "serviceAccount": {}},
        (),
    )
    assert parse_values("", PATH) == ({}, ())
    assert settings_of({"agent": {"apiKey": ""}, "additionalTargetNamespaces": []}) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "agent:\n  imge: x\n",
            ["values.yaml:2: unknown key `agent.imge`, did you mean `image`? [launch-values-unknown]"],
        ),
        ("kind: x\n", ["values.yaml:1: unknown key `kind` [launch-values-unknown]"]),
        (
            "namespace: Big_One\n",
            ["values.yaml:1: `namespace` must be the name of a namespace (a-z, 0-9, -) [launch-values-invalid]"],
        ),
        (
            "\nagent:\n  startTimeout: '30'\n",
            ["values.yaml:3: `agent.startTimeout` must be a whole number [launch-values-invalid]"],
        ),
        ("agent: [1]\n", ["values.yaml:1: `agent` must be a mapping [launch-values-invalid]"]),
        ("- a\n", ["values.yaml:1: the file must hold a mapping [launch-values-invalid]"]),
        ("? [a]\n: b\n", ["values.yaml:1: a key must be text [launch-values-invalid]"]),
        (
            "volcano: true\nbaseUrl: http://x\nvolcano: false\n",
            ["values.yaml:3: `volcano` is there twice (first in line 1) [launch-values-invalid]"],
        ),
        (
            "launchConfig: |\n  queues: [a]\n  max_job: 3\n",
            ["values.yaml:3: unknown key `launchConfig.max_job`, did you mean `max_jobs`? [launch-values-unknown]"],
        ),
        (
            "launchConfig: |\n  queue: a\n",
            ["values.yaml:2: unknown key `launchConfig.queue` [launch-values-unknown]"],
        ),
        (
            "launchConfig: |\n  # agents\n\n  base_url: http://x\n",
            ["values.yaml:4: unknown key `launchConfig.base_url` [launch-values-unknown]"],
        ),
        (
            "launchConfig:\n  queues: [a]\n",
            ["values.yaml:2: `launchConfig` must be text with the agent's configuration in it [launch-values-invalid]"],
        ),
        (
            'launchConfig: "queues: a"\n',
            ["values.yaml:1: `launchConfig.queues` must be a list of texts [launch-values-invalid]"],
        ),
        (
            "launchConfig: |\n  queues: [a]\n  builder:\n    type: podman\n    build_context_store: s3://x\n",
            [
                f"values.yaml:4: `{BUILDER}.type` must be one of docker, kaniko, noop [launch-values-invalid]",
                f"values.yaml:5: unknown key `{BUILDER}.build_context_store`, {MEANT} [launch-values-unknown]",
            ],
        ),
        (
            "launchConfig: |\n  queues: [a]\n  environment:\n    type: aws\n",
            ["values.yaml:3: `launchConfig.environment` needs `region` [launch-values-invalid]"],
        ),
        (
            "launchConfig: |\n  queues:\n  - <YOUR QUEUE NAME>\n",
            ["values.yaml:2: `launchConfig.queues` still has the chart's placeholder [launch-values-invalid]"],
        ),
        (
            "launchConfig: |\n  queues: [a\n  max_jobs: 1\n",
            ["values.yaml:3: `launchConfig` is no YAML: expected ',' or ']', but got ':' [launch-values-invalid]"],
        ),
        (
            "customCABundle:\n  configMap: {name: ca}\n",
            ["values.yaml: `customCABundle.configMap` needs `name` and `key` [launch-values-invalid]"],
        ),
        (
            "agent: &a\n  affinity: *a\n",
            ["values.yaml:1: it is no YAML: found unconstructable recursive node [launch-values-invalid]"],
        ),
        (
            "agent:\n  tolerations:\n  - key: 2026-13-45\n",
            ["values.yaml:3: `agent.tolerations` must be a list of mappings [launch-values-invalid]"],
        ),
        (
            "sshAuthSecrets:\n- name: deploy\n",
            [
                f"values.yaml:2: `sshAuthSecrets` must be {SSH[0]} [launch-values-invalid]",
            ],
        ),
        (
            "additionalEnvVars: {A: b, WANDB_API_KEY: c}\nadditionalSecretEnvVars: {A: d, SSL_CERT_FILE: e, B: f}\n",
            [
                f"values.yaml: the agent's environment has `{name}` twice, or it is set from another key [{INVALID}]"
                for name in ("A", "SSL_CERT_FILE", "WANDB_API_KEY")
            ],
        ),
        ("a\tb: \x07", ["values.yaml:1: it holds characters that YAML forbids [launch-values-invalid]"]),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, expected: list[str]) -> None:
    assert complaints(text) == expected


CASES = Path(__file__).parents[2] / "fixtures" / "launch"


@pytest.mark.parametrize(
    ("name", "expected", "fix"),
    [
        (
            "values/launch-config-as-values.yaml",
            [(1, "launch-file-foreign", "an agent's configuration (launch-config.yaml)")],
            "begin the file with the line `launchConfig: |`",
        ),
        (
            "values/lost-indentation.yaml",
            [(2, INVALID, "lost its indentation: `labels`, `image` below `agent`; `queues` below `launchConfig`")],
            "indent by two spaces what belongs below `agent` and below `launchConfig`",
        ),
        (
            "values/placeholders.yaml",
            [
                (3, INVALID, "`launchConfig.environment.region` still has"),
                (4, INVALID, "`launchConfig.registry.uri` still has"),
                (5, INVALID, "`launchConfig.builder.build-context-store` still has"),
            ],
            "write what launchConfig.environment.region is to be",
        ),
        ("queues/mig.yaml", [(1, "launch-file-foreign", "the configuration of a queue")], "gpuctl launch queue apply"),
    ],
)
def test_recorded_mistakes_are_named(name: str, expected: list[tuple[int, str, str]], fix: str) -> None:
    problems = parse_values((CASES / name).read_text(encoding="utf-8"), PATH)[1]
    assert [(p.at, p.code) for p in problems] == [(f"values.yaml:{line}", code) for line, code, _ in expected]
    assert all(words in p.message for p, (_, _, words) in zip(problems, expected, strict=True))
    assert fix in problems[0].fix


def test_an_agents_configuration_below_its_key_is_taken_as_the_fix_says() -> None:
    inner = (CASES / "values" / "launch-config-as-values.yaml").read_text(encoding="utf-8")
    text = "launchConfig: |\n" + "".join(f"  {line}\n" for line in inner.splitlines())
    assert parse_values(text, PATH)[1] == ()


@given(st.data())
def test_lines_that_lost_their_indentation_are_told_their_parent(data: st.DataObject) -> None:
    parent, keys = data.draw(st.sampled_from([("agent", CHART["agent"]), ("launchConfig", LAUNCH_CONFIG)]))
    names = data.draw(st.lists(st.sampled_from(sorted(set(keys) - set(CHART))), min_size=1, max_size=4, unique=True))
    head = "volcano: true\n" + (f"{parent}: |\n" if parent == "launchConfig" else f"{parent}:\n")
    told = complaints(head + "".join(f"{name}:\n" for name in names))
    listed = ", ".join(f"`{name}`" for name in names)
    assert told == [f"values.yaml:3: the file lost its indentation: {listed} below `{parent}` [{INVALID}]"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image: a\nvolcano: true\n", "values.yaml:1: unknown key `image`, it belongs below `agent`"),
        ("volcano: true\nmax_jobs: 1\n", "values.yaml:2: unknown key `max_jobs`, it belongs below `launchConfig`"),
        ("agent:\n  baseUrl: http://x\n", "values.yaml:2: unknown key `agent.baseUrl`, it belongs to the top"),
        ("launchConfig: |\n  builder:\n  type: noop\n", "values.yaml:3: the file lost its indentation: `type` below"),
        ("apiVersion: v1\nkind: Secret\n", "values.yaml:1: it is an object of Kubernetes"),
        ("namespace: <name>\n", "values.yaml:1: `namespace` still has the chart's placeholder"),
        ("baseUrl: https://<host>/\n", "values.yaml:1: `baseUrl` still has the chart's placeholder"),
        ("launchConfig: |\n  entity: YOUR_ENTITY\n", "values.yaml:2: `launchConfig.entity` still has"),
    ],
)
def test_what_is_in_the_wrong_place_is_told_its_own(text: str, words: str) -> None:
    assert complaints(text)[0].startswith(words)


def test_what_may_be_any_text_is_no_placeholder() -> None:
    text = "additionalEnvVars: {PAD: <pad>}\nagent:\n  podAnnotations: {note: <none>}\n"
    assert complaints(text) == []


def test_anchors_do_not_multiply_without_end() -> None:
    rows = "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12))
    assert complaints("a: &a [1, 2]\n" + rows) == [f"values.yaml:1: its anchors come to too much [{INVALID}]"]


def test_no_secret_is_in_a_problem() -> None:
    wrong = "agent:\n  apiKey: shortsecret\ngitCreds: [hunter2]\nazureStorageAccessKey: {a: hunter3}\n"
    told = json.dumps([p.as_dict() for p in parse_values(wrong, PATH)[1]])
    assert "40 or more" in told
    assert [word for word in ("shortsecret", "hunter2", "hunter3") if word in told] == []


def test_secrets_are_known() -> None:
    values = parse_values(RICH, PATH)[0]
    assert secrets_of(values) == [KEY, "https://user:token-for-git@git.example.com\n", "azure-key", "hunter2"]
    assert secrets_of({}) == []


def test_merge_keys_are_no_duplicates() -> None:
    text = "agent:\n  labels: &l {a: b}\n  podAnnotations:\n    <<: *l\n    a: c\n"
    values, problems = parse_values(text, PATH)
    assert problems == ()
    assert values["agent"]["podAnnotations"] == {"a": "c"}


YAML_LIKE = st.text(st.sampled_from("abk:-|>[]{}&*#'\"? \n\t<>!%0"), max_size=60)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from([*CHART, *LAUNCH_CONFIG, "x"]), below),
    max_leaves=8,
)


@given(YAML_LIKE)
def test_no_text_makes_it_fall(text: str) -> None:
    for file in (text, "launchConfig: |\n" + "\n".join("  " + line for line in text.split("\n"))):
        values, problems = parse_values(file, PATH)
        json.dumps(values)
        assert all(p.at and p.at.startswith("values.yaml") for p in problems)


@given(TREES)
def test_what_is_taken_without_complaint_has_only_known_keys(tree: Any) -> None:
    values, problems = parse_values(json.dumps(tree), PATH)
    if not problems:
        assert set(values) <= set(CHART)
        settings_of(values)
        secrets_of(values)
