"""What Kubernetes would drop or refuse, and files of another kind: said before a queue is made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import GpuctlError, Problem
from bootstrap.launch.queue_apply import check_config, read_config
from bootstrap.launch.queue_file import QueueConfig, parse_queue_config
from bootstrap.launch.queue_preset import DEFAULT_GPUS, PRESETS, PresetChoices, render_preset
from bootstrap.launch.queue_rules import warnings
from tools.launch_fields import FIELDS, of_definition, of_kubernetes

CASES = Path(__file__).parents[2] / "fixtures" / "launch" / "queues"
TYPES: dict[str, dict[str, str]] = json.loads(FIELDS.read_text(encoding="utf-8"))["types"]
UNKNOWN, INVALID, FOREIGN = "launch-field-unknown", "launch-field-invalid", "launch-file-foreign"
COMPONENTS = Path("~/.cache/gpuctl/components/components").expanduser()
POD = "spec.template.spec"
JOB: dict[str, Any] = {
    "metadata": {"namespace": "jobs"},
    "spec": {
        "template": {
            "spec": {
                "containers": [{"image": "${image_uri}", "resources": {"limits": {"nvidia.com/gpu": 1}}}],
                "restartPolicy": "Never",
            }
        }
    },
}


def told(config: QueueConfig) -> list[Problem]:
    try:
        check_config(config)
    except GpuctlError as error:
        return list(error.problems)
    return []


def with_value(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy in which `path` (a.b[0].c) has the value."""
    changed: Any = json.loads(json.dumps(document))
    keys: list[Any] = [int(n) if n else word for word, n in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)]
    inner = changed
    for key, following in pairwise(keys):
        if isinstance(inner, dict):
            inner = inner.setdefault(key, [] if isinstance(following, int) else {})
        else:
            inner = inner[key]
    inner[keys[-1]] = value
    return dict(changed)


def refusal(name: str) -> Problem:
    with pytest.raises(GpuctlError) as caught:
        check_config(read_config(CASES / name))
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("name", "code", "line", "words", "fix"),
    [
        (
            "volumemounts-in-resources.json", UNKNOWN, 14, "Kubernetes drops it",
            "move it to `spec.template.spec.containers[0]`, beside `resources`",
        ),
        ("typo-at-the-top.yaml", UNKNOWN, 1, "did you mean `spec`?", "rename it to spec"),
        ("docker-queue.json", FOREIGN, 1, "flags of `docker run`", "--preset job"),
        ("values-as-queue.yaml", FOREIGN, 1, "values.yaml of the agent's chart", "launch_agent_values_file"),
        ("tabs-as-indentation.yaml", "launch-config-invalid", 11, "neither YAML nor JSON", "indent with spaces"),
    ],
)  # fmt: skip
def test_recorded_files_are_refused_by_name(name: str, code: str, line: int, words: str, fix: str) -> None:
    problem = refusal(name)
    assert (problem.code, problem.at) == (code, f"{CASES / name}:{line}")
    assert words in problem.message
    assert fix in problem.fix
    assert "apiKey" not in problem.message


def test_a_misplaced_field_that_was_moved_as_told_is_taken() -> None:
    document = json.loads((CASES / "volumemounts-in-resources.json").read_text(encoding="utf-8"))
    (container,) = document["spec"]["template"]["spec"]["containers"]
    container["volumeMounts"] = container["resources"].pop("volumeMounts")
    assert check_config(parse_queue_config(json.dumps(document), "q.json")) == ()


@pytest.mark.parametrize("name", ["mig.yaml", "time-slicing.yaml"])
def test_parts_of_a_gpu_are_gpus(name: str) -> None:
    assert check_config(read_config(CASES / name)) == ()


@pytest.mark.parametrize(
    "name",
    ["nvidia.com/gpu", "nvidia.com/mig-3g.40gb", "nvidia.com/gpu.shared", "nvidia.com/rtx-a5000",
     "volcano.sh/vgpu-number",
     "amd.com/gpu", "gpu.intel.com/i915"],
)  # fmt: skip
def test_a_limit_of_any_kind_of_gpu_counts(name: str) -> None:
    limits = f"{POD}.containers[0].resources"
    found = [c.message for c in warnings(QueueConfig(with_value(JOB, limits, {"limits": {name: 1}})))]
    assert not [words for words in found if "see no GPU" in words], found
    asked = [c.message for c in warnings(QueueConfig(with_value(JOB, limits, {"requests": {name: 1}})))]
    assert any("requested without a limit" in words for words in asked)


def test_gpus_by_resource_claim_are_gpus() -> None:
    pod = {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one"}], "containers": [{}]}
    found = warnings(QueueConfig({"metadata": {"namespace": "a"}, "spec": {"template": {"spec": pod}}}))
    assert [c.message for c in found] == []


@pytest.mark.parametrize("resource", ["cpu", "memory", "rdma/hca_shared_devices_a", "ephemeral-storage"])
def test_other_resources_are_none(resource: str) -> None:
    changed = with_value(JOB, f"{POD}.containers[0].resources", {"limits": {resource: 1}})
    assert any("see no GPU" in c.message for c in warnings(QueueConfig(changed)))


@pytest.mark.parametrize(
    ("path", "value", "fix"),
    [
        ("template", {}, "move it below `spec`"),
        ("containers", [], "move it below `spec.template.spec`"),
        ("spec.containers", [], "move it below `spec.template.spec`"),
        (f"{POD}.image", "x", "move it below `spec.template.spec.containers`"),
        (f"{POD}.containers[0].volumes", [], "move it to `spec.template.spec`, beside `containers`"),
        (f"{POD}.containers[0].tolerations", [], "move it to `spec.template.spec`, beside `containers`"),
        (f"{POD}.containers[0].limits", {}, "move it below `spec.template.spec.containers[0].resources`"),
        (f"{POD}.containers[0].volume_mounts", [], "rename it to volumeMounts"),
        (f"{POD}.containers[0].resources.limit", {}, "rename it to limits"),
        (f"{POD}.node_selector", {}, "rename it to nodeSelector"),
        (f"{POD}.backoffLimit", 0, "move it to `spec`, beside `template`"),
        ("backoffLimit", 0, "move it below `spec`"),
        ("labels", {}, "move it below `metadata`"),
    ],
)  # fmt: skip
def test_a_field_in_the_wrong_place_is_told_its_own(path: str, value: Any, fix: str) -> None:
    (problem,) = told(QueueConfig(with_value(JOB, path, value)))
    assert (problem.code, problem.fix) == (UNKNOWN, fix)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("spec.backoffLimit", "0", "must be a whole number"),
        ("spec.backoffLimit", True, "must be a whole number"),
        (f"{POD}.containers", {"image": "x"}, "must be a list"),
        (f"{POD}.containers[0].env", {"A": "b"}, "must be a list"),
        (f"{POD}.containers[0].env", [{"name": "A", "value": 1}],
         "env[0].value` must be text"),
        (f"{POD}.containers[0].command", "python train.py", "must be a list"),
        (f"{POD}.containers[0].args", ["--lr", 0.1], "must be text"),
        (f"{POD}.nodeSelector", {"gpu": True}, "must be text"),
        (f"{POD}.nodeSelector", ["gpu"], "must be a mapping"),
        (f"{POD}.volumes", [{"name": "shm", "emptyDir": {"sizeLimit": "8 Gi"}}], "must be a quantity"),
        (f"{POD}.containers[0].resources.limits.memory", "16GB", "must be a quantity"),
        (f"{POD}.enableServiceLinks", "no", "must be true or false"),
        (f"{POD}.restartPolicy", "Always", "takes Never or OnFailure only"),
        (f"{POD}.containers[0].volumeMounts", [{"name": "data", "mountPath": "/d"}], "has no volume of that name"),
        (f"{POD}.containers[0].resources.limits", {"nvidia.com/gpu": 0.5}, "no whole number"),
        (f"{POD}.containers[0].resources.requests", {"nvidia.com/gpu": 2}, "is not the limit 1"),
        ("kind", "Pod", "the agent makes Jobs and custom objects only"),
        ("apiVersion", "v1", "the agent makes Jobs and custom objects only"),
        ("metadata.namespace", "<your-namespace>", "still has the placeholder <your-namespace>"),
        (f"{POD}.containers[0].image", "<account>.dkr.ecr.<region>.amazonaws.com/x", "the placeholder <account>"),
    ],
)  # fmt: skip
def test_what_the_api_refuses_is_refused_here(path: str, value: Any, words: str) -> None:
    (problem,) = told(QueueConfig(with_value(JOB, path, value)))
    assert problem.code == INVALID
    assert words in problem.message
    assert problem.fix


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.backoffLimit", "{{retries}}"),
        ("spec.backoffLimit", None),
        (f"{POD}.containers[0].resources.limits", {"cpu": 0.5, "memory": "12Gi", "nvidia.com/gpu": "1", "x.y/z": 2}),
        (f"{POD}.volumes", [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}]),
        (f"{POD}.containers[0].livenessProbe", {"httpGet": {"port": "http", "path": "/"}}),
        (f"{POD}.containers[0].livenessProbe", {"httpGet": {"port": 80}}),
        (f"{POD}.containers[0].env",
         [{"name": "PAD", "value": "<pad>"}, {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]),
        (f"{POD}.containers[0].command", ["sh", "-c", "python train.py < /data/<x>"]),
        (f"{POD}.affinity", {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}}}),
        ("namespace", "jobs"),
        ("spec.template.metadata", {"labels": {"team": "vision"}, "annotations": {"a": "b"}}),
    ],
)  # fmt: skip
def test_what_kubernetes_takes_is_taken(path: str, value: Any) -> None:
    variables = {"retries": {"type": "integer", "default": 1}}
    assert told(QueueConfig(with_value(JOB, path, value), variables)) == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("RoleArn: a\nResourceConfig: {InstanceType: ml.g5.xlarge}\nOutputDataConfig: {}\n", "sagemaker"),
        ("resource_args:\n  sagemaker: {RoleArn: a}\n", "sagemaker"),
        ("sagemaker: {RoleArn: a}\n", "another resource"),
        ("spec:\n  worker_pool_specs: []\n  staging_bucket: gs://a\nrun: {restart: false}\n", "vertex"),
        ("gpus: all\n", "docker run"),
        ("env: [A=1]\nshm-size: 8g\nrm: true\n", "docker run"),
        ("queues: [a]\nmax_jobs: 1\n", "launch-config.yaml"),
        ("agent: {image: x}\nlaunchConfig: |\n  queues: [a]\n", "values.yaml"),
        ("services: {train: {image: x}}\n", "Compose"),
        ("apiVersion: v1\nkind: Config\nclusters: []\n", "kubeconfig"),
        ("apiVersion: v1\nkind: List\nitems: []\n", "a list of objects"),
    ],
)  # fmt: skip
def test_files_of_another_kind_are_recognised(text: str, what: str) -> None:
    with pytest.raises(GpuctlError) as caught:
        parse_queue_config(text, "q.yaml")
    (problem,) = caught.value.problems
    assert what in problem.message
    assert problem.code in (FOREIGN, "launch-config-invalid")


@pytest.mark.parametrize("text", ["spec: {}\nspec: {template: {}}\n", '{"spec": {}, "spec": {"template": {}}}'])
def test_a_key_that_stands_twice_is_no_silent_loss(text: str) -> None:
    with pytest.raises(GpuctlError, match="`spec` is there twice"):
        parse_queue_config(text, "q.yaml")


def test_anchors_do_not_multiply_without_end() -> None:
    rows = "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12))
    with pytest.raises(GpuctlError, match="anchors"):
        parse_queue_config("a: &a [1, 2]\n" + rows, "q.yaml")


def test_anchors_and_merge_keys_are_read() -> None:
    text = yaml.safe_dump(JOB) + "x-base: &base {a: b}\n"
    assert [problem.message for problem in told(parse_queue_config(text, "q.yaml"))] == [
        "`x-base` is no field of the object, Kubernetes drops it"
    ]
    merged = "metadata:\n  labels: &l {a: b}\n  annotations: {<<: *l, c: d}\n  namespace: jobs\n"
    assert told(parse_queue_config(merged + yaml.safe_dump({"spec": JOB["spec"]}), "q.yaml")) == []


def test_without_strictness_it_is_a_warning() -> None:
    config = QueueConfig(with_value(JOB, f"{POD}.ofNextYear", 1))
    assert [p.code for p in told(config)] == [UNKNOWN]
    (caution,) = check_config(config, strict=False)
    assert "`ofNextYear` is no field of `spec.template.spec`" in caution.message


def test_the_fields_are_those_of_the_kubernetes_package() -> None:
    job = of_kubernetes("V1Job")
    assert {name: TYPES.get(name) for name in job} == job, "run tools/launch_fields.py"


def test_the_fields_of_gangs_are_those_of_their_definitions() -> None:
    files = {
        "VolcanoJob": "*/volcano/installer/volcano-development.yaml",
        "PyTorchJob": "*/kubeflow_training_operator/manifests/base/crds/kubeflow.org_pytorchjobs.yaml",
    }
    found = {name: next(iter(sorted(COMPONENTS.glob(pattern))), None) for name, pattern in files.items()}
    if None in found.values():
        pytest.skip("SKIPPED: the components are not built here, which bring the definitions")
    for name, path in found.items():
        assert path is not None
        documents = [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]
        (definition,) = [
            each for each in documents
            if each["kind"] == "CustomResourceDefinition" and each["spec"]["names"]["plural"] in ("pytorchjobs", "jobs")
            and each["spec"]["group"] in ("kubeflow.org", "batch.volcano.sh")
        ]  # fmt: skip
        types = of_definition(definition, name)
        assert {each: TYPES.get(each) for each in types} == types, "run tools/launch_fields.py"


def places() -> Iterator[tuple[str, str, str]]:
    """Preset, path of an object that it has, and that object's type."""

    def below(value: Any, form: str, path: str) -> Iterator[tuple[str, str]]:
        if form.startswith("[") and isinstance(value, list):
            for index, item in enumerate(value):
                yield from below(item, form[1:-1], f"{path}[{index}]")
        elif form.startswith("{") and isinstance(value, dict):
            for key, item in value.items():
                yield from below(item, form[1:-1], f"{path}.{key}")
        elif form in TYPES and isinstance(value, dict):
            yield path, form
            for key, item in value.items():
                yield from below(item, TYPES[form][key], f"{path}.{key}" if path else key)

    for name, root in zip(PRESETS, ("V1Job", "VolcanoJob", "PyTorchJob"), strict=True):
        yield from ((name, path, form) for path, form in below(preset(name), root, "") if "/" not in path)


def preset(name: str) -> dict[str, Any]:
    return dict(json.loads(json.dumps(render_preset(name, PresetChoices(DEFAULT_GPUS, claim="nfs"), {}).kubernetes)))


@given(
    st.sampled_from(list(places())), st.sampled_from(sorted({field for fields in TYPES.values() for field in fields}))
)
def test_any_field_is_told_where_it_is_none_and_only_there(place: tuple[str, str, str], field: str) -> None:
    name, path, form = place
    key = f"{path}.{field}" if path else field
    variables = {each: dict(DEFAULT_GPUS) for each in ("gpus", "workers")}
    found = told(QueueConfig(with_value(preset(name), key, None), variables))
    unknown = [problem for problem in found if problem.code == UNKNOWN]
    agents = {"namespace", "context", "group", "version", "configFile"}
    if field in TYPES[form] or (not path and field in agents):
        assert unknown == []
    elif not [problem for problem in found if problem.code == "launch-config-refused"]:
        (problem,) = unknown
        assert f"`{field}` is no field of" in problem.message
        assert problem.fix.startswith(("move it", "rename it", "remove it"))
