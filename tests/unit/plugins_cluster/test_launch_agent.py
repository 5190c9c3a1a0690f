"""What the role launch_agent renders: golden files for both modes, and what must hold whatever the values say."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.inventory.launch_values import parse_values, secrets_of, settings_of

from .rendering import GOLDEN, ROLES, ROOT, have_lookups, render, value

ROLE = "launch_agent"
KEY = "0123456789" * 4
PLAIN: dict[str, Any] = {
    "role_path": str(ROLES / ROLE),
    "launch_agent_entity": "vision-lab",
    "launch_agent_queues": ["gpus"],
    "launch_agent_api_key": KEY,
}
RICH_VALUES, _PROBLEMS = parse_values(
    (ROOT / "tests" / "fixtures" / "launch" / "rich-values.yaml").read_text(encoding="utf-8"), Path("values.yaml")
)
RICH = {"role_path": PLAIN["role_path"], "launch_agent_values": RICH_VALUES, **settings_of(RICH_VALUES)}
CLUSTER = {"launch_agent_mode": "cluster"}
CASES = {
    "host": PLAIN,
    "host-that-renews-itself": {
        **PLAIN,
        "launch_agent_renews_itself": True,
        "launch_agent_allowed_secrets": ["pull"],
        "launch_agent_pod_security": "privileged",
    },
    "as-an-older-release": {
        **PLAIN,
        "launch_agent_target_namespaces": ["default", "wandb"],
        "launch_agent_jobs_beside_agent": True,
        "launch_agent_policy": "warn",
    },
    "cluster": {**PLAIN, **CLUSTER},
    "cluster-rich-values": {**RICH, **CLUSTER},
}


@pytest.fixture(scope="module", autouse=True)
def _lookups() -> None:
    have_lookups()


def text_of(**values: Any) -> str:
    manifests = value(ROLE, "__launch_agent_manifests", **values)
    return "---\n".join(render(ROLE, name, **values) for name in manifests)


def objects(**values: Any) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(text_of(**values)) if item is not None]


def named(kind: str, **values: Any) -> list[dict[str, Any]]:
    return [item for item in objects(**values) if item["kind"] == kind]


def pod(**values: Any) -> dict[str, Any]:
    (deployment,) = named("Deployment", **{**CLUSTER, **values})
    return dict(deployment["spec"]["template"])


def environment(**values: Any) -> dict[str, Any]:
    variables = pod(**values)["spec"]["containers"][0]["env"]
    assert len({v["name"] for v in variables}) == len(variables)
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in variables}


@pytest.mark.parametrize("name", CASES)
def test_manifests_are_as_recorded(name: str, golden: Callable[[Path, str], None]) -> None:
    golden(GOLDEN / ROLE / f"{name}.yaml", text_of(**CASES[name]))


@pytest.mark.parametrize("name", CASES)
def test_no_secret_stands_anywhere_but_in_secrets(name: str) -> None:
    secrets = [KEY, *secrets_of(RICH_VALUES)]
    for item in objects(**CASES[name]):
        told = yaml.safe_dump(item)
        encoded = [base64.b64encode(text.encode()).decode() for text in secrets]
        found = [text for text in [*secrets, *encoded] if text in told]
        assert not found or item["kind"] == "Secret"
        assert not [text for text in secrets if text in told]  # `data` is base64


@pytest.mark.parametrize("name", CASES)
def test_every_object_is_there_once(name: str) -> None:
    keys = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects(**CASES[name])]
    assert len(set(keys)) == len(keys)


def test_a_service_on_a_host_has_no_secret_in_the_cluster() -> None:
    assert named("Secret", **PLAIN) == named("Deployment", **PLAIN) == []


def test_jobs_run_in_one_namespace_apart_from_the_agent() -> None:
    assert [o["metadata"]["namespace"] for o in named("RoleBinding", **PLAIN)] == ["launch-jobs"]
    secrets = [
        o["metadata"]["name"] for o in named("Secret", **RICH, **CLUSTER) if o["metadata"]["namespace"] == "vision"
    ]
    assert secrets == ["wandb-api-key-gpuctl"]


def rights_in(kind: str, **values: Any) -> set[tuple[str, str, tuple[str, ...]]]:
    (role,) = named(kind, **values)
    return {
        (resource, verb, tuple(rule.get("resourceNames", ())))
        for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]
    }  # fmt: skip


def test_the_account_may_renew_its_own_token_and_no_other() -> None:
    found = rights_in("Role", **PLAIN, launch_agent_renews_itself=True)
    assert found == {("serviceaccounts/token", "create", ("wandb-launch-serviceaccount-gpuctl",))}
    assert named("Role", **PLAIN) == []


def test_in_the_cluster_the_agent_reads_one_secret() -> None:
    key = ("wandb-api-key-gpuctl",)
    secrets = {right for right in rights_in("ClusterRole", **PLAIN, **CLUSTER) if right[0] == "secrets"}
    assert secrets == {("secrets", "create", ()), ("secrets", "get", key), ("secrets", "delete", key)}


def test_the_policy_is_of_the_account_and_refuses_what_it_cannot_read() -> None:
    (policy,) = named("ValidatingAdmissionPolicy", **PLAIN, launch_agent_allowed_secrets=["pull"])
    spec = policy["spec"]
    user = "system:serviceaccount:wandb:wandb-launch-serviceaccount-gpuctl"
    assert [c["expression"] for c in spec["matchConditions"]] == [f"request.userInfo.username == '{user}'"]
    assert spec["failurePolicy"] == "Fail"
    secrets = next(v["expression"] for v in spec["variables"] if v["name"] == "secrets")
    assert secrets.startswith('["pull"] +')
    assert all(rule["message"] for rule in spec["validations"])


@pytest.mark.parametrize(("choice", "actions"), [("enforce", ["Deny"]), ("warn", ["Warn", "Audit"])])
def test_a_policy_refuses_or_warns(choice: str, actions: list[str]) -> None:
    (binding,) = named("ValidatingAdmissionPolicyBinding", **PLAIN, launch_agent_policy=choice)
    assert binding["spec"]["validationActions"] == actions


def test_jobs_may_run_in_all_target_namespaces() -> None:
    values = {"launch_agent_namespace": "agents", "launch_agent_target_namespaces": ["a", "b", "a"]}
    assert [o["metadata"]["namespace"] for o in named("RoleBinding", **PLAIN, **values)] == ["a", "b"]
    beside = {**values, "launch_agent_jobs_beside_agent": True}
    assert [o["metadata"]["namespace"] for o in named("RoleBinding", **PLAIN, **beside)] == ["agents", "a", "b"]
    assert [o["metadata"]["name"] for o in named("Namespace", **PLAIN, **values)] == ["agents", "a", "b"]
    keys = [o["metadata"] for o in named("Secret", **PLAIN, **values, **CLUSTER)]
    assert [(m["namespace"], m["name"]) for m in keys] == [(n, "wandb-api-key-gpuctl") for n in ("agents", "a", "b")]


def test_the_key_is_what_the_agent_compares_it_with() -> None:
    (secret, *_) = named("Secret", **PLAIN, **CLUSTER)
    assert base64.b64decode(secret["data"]["password"]).decode() == KEY
    assert secret["type"] == "kubernetes.io/basic-auth"
    assert environment(**PLAIN)["WANDB_RELEASE_NAME"] == "gpuctl"


def test_the_inventory_wins_over_the_file_and_the_rest_of_the_file_stays() -> None:
    values = {**RICH, **CLUSTER, "launch_agent_queues": ["mine"], "launch_agent_max_jobs": 3}
    (config_map,) = named("ConfigMap", **values)
    config = yaml.safe_load(config_map["data"]["launch-config.yaml"])
    expected = {**RICH_VALUES["launchConfig"], "queues": ["mine"], "max_jobs": 3}
    assert config == expected


def test_an_agent_without_a_builder_builds_nothing() -> None:
    (config_map,) = named("ConfigMap", **PLAIN, **CLUSTER)
    assert yaml.safe_load(config_map["data"]["launch-config.yaml"]) == {
        "builder": {"type": "noop"},
        "entity": "vision-lab",
        "max_jobs": 1,
        "queues": ["gpus"],
    }
    assert named("Role", **PLAIN, **CLUSTER) == []
    assert len(named("Role", **RICH, **CLUSTER)) == 1


def test_a_site_s_ca_reaches_the_agent_s_http_client() -> None:
    assert "SSL_CERT_FILE" not in environment(**PLAIN)
    found = environment(**PLAIN, cluster_ca_certificate="-----BEGIN CERTIFICATE-----\n")
    assert found["SSL_CERT_FILE"] == found["REQUESTS_CA_BUNDLE"] == "/etc/gpuctl-ca/ca.crt"
    (config_map,) = named("ConfigMap", **PLAIN, **CLUSTER, cluster_ca_certificate="-----BEGIN CERTIFICATE-----\n")
    assert config_map["data"]["ca.crt"] == "-----BEGIN CERTIFICATE-----\n"
    theirs = environment(**RICH, cluster_ca_certificate="x")
    assert theirs["SSL_CERT_FILE"] == "/etc/gpuctl-ca/ca.crt"


def test_every_mount_has_its_volume() -> None:
    for values in (PLAIN, RICH, {**PLAIN, "cluster_ca_certificate": "x"}):
        spec = pod(**values)["spec"]
        mounts = spec["containers"][0]["volumeMounts"]
        assert {mount["name"] for mount in mounts} == {volume["name"] for volume in spec["volumes"]}
        assert len({mount["mountPath"] for mount in mounts}) == len(mounts)


def test_another_configuration_or_key_makes_another_pod() -> None:
    def sums(**changes: Any) -> dict[str, str]:
        return dict(pod(**{**PLAIN, **changes})["metadata"]["annotations"])

    before = sums()
    assert sums() == before
    queues, key = sums(launch_agent_queues=["other"]), sums(launch_agent_api_key="9" * 40)
    assert (queues["checksum/config"] != before["checksum/config"], queues["checksum/secret"]) == (
        True,
        before["checksum/secret"],
    )
    assert (key["checksum/config"], key["checksum/secret"] != before["checksum/secret"]) == (
        before["checksum/config"],
        True,
    )


def test_a_secret_of_the_user_s_own_is_not_made() -> None:
    values = {**PLAIN, "launch_agent_api_key": "", "launch_agent_values": {"agent": {"useExternalWandbSecret": True}}}
    assert named("Secret", **values, **CLUSTER) == []
    assert environment(**values)["WANDB_API_KEY"] == {
        "secretKeyRef": {"name": "wandb-api-key-gpuctl", "key": "password"}
    }


def test_the_node_of_the_agent_can_be_drained() -> None:
    (budget,) = named("PodDisruptionBudget", **RICH, **CLUSTER)
    assert budget["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "launch-agent-gpuctl"}}}
    assert pod(**RICH)["metadata"]["labels"]["app"] == "launch-agent-gpuctl"


def test_texts_of_the_user_stay_texts() -> None:
    values = {"agent": {"labels": {"a": "true", "b": "1"}}, "additionalEnvVars": {"C": '"{{ x }}\n#'}}
    template = pod(**PLAIN, launch_agent_values=values)
    assert {"a": "true", "b": "1"}.items() <= template["metadata"]["labels"].items()
    assert environment(**PLAIN, launch_agent_values=values)["C"] == '"{{ x }}\n#'
