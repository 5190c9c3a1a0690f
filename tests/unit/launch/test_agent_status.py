"""`gpuctl launch agent status`: facts, problems and the exact screen, on a cluster made of what the role renders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from bootstrap.cli.main import main
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_wandb import Server
from bootstrap.inventory.secret import Secret
from bootstrap.kube.client import ApiError, Cluster
from bootstrap.launch import agent_status
from bootstrap.launch.agent_hosts import token_seen, unit_seen
from bootstrap.launch.agent_model import Seen, State, Target
from bootstrap.launch.agent_server import KnownAgent, agents_by_runs, asker, judge_agents, known_agents, server_seen
from bootstrap.launch.rights import RIGHTS
from bootstrap.plan.digests import argument_digests
from tests.doubles.wandb_api import running
from tests.unit.plugins_cluster.rendering import ROLES, have_lookups, render, value

KEY = "0123456789" * 4
VALUES: dict[str, Any] = {
    "role_path": str(ROLES / "launch_agent"),
    "launch_agent_mode": "cluster",
    "launch_agent_release": "gpuctl",
    "launch_agent_namespace": "wandb",
    "launch_agent_target_namespaces": ["launch-jobs", "wandb"],
    "launch_agent_jobs_beside_agent": True,
    "launch_agent_policy": "enforce",
    "launch_agent_base_url": "https://wandb.example.com",
    "launch_agent_entity": "vision-lab",
    "launch_agent_queues": ["gpus"],
    "launch_agent_api_key": KEY,
}
TARGET = Target.of(VALUES)
POLLING = KnownAgent("k3v9x1ab", "agent-1", "POLLING", 4.2, ("gpus",))
HANGS = "runs hang silently: their item stays CLAIMED, and its slot is taken for good"
PLURALS = {
    "Namespace": "namespaces",
    "ServiceAccount": "serviceaccounts",
    "Secret": "secrets",
    "ConfigMap": "configmaps",
    "Deployment": "deployments",
    "Pod": "pods",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}


@pytest.fixture(scope="module", autouse=True)
def _lookups() -> None:
    have_lookups()


class FakeCluster:
    """Objects by their path, the rights of a ClusterRole that RoleBindings bind, logs of pods."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.rules: list[dict[str, Any]] = []
        self.bound: dict[str, str] = {}
        self.log = ""
        for name in value("launch_agent", "__launch_agent_manifests", **values):
            for item in yaml.safe_load_all(render("launch_agent", name, **values)):
                if item is not None:
                    self.add(item)

    def add(self, item: dict[str, Any]) -> None:
        meta = item["metadata"]
        if item["kind"] == "ClusterRole":
            self.rules = item["rules"]
        if item["kind"] == "RoleBinding":
            (subject,) = item["subjects"]
            self.bound[meta["namespace"]] = f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
        if item["kind"] in PLURALS:
            self.objects[self.path(item)] = item

    @staticmethod
    def path(item: Mapping[str, Any]) -> str:
        version, meta = item["apiVersion"], item["metadata"]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        scope = f"/namespaces/{meta['namespace']}" if meta.get("namespace") else ""
        return f"{base}{scope}/{PLURALS[item['kind']]}/{meta['name']}"

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        if query is not None:
            name, _, wanted = query["labelSelector"].partition("=")
            found = [o for p, o in self.objects.items() if p.startswith(f"{path}/")]
            return {"items": [o for o in found if o["metadata"].get("labels", {}).get(name) == wanted]}
        return self.objects.get(path)

    def call(self, method: str, path: str, *, body: Any) -> dict[str, Any]:
        assert (method, path) == ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews")
        asked = body["spec"]["resourceAttributes"]
        kind = asked["resource"] + (f"/{asked['subresource']}" if "subresource" in asked else "")
        allowed = self.bound.get(asked["namespace"]) == body["spec"]["user"] and any(
            asked["group"] in r["apiGroups"]
            and kind in r["resources"]
            and asked["verb"] in r["verbs"]
            and ("resourceNames" not in r or asked.get("name") in r["resourceNames"])
            for r in self.rules
        )
        return {"status": {"allowed": allowed}}

    def text(self, path: str, query: Mapping[str, str]) -> str:
        assert path.endswith("/log")
        if not self.log:
            raise ApiError(400, "container is waiting to start")
        return self.log if query["previous"] == "true" else ""

    def ready(self, number: int = 1) -> FakeCluster:
        for item in self.objects.values():
            if item["kind"] == "Deployment":
                item["status"] = {"readyReplicas": number}
            if item.get("type") == "kubernetes.io/service-account-token":
                item["data"] = {"token": "dG9rZW4="}
        return self

    def lose(self, resource: str, verb: str) -> FakeCluster:
        for rule in self.rules:
            if rule["resources"] == [resource] and verb in rule["verbs"]:
                rule["verbs"].remove(verb)
        return self


def receipt(values: Mapping[str, Any]) -> dict[str, Any]:
    arguments = argument_digests("launch_agent", values)
    text = json.dumps({"schema": 1, "component": "launch_agent", "state": "complete", "arguments": arguments})
    meta = {"name": "gpuctl-receipt-launch-agent", "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"receipt": text}}


@pytest.fixture
def status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command on a fake cluster: exit code, stdout, stderr."""

    def run(
        cluster: FakeCluster, values: Mapping[str, Any] = VALUES, *words: str, agents: Sequence[KnownAgent] = (POLLING,)
    ) -> tuple[int, str, str]:
        @contextmanager
        def api(_path: Path | None, _context: str) -> Iterator[Cluster]:
            yield cast(Cluster, cluster)

        cluster.add(receipt(values))
        monkeypatch.setattr(agent_status, "kubeconfig_api", api)
        monkeypatch.setattr(agent_status, "asker", lambda *_: lambda: agents)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.delenv("GPUCTL_INVENTORY", raising=False)
        code = main(["launch", "agent", "status", *words])
        captured = capsys.readouterr()
        assert KEY not in captured.out + captured.err
        return code, captured.out, captured.err

    return run


_REQUEST = agent_status.StatusRequest()
Status = Callable[..., tuple[int, str, str]]


def test_all_is_well(status: Status) -> None:
    code, out, err = status(FakeCluster(VALUES).ready())
    assert (code, err) == (0, "")
    assert out == (
        "Launch agent in mode cluster, service account wandb/wandb-launch-serviceaccount-gpuctl\n"
        "  ✓ Namespace wandb\n"
        "  ✓ Namespace launch-jobs\n"
        "  ✓ ServiceAccount wandb/wandb-launch-serviceaccount-gpuctl\n"
        "  ✓ Secret wandb/wandb-api-key-gpuctl\n"
        "  ✓ Secret launch-jobs/wandb-api-key-gpuctl\n"
        "  ✓ ConfigMap wandb/wandb-launch-configmap-gpuctl\n"
        "  ✓ ValidatingAdmissionPolicy wandb-launch-agent-gpuctl\n"
        "  ✓ ValidatingAdmissionPolicyBinding wandb-launch-agent-gpuctl\n"
        "  ✓ Deployment wandb/launch-agent-gpuctl: 1 of 1 pods ready\n"
        "  ✓ https://wandb.example.com: entity vision-lab, queues gpus\n"
        "  ✓ agent k3v9x1ab on agent-1: heard of 4 s ago; polls gpus\n"
        "  rights                     wandb   launch-jobs\n"
        "  secrets                    ✓       ✓\n"
        "  pods                       ✓       ✓\n"
        "  pods/log                   ✓       ✓\n"
        "  jobs.batch                 ✓       ✓\n"
        "  jobs.batch.volcano.sh      ✓       ✓\n"
        "  pytorchjobs.kubeflow.org   ✓       ✓\n"
        "nothing is wrong\n"
    )


def test_a_missing_watch_is_told_as_what_hangs_silently(status: Status) -> None:
    code, out, err = status(FakeCluster(VALUES).ready().lose("jobs", "watch"))
    assert code == 6
    assert "  jobs.batch                 ✗ watch   ✗ watch\n" in out
    assert out.endswith("\n2 things wrong\n")
    fix = "  fix:  run `gpuctl bootstrap` again: it applies the rights (ClusterRole wandb-job-creator-gpuctl"
    first, second = err.splitlines()[:2]
    assert first == f"error: the agent may not watch jobs.batch in wandb, launch-jobs: {HANGS}   [launch-right-missing]"
    assert second.startswith(fix)


def test_an_unbound_namespace_is_one_thing(status: Status) -> None:
    cluster = FakeCluster(VALUES).ready()
    del cluster.bound["launch-jobs"]
    code, out, err = status(cluster)
    assert code == 6
    assert "  jobs.batch                 ✓       ✗ create, watch, delete\n" in out
    assert err.count("error:") == 1
    assert "the agent may do nothing in namespace launch-jobs: no run gets there, or it hangs silently" in err


def test_a_pod_that_does_not_start_is_told_in_the_kubelet_s_words(status: Status) -> None:
    cluster = FakeCluster(VALUES).ready(0)
    waiting = {
        "waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "wandb/launch-agent:0.31.0"'}
    }
    meta = {"name": "launch-agent-gpuctl-x", "namespace": "wandb", "labels": {"app": "launch-agent-gpuctl"}}
    status_of_pod = {"containerStatuses": [{"state": waiting}]}
    cluster.add({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status_of_pod})
    cluster.log = "wandb: ERROR Failed to authenticate"
    code, out, err = status(cluster)
    assert code == 6
    why = 'ImagePullBackOff: Back-off pulling image "wandb/launch-agent:0.31.0"'
    assert f"  ✗ Deployment wandb/launch-agent-gpuctl: 0 of 1 pods ready; {why}\n" in out
    assert err.splitlines()[:3] == [
        f"error: Deployment wandb/launch-agent-gpuctl: 0 of 1 pods ready; {why}   [launch-agent-down]",
        "  fix:  look at `kubectl --namespace wandb describe pods --selector app=launch-agent-gpuctl`",
        "  seen: wandb: ERROR Failed to authenticate",
    ]


def test_a_pod_that_was_started_again_says_so(status: Status) -> None:
    cluster = FakeCluster(VALUES).ready()
    meta = {"name": "launch-agent-gpuctl-x", "namespace": "wandb", "labels": {"app": "launch-agent-gpuctl"}}
    cluster.add(
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": {"containerStatuses": [{"restartCount": 3}]}}
    )
    code, out, _ = status(cluster)
    assert code == 0
    assert "  ✓ Deployment wandb/launch-agent-gpuctl: 1 of 1 pods ready, started again 3 times\n" in out


def test_everything_that_can_be_missing_is_missed(status: Status) -> None:
    cluster = FakeCluster(VALUES)
    cluster.objects.clear()
    code, out, err = status(cluster)
    assert code == 6
    assert out.count("✗ ") >= 7
    for name in (
        "Namespace launch-jobs",
        "ServiceAccount wandb/wandb-launch-serviceaccount-gpuctl",
        "Secret launch-jobs/wandb-api-key-gpuctl",
        "ConfigMap wandb/wandb-launch-configmap-gpuctl",
        "Deployment wandb/launch-agent-gpuctl",
    ):
        assert f"error: {name}: it is not there   [launch-object-missing]" in err


def endless(values: Mapping[str, Any]) -> FakeCluster:
    """With what older releases made."""
    cluster = FakeCluster(values)
    meta = {"name": "launch-agent-token", "namespace": "wandb"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kubernetes.io/service-account-token"}
    cluster.add(secret)
    return cluster


def test_a_token_that_never_ends_is_named(status: Status) -> None:
    values = {**VALUES, "launch_agent_mode": "host"}
    code, _, err = status(endless(values), values)
    assert code == 6
    assert "[launch-token-endless]" in err
    assert "kubectl delete secret --namespace wandb launch-agent-token" in err


def test_an_agent_of_an_older_release_is_told_of_and_nothing_is_wrong(status: Status) -> None:
    values = {**VALUES, "launch_agent_mode": "host", "launch_agent_target_namespaces": ["default", "wandb"]}
    older = {n: v for n, v in values.items() if n not in {"launch_agent_policy", "launch_agent_jobs_beside_agent"}}
    cluster = endless(values)
    for path in [path for path in cluster.objects if "validatingadmission" in path]:
        del cluster.objects[path]
    code, out, err = status(cluster, older)
    assert (code, err) == (0, "")
    assert "  ! the agent: an older release set it up" in out
    assert "  ! Namespace default: jobs may run in it, and it enforces no Pod Security level" in out


def test_a_policy_that_only_warns_is_told_of(status: Status) -> None:
    values = {**VALUES, "launch_agent_policy": "warn"}
    code, out, _ = status(FakeCluster(values).ready(), values)
    assert code == 0
    assert (
        "  ! ValidatingAdmissionPolicy wandb-launch-agent-gpuctl: jobs that reach for the node are not refused" in out
    )


@pytest.mark.parametrize(
    ("said", "state", "code"),
    [("until 4000000000", State.OK, ""), ("lapsed 1700000000", State.BAD, "launch-token-lapsed"),
     ("missing", State.BAD, "launch-token-lapsed")],
)  # fmt: skip
def test_the_token_of_a_host(said: str, state: State, code: str) -> None:
    seen = token_seen("cp1", said)
    assert [fact.state for fact in seen.facts] == [state]
    assert [problem.code for problem in seen.problems] == ([code] if code else [])


@pytest.mark.parametrize("said", ["", "python3: can't open file", "until x", "until 99999999999999"])
def test_a_host_of_an_older_release_says_nothing_of_its_token(said: str) -> None:
    assert token_seen("cp1", said) == Seen()


def test_an_agent_on_a_host_is_not_asked_without_the_inventory(status: Status) -> None:
    values = {**VALUES, "launch_agent_mode": "host"}
    code, out, err = status(FakeCluster(values).ready(), values)
    assert (code, err) == (0, "")
    assert "  ? the agent's service: not asked: it is on a host that only the inventory names\n" in out


def test_an_agent_that_the_server_does_not_hear_of(status: Status) -> None:
    code, out, err = status(FakeCluster(VALUES).ready(), agents=[replace(POLLING, age_s=400.0)])
    words = "no agent polls queue vision-lab/gpus: the last, k3v9x1ab on agent-1, is POLLING and was heard of 400 s ago"
    assert code == 6
    assert f"  ✗ agent: {words}\n" in out
    assert err.startswith(f"error: {words}   [launch-agent-unseen]\n  fix:  look at `kubectl --namespace wandb logs")


def test_without_a_key_the_server_is_not_asked(status: Status, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bootstrap.launch.agent_status.StatusRequest", keyless)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    code, out, _ = status(FakeCluster(VALUES).ready())
    assert code == 0
    assert "  ? https://wandb.example.com: not asked: there is no API key here\n" in out
    (tmp_path / "netrc").write_text(f"machine wandb.example.com\n  login user\n  password {KEY}\n")
    (tmp_path / "netrc").chmod(0o600)
    assert "  ✓ agent k3v9x1ab on agent-1" in status(FakeCluster(VALUES).ready())[1]


def keyless(*given: Any) -> agent_status.StatusRequest:
    return replace(_REQUEST, inventory=given[0], kubeconfig=given[1], context=given[2])


def test_a_cluster_without_an_agent(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.launch.test_agent_status.receipt", lambda _values: {"kind": "x", "metadata": {}})
    cluster = FakeCluster(VALUES)
    code, out, err = status(cluster)
    assert (code, out) == (6, "")
    assert err.startswith("error: this cluster has no receipt of a Launch agent   [launch-agent-none]\n")


def test_json(status: Status) -> None:
    code, out, _ = status(FakeCluster(VALUES).ready().lose("pods", "watch"), VALUES, "--output", "json")
    document = json.loads(out)
    assert code == document["exit_code"] == 6
    assert document["command"] == "launch agent status"
    assert set(document["data"]) == {"agent", "facts", "missing_rights"}
    assert document["data"]["missing_rights"]["launch-jobs"]["pods"] == ["watch"]
    assert document["data"]["facts"][0] == {"subject": "Namespace wandb", "state": "ok", "detail": ""}
    assert [e["code"] for e in document["errors"]] == ["launch-right-missing"]


def test_rights_are_those_that_the_role_grants() -> None:
    granted = [
        (group, resource, verb)
        for rule in value("launch_agent", "__launch_agent_rules")
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert sorted(granted) == sorted((r.group, r.resource, r.verb) for r in RIGHTS)


RUNNING = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "NRestarts": "0",
    "ActiveEnterTimestamp": "Mon 2026-11-23 00:10:02 UTC",
}


@pytest.mark.parametrize(
    ("unit", "state", "detail"),
    [
        (RUNNING, State.OK, "running since Mon 2026-11-23 00:10:02 UTC"),
        ({**RUNNING, "NRestarts": "3"}, State.OK, "running since Mon 2026-11-23 00:10:02 UTC, started again 3 times"),
        (
            {**RUNNING, "ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "8"},
            State.BAD,
            "activating (auto-restart), started again 8 times",
        ),
        ({"LoadState": "not-found"}, State.BAD, "not installed"),
        ({}, State.BAD, "not installed"),
    ],
)
def test_the_unit_on_a_host(unit: dict[str, str], state: State, detail: str) -> None:
    seen = unit_seen("agent-1", unit, "wandb: ERROR Not all of requested queues (x) found.")
    (fact,) = seen.facts
    assert (fact.subject, fact.state, fact.detail) == ("gpuctl-launch-agent.service on agent-1", state, detail)
    assert bool(seen.problems) == (state is State.BAD)
    assert all(p.code == "launch-agent-down" and p.host == "agent-1" for p in seen.problems)


def test_agents_that_are_gone_do_not_count() -> None:
    gone = [
        replace(POLLING, status="KILLED"),
        replace(POLLING, status="finished"),
        replace(POLLING, age_s=None),
        replace(POLLING, age_s=91.0),
        replace(POLLING, queues=("cpus",)),
    ]
    assert [p.code for p in judge_agents(TARGET, gone).problems] == ["launch-agent-unseen"]
    assert [p.code for p in judge_agents(TARGET, []).problems] == ["launch-agent-unseen"]
    assert judge_agents(TARGET, [*gone, POLLING]).problems == ()
    assert judge_agents(TARGET, [KnownAgent("k3v9x1ab", "", "running", 4.2, ())]).problems == ()


def test_a_server_that_cannot_be_asked_is_a_fact() -> None:
    def away() -> Sequence[KnownAgent]:
        raise GpuctlError(ExitCode.PREFLIGHT, Problem("launch-server-unreachable", "no answer"))

    seen = server_seen(TARGET, away)
    assert (seen.facts[0].state, seen.facts[0].detail) == (State.UNKNOWN, "no answer")
    assert [p.code for p in seen.problems] == ["launch-server-unreachable"]
    assert server_seen(TARGET, None) == Seen(server_seen(TARGET, None).facts)


def test_a_key_file_that_others_can_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o644)
    assert main(["launch", "agent", "status", "--api-key-file", str(path)]) == 3
    assert "[launch-key-exposed]" in capsys.readouterr().err
    path.chmod(0o600)
    from bootstrap.launch.agent_key import read_key

    assert read_key(path, from_environment=True) == Secret(KEY)


def lab(tmp_path: Path, *more: str) -> Path:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o600)
    path = tmp_path / "lab.ini"
    lines = [
        "[control_plane]",
        "cp1 ansible_host=192.0.2.10",
        "cp2 ansible_host=192.0.2.12",
        *more,
        "[launch_agent:vars]",
        "launch_agent_entity=vision-lab",
        "launch_agent_queues=['gpus']",
        "launch_agent_base_url=https://wandb.example.com",
        "launch_agent_api_key_file=key",
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_inventory_names_hosts_and_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {**VALUES, "launch_agent_mode": "host"}
    asked: list[str] = []

    @contextmanager
    def api(seed: Any, _access: Any) -> Iterator[Cluster]:
        asked.append(seed.name)
        if seed.name == "cp1":
            raise GpuctlError(ExitCode.PREFLIGHT, Problem("unreachable", "no route"))
        yield cast(Cluster, FakeCluster(values).ready())

    def hosts(found: Sequence[Any], _access: Any) -> Seen:
        return sum((unit_seen(host.name, RUNNING, "") for host in found), Seen())

    def server(_target: Target, key: Secret, _ca_text: str) -> Callable[[], Sequence[KnownAgent]]:
        assert key == KEY
        return lambda: (POLLING,)

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(agent_status, "cluster_api", api)
    monkeypatch.setattr(agent_status, "hosts_seen", hosts)
    monkeypatch.setattr(agent_status, "asker", server)
    inventory = lab(tmp_path, "[launch_agent]", "agent-1 ansible_host=192.0.2.20")
    assert main(["launch", "agent", "status", "--inventory", str(inventory)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert asked == ["cp1", "cp2"]
    assert captured.out.splitlines()[:9] == [
        "Launch agent in mode host, service account wandb/wandb-launch-serviceaccount-gpuctl",
        "  ✓ Namespace wandb",
        "  ✓ Namespace launch-jobs",
        "  ✓ ServiceAccount wandb/wandb-launch-serviceaccount-gpuctl",
        "  ✓ ValidatingAdmissionPolicy wandb-launch-agent-gpuctl",
        "  ✓ ValidatingAdmissionPolicyBinding wandb-launch-agent-gpuctl",
        "  ✓ gpuctl-launch-agent.service on agent-1: running since Mon 2026-11-23 00:10:02 UTC",
        "  ✓ https://wandb.example.com: entity vision-lab, queues gpus",
        "  ✓ agent k3v9x1ab on agent-1: heard of 4 s ago; polls gpus",
    ]


def test_an_inventory_without_an_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inventory = tmp_path / "lab.ini"
    inventory.write_text("[control_plane]\ncp1 ansible_host=192.0.2.10\n")
    assert main(["launch", "agent", "status", "--inventory", str(inventory)]) == 3
    assert capsys.readouterr().err == (
        "error: lab.ini has no host in the group launch_agent: there is no agent to ask for   [launch-agent-none]\n"
        "  fix:  list the agent's host under [launch_agent]\n"
    )


@pytest.mark.parametrize("text", ["", "a: [", "apiVersion: v1\nkind: Config\ncurrent-context: x\n"])
def test_a_kubeconfig_that_cannot_be_used(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    assert main(["launch", "agent", "status", "--kubeconfig", str(path), "--context", "none"]) == 3
    assert "[kubeconfig-unusable]" in capsys.readouterr().err
    assert main(["launch", "agent", "status", "--kubeconfig", str(tmp_path / "nothing")]) == 3
    assert "[kubeconfig-unusable]" in capsys.readouterr().err


def test_agents_are_the_runs_that_they_keep() -> None:
    now = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
    run = {"name": "k3v9x1ab", "state": "running", "jobType": "sweep-controller"}
    runs = [
        {**run, "heartbeatAt": "2026-11-23T00:29:30Z"},
        {**run, "heartbeatAt": "2026-11-23T00:29:30"},
        {**run, "heartbeatAt": None, "state": None},
        {**run, "jobType": None},
    ]
    assert agents_by_runs(runs, now) == (
        KnownAgent("k3v9x1ab", "", "running", 30.0, ()),
        KnownAgent("k3v9x1ab", "", "running", 30.0, ()),
        KnownAgent("k3v9x1ab", "", "?", None, ()),
    )


def test_agents_are_those_of_the_server_s_list() -> None:
    now = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
    agent = {"id": "x", "name": "k3v9x1ab", "hostname": "agent-1", "agentStatus": "POLLING", "runQueues": ["q1", "q2"]}
    project = {
        "runQueues": [{"id": "q1", "name": "gpus"}],
        "launchAgents": [
            {**agent, "heartbeatAt": "2026-11-23T00:29:30Z"},
            {**agent, "heartbeatAt": "2026-11-23T00:29:30", "runQueues": [{"id": "q1"}]},
            {"id": "y", "heartbeatAt": None},
        ],
    }
    assert known_agents(project, now) == (
        KnownAgent("k3v9x1ab", "agent-1", "POLLING", 30.0, ("gpus", "q2")),
        KnownAgent("k3v9x1ab", "agent-1", "POLLING", 30.0, ("gpus",)),
        KnownAgent("y", "", "?", None, ()),
    )
    assert known_agents({}, now) == ()


QUEUE = (
    "mutation UpsertRunQueue($name: String!, $project: String!, $entity: String!, $config: JSONString!) "
    "{ upsertRunQueue(input: {queueName: $name, projectName: $project, entityName: $entity, "
    'resourceType: "kubernetes", resourceConfig: $config}) { success } }'
)
CREATE = (
    "mutation createLaunchAgent($entity: String!, $project: String!, $queues: [ID!]!) "
    "{ createLaunchAgent(input: {entityName: $entity, projectName: $project, runQueues: $queues, "
    'hostname: "agent-1"}) { launchAgentId } }'
)
UPSERT = (
    "mutation UpsertBucket($name: String, $project: String, $entity: String, $jobType: String) "
    "{ upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, jobType: $jobType}) "
    "{ bucket { id } inserted } }"
)


def test_a_server_is_asked_for_key_entity_queues_and_agents() -> None:
    with running(teams=["vision-lab"]) as double:
        target = replace(TARGET, base_url=double.url)
        server = Server(double.url, double.api_key)

        def seen(key: str = double.api_key) -> Seen:
            return server_seen(target, asker(target, Secret(key), ""))

        assert [p.code for p in seen().problems] == ["launch-queue-unknown"]
        server.ask(QUEUE, {"entity": "vision-lab", "project": "model-registry", "name": "gpus", "config": "{}"})
        assert [p.code for p in seen().problems] == ["launch-agent-unseen"]
        names = {"name": "k3v9x1ab", "project": "model-registry", "entity": "vision-lab", "jobType": "sweep-controller"}
        server.ask(UPSERT, names)
        double.fail("LaunchAgents", 400, message="Cannot query field launchAgents")
        assert (seen().problems, double.log("Runs")[-1]["status"]) == ((), 200)
        (queue,) = double.state()["queues"].values()
        server.ask(CREATE, {"entity": "vision-lab", "project": "model-registry", "queues": [queue["id"]]})
        assert seen().problems == ()
        assert seen().facts[-1].detail.endswith(" s ago; polls gpus")
        assert [p.code for p in seen("9" * 40).problems] == ["launch-key-refused"]
        double.fail("LaunchAgents", 500)
        assert [p.code for p in seen().problems] == ["launch-server-unreachable"]
    assert [p.code for p in seen().problems] == ["launch-server-unreachable"]
