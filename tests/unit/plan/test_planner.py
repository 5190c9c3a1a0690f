"""The planner: receipts and evidence against what is wanted, from first install to drift and refusal."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import Inventory
from bootstrap.inventory.schema import Revision, component_named, components
from bootstrap.plan.arguments import components_for, expected_gpus, resolve_arguments
from bootstrap.plan.cluster_view import view_cluster
from bootstrap.plan.compare import describe_argument
from bootstrap.plan.digests import argument_digests, value_digest
from bootstrap.plan.model import CLUSTER, Effect
from bootstrap.plan.planner import Decision, decide
from bootstrap.probe.facts import ClusterTraces, Drift, HostFacts, KubeFacts
from bootstrap.probe.receipt import read_receipt
from tests.unit.factories import host_facts, inventory, loaded_driver, node

ADDRESSES = {"cp1": "198.51.100.10", "gpu1": "198.51.100.11", "gpu2": "198.51.100.12"}
GPUS = {"cp1": 0, "gpu1": 8, "gpu2": 8}


def lab(**explicit: Any) -> Inventory:
    workers = {name: address for name, address in ADDRESSES.items() if name != "cp1"}
    return inventory({"cp1": ADDRESSES["cp1"]}, workers, explicit=explicit)


def bare() -> dict[str, HostFacts]:
    return {name: host_facts(name, gpus=GPUS[name], address=address) for name, address in ADDRESSES.items()}


def receipt(component: str, values: dict[str, Any], facts: HostFacts, **changes: Any) -> dict[str, Any]:
    made = {
        "schema": 1,
        "component": component,
        "state": "complete",
        "machine_id": facts.machine_id,
        "revision": component_named(component).revision,
        "arguments": argument_digests(component, values),
        "gpus": [gpu.address for gpu in facts.gpus],
        "completed_at": "2026-11-22T14:03:00Z",
    }
    return made | changes


def installed(wanted: Inventory, facts: dict[str, HostFacts]) -> dict[str, HostFacts]:
    """The same hosts after a bootstrap: every component with its receipt, the cluster's API answering."""
    decision = decide(wanted, facts)
    view = view_cluster(wanted, facts)
    done = {}
    cluster_receipts: dict[str, Any] = {}
    for host in wanted.hosts:
        values = dict(decision.arguments.by_host[host.name])
        own: dict[str, Any] = {}
        for component in components_for(host, values, view):
            made = receipt(component.name, values, facts[host.name])
            (cluster_receipts if component.scope == "cluster" else own)[component.name] = made
        gpus = len(facts[host.name].gpus)
        driver = loaded_driver(gpus, host.name) if gpus else facts[host.name].driver
        done[host.name] = replace(facts[host.name], receipts=own, driver=driver)
    nodes = tuple(node(name, gpus=len(facts[name].gpus), address=ADDRESSES[name]) for name in facts)
    traces = ClusterTraces(admin_conf=True, kubelet_conf=True, etcd_data=True, ca_hash="sha256:aa")
    kube = KubeFacts(version="v1.36.3", nodes=nodes, receipts=cluster_receipts)
    done["cp1"] = replace(done["cp1"], cluster=traces, kube=kube)
    return done


def steps(decision: Decision) -> list[tuple[str, str, str]]:
    return [(step.host, step.component, step.action) for step in decision.plan.steps]


def test_bare_hosts_get_every_component_and_gpu_ones_where_gpus_are() -> None:
    decision = decide(lab(), bare())
    assert all(action == "install" for _, _, action in steps(decision))
    assert all(step.effect is Effect.NONE for step in decision.plan.steps), "new hosts are not disrupted"
    by_component: dict[str, list[str]] = {}
    for host, component, _ in steps(decision):
        by_component.setdefault(component, []).append(host)
    assert by_component == {
        "kube_host": ["cp1", "gpu1", "gpu2"],
        "nvidia_driver": ["gpu1", "gpu2"],
        "containerd": ["cp1", "gpu1", "gpu2"],
        "nvidia_container_toolkit": ["gpu1", "gpu2"],
        "kubeadm": ["cp1", "gpu1", "gpu2"],
        "flannel": [CLUSTER],
        "nvidia_device_plugin": [CLUSTER],
    }


def test_after_a_bootstrap_nothing_is_left_to_do() -> None:
    decision = decide(lab(), installed(lab(), bare()))
    assert decision.plan.steps == ()
    assert decision.view.seed == "cp1"


def raised(monkeypatch: pytest.MonkeyPatch, name: str, *effects: Effect) -> None:
    """The role `name` as if its revision had been raised, once for each effect."""
    changes = tuple(Revision(number, f"reason {number}", effect) for number, effect in enumerate(effects, 2))
    known = tuple(
        replace(component, revision=1 + len(effects), raises=changes) if component.name == name else component
        for component in components()
    )
    monkeypatch.setattr("bootstrap.plan.arguments.components", lambda: known)


def without_revision(facts: dict[str, HostFacts], name: str) -> dict[str, HostFacts]:
    """The same hosts, as 8d39fb5 left them: the component's receipt knows no revision, but a digest of the role."""

    def old(receipt: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in receipt.items() if key != "revision"} | {"role_digest": "sha256:e2a791"}

    return {
        host: replace(found, receipts={**found.receipts, name: old(dict(found.receipts[name]))})
        for host, found in facts.items()
    }


def test_receipts_from_before_revisions_are_taken_over_silently() -> None:
    facts = installed(lab(), bare())
    for name in ("kube_host", "containerd", "kubeadm"):
        facts = without_revision(facts, name)
    assert decide(lab(), facts).plan.steps == ()


def test_a_raised_revision_says_why_and_has_the_effect_of_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = without_revision(installed(lab(), bare()), "kubeadm")
    raised(monkeypatch, "kubeadm", Effect.NONE, Effect.RESTARTS_SERVICE, Effect.NONE)
    found = decide(lab(), facts).plan.steps
    assert {(step.host, step.component, step.action) for step in found} == {
        (host, "kubeadm", "change") for host in ADDRESSES
    }
    assert {step.reasons for step in found} == {("reason 2", "reason 3", "reason 4")}
    assert {step.effect for step in found} == {Effect.RESTARTS_SERVICE}


def test_only_raises_that_the_receipt_has_not_seen_count(monkeypatch: pytest.MonkeyPatch) -> None:
    raised(monkeypatch, "containerd", Effect.RESTARTS_SERVICE, Effect.NONE)
    facts = installed(lab(), bare())
    for host, known in (("gpu1", 2), ("gpu2", 1), ("cp1", 7)):  # 7: by a later gpuctl, which is no reason to go back
        old = {**facts[host].receipts["containerd"], "revision": known}
        facts[host] = replace(facts[host], receipts={**facts[host].receipts, "containerd": old})
    found = {step.host: (step.reasons, step.effect) for step in decide(lab(), facts).plan.steps}
    assert found == {
        "gpu1": (("reason 3",), Effect.NONE),
        "gpu2": (("reason 2", "reason 3"), Effect.RESTARTS_SERVICE),
    }


def test_a_login_that_a_receipt_holds_in_the_clear_is_moved_once() -> None:
    source = {"url": "https://ann:s3cret@mirror.example/deb", "key_url": "https://mirror.example/k", "suite": "/"}
    wanted = lab(containerd_apt_source={**source, "key_fingerprint": "A" * 40})
    facts = installed(wanted, bare())
    assert decide(wanted, facts).plan.steps == ()
    kept = facts["gpu1"].receipts["containerd"]
    assert "s3cret" not in json.dumps(kept)
    # As 8d39fb5 left it: digest and value of the argument, as it is.
    value = wanted.host("gpu1").settings["containerd_apt_source"]
    clear = {"digest": value_digest(value), "value": value}
    old = {**kept, "arguments": {**kept["arguments"], "containerd_apt_source": clear}}
    facts["gpu1"] = replace(facts["gpu1"], receipts={**facts["gpu1"].receipts, "containerd": old})
    (step,) = decide(wanted, facts).plan.steps
    assert (step.host, step.component, step.action, step.effect) == ("gpu1", "containerd", "change", Effect.NONE)
    assert step.reasons == ("the password in containerd_apt_source can be read by others on the host",)


def test_a_key_file_with_more_than_verified_keys_is_written_anew_without_effect() -> None:
    facts = installed(lab(), bare())
    key = "/etc/apt/keyrings/gpuctl-9DC858229FC7DD38854AE2D88D81803C0EBFCD88.asc"
    found = Drift(f"file:{key}", "sha256:a,0644,root:root", "unverified,0644,root:root", None)
    facts["gpu2"] = replace(facts["gpu2"], drift={"containerd": (found,)})
    (step,) = decide(lab(), facts).plan.steps
    assert (step.host, step.component, step.effect) == ("gpu2", "containerd", Effect.NONE)
    assert step.reasons == (f"{key} holds more than verified keys",)


def test_an_address_with_a_login_is_not_shown_when_it_changes() -> None:
    facts = installed(lab(), bare())
    wanted = lab(launch_agent_base_url="https://ann:s3cret@wandb.example")
    known = facts["cp1"].receipts["kubeadm"]
    entry = {"launch_agent_base_url": {"digest": "sha256:0", "value": "https://wandb.example"}}
    shown = describe_argument(
        {**known, "arguments": entry},
        "launch_agent_base_url",
        wanted.host("cp1").settings["launch_agent_base_url"],
        secret=False,
    )
    assert shown == "launch_agent_base_url changed"


def test_drift_names_what_changed_and_touches_only_its_component() -> None:
    facts = installed(lab(), bare())
    edited = Drift(
        "file:/etc/containerd/config.toml", "sha256:a,0644,root:root", "sha256:b,0644,root:root", "2026-11-22 14:03"
    )
    facts["gpu2"] = replace(facts["gpu2"], drift={"containerd": (edited,)})
    decision = decide(lab(), facts)
    assert steps(decision) == [("gpu2", "containerd", "repair")]
    assert decision.plan.steps[0].reasons == ("/etc/containerd/config.toml edited on the host (2026-11-22 14:03)",)
    assert decision.plan.steps[0].effect is Effect.RESTARTS_SERVICE


def test_driver_drift_under_running_gpu_pods_needs_consent() -> None:
    facts = installed(lab(), bare())
    lower = Drift("package:libnvidia-ml1", "580.178.04-1", "580.150.02-1")
    facts["gpu1"] = replace(facts["gpu1"], drift={"nvidia_driver": (lower,)})
    kube = facts["cp1"].kube
    assert kube is not None
    nodes = tuple(replace(n, gpu_pods=3) if n.name == "gpu1" else n for n in kube.nodes)
    facts["cp1"] = replace(facts["cp1"], kube=replace(kube, nodes=nodes))
    step = decide(lab(), facts).plan.steps[0]
    assert step.needs == "--disrupt"
    assert "libnvidia-ml1 580.178.04-1 → 580.150.02-1 (downgraded on the host)" in step.reasons
    assert decide(lab(), facts, disrupt=True).plan.steps[0].needs == ""


def test_an_interrupted_step_is_resumed_and_a_cloned_receipt_distrusted() -> None:
    facts = installed(lab(), bare())
    begun = dict(facts["gpu1"].receipts) | {"kubeadm": {**facts["gpu1"].receipts["kubeadm"], "state": "begun"}}
    facts["gpu1"] = replace(facts["gpu1"], receipts=begun)
    foreign = {name: {**made, "machine_id": "f" * 32} for name, made in facts["gpu2"].receipts.items()}
    facts["gpu2"] = replace(facts["gpu2"], receipts=foreign)
    found = steps(decide(lab(), facts))
    assert ("gpu1", "kubeadm", "resume") in found
    assert {component for host, component, _ in found if host == "gpu2"} == set(foreign)


def test_a_new_worker_touches_nobody_else() -> None:
    one = inventory({"cp1": ADDRESSES["cp1"]}, {"gpu1": ADDRESSES["gpu1"]})
    before = {name: facts for name, facts in bare().items() if name != "gpu2"}
    facts = installed(one, before) | {"gpu2": bare()["gpu2"]}
    assert {step.host for step in decide(lab(), facts).plan.steps} == {"gpu2"}


def test_a_first_worker_does_not_change_the_single_node_that_was_there() -> None:
    single = inventory({"cp1": ADDRESSES["cp1"]}, {})
    facts = installed(single, {"cp1": bare()["cp1"]}) | {"gpu1": bare()["gpu1"]}
    two = inventory({"cp1": ADDRESSES["cp1"]}, {"gpu1": ADDRESSES["gpu1"]})
    assert {step.host for step in decide(two, facts).plan.steps} <= {"gpu1", CLUSTER}


def test_limit_names_what_may_change() -> None:
    one = inventory({"cp1": ADDRESSES["cp1"]}, {"gpu1": ADDRESSES["gpu1"]})
    before = {name: facts for name, facts in bare().items() if name != "gpu2"}
    facts = installed(one, before) | {"gpu2": bare()["gpu2"]}
    edited = Drift("file:/etc/containerd/config.toml", "a", "b")
    facts["gpu1"] = replace(facts["gpu1"], drift={"containerd": (edited,)})
    assert {step.host for step in decide(lab(), facts, limit={"gpu2"}).plan.steps} == {"gpu2"}
    assert {step.host for step in decide(lab(), facts).plan.steps} == {"gpu1", "gpu2"}


def test_limit_lets_the_first_gpu_host_bring_the_device_plugin() -> None:
    single = inventory({"cp1": ADDRESSES["cp1"]}, {})
    facts = installed(single, {"cp1": bare()["cp1"]}) | {"gpu1": bare()["gpu1"]}
    two = inventory({"cp1": ADDRESSES["cp1"]}, {"gpu1": ADDRESSES["gpu1"]})
    assert (CLUSTER, "nvidia_device_plugin", "install") in steps(decide(two, facts, limit={"gpu1"}))


def test_limit_without_the_seed_is_refused_while_there_is_no_cluster() -> None:
    with pytest.raises(GpuctlError) as caught:
        decide(lab(), bare(), limit={"gpu1"})
    assert caught.value.problems[0].code == "no-cluster"
    assert caught.value.problems[0].host == "gpu1"


def test_a_reboot_that_is_allowed_is_announced_on_living_nodes_only() -> None:
    facts = installed(lab(), bare())
    lower = Drift("package:libnvidia-ml1", "580.178.04-1", "580.150.02-1")
    facts["gpu1"] = replace(facts["gpu1"], drift={"nvidia_driver": (lower,)})
    assert decide(lab(), facts, reboot=True).plan.steps[0].effect is Effect.REBOOTS
    assert decide(lab(), facts).plan.steps[0].effect is Effect.RESTARTS_SERVICE
    assert all(step.effect is Effect.NONE for step in decide(lab(), bare(), reboot=True).plan.steps)


def test_a_living_node_that_lost_its_receipts_is_disturbed_like_any_other() -> None:
    facts = installed(lab(), bare())
    facts["gpu1"] = replace(facts["gpu1"], receipts={})
    effects = {step.component: step.effect for step in decide(lab(), facts).plan.steps if step.host == "gpu1"}
    assert effects["containerd"] is Effect.RESTARTS_SERVICE


@pytest.mark.parametrize(
    ("variable", "value", "code", "words"),
    [
        ("cluster_pod_cidr", "10.42.0.0/16", "variable-immutable", "10.244.0.0/16 → 10.42.0.0/16"),
        ("kubeadm_kubernetes_version", "1.37.2", "upgrade-needed", "1.36.3 → 1.37.2"),
    ],
)
def test_what_an_installed_cluster_cannot_change_is_refused(variable: str, value: str, code: str, words: str) -> None:
    facts = installed(lab(), bare())
    with pytest.raises(GpuctlError) as caught:
        decide(lab(**{variable: value}), facts)
    assert caught.value.exit_code is ExitCode.PREFLIGHT
    assert {problem.code for problem in caught.value.problems} == {code}
    assert words in caught.value.problems[0].message
    assert caught.value.problems[0].at == "lab.ini:9"


def test_a_newer_default_is_reported_not_applied() -> None:
    facts = installed(lab(kubeadm_kubernetes_version="1.35.4"), bare())
    decision = decide(lab(), facts)
    assert decision.plan.steps == ()
    update = decision.plan.updates[0]
    assert (update.variable, update.installed, update.available) == ("kubeadm_kubernetes_version", "1.35.4", "1.36.3")
    assert decision.arguments.by_host["gpu1"]["kubeadm_kubernetes_version"] == "1.35.4"


def test_reordered_control_planes_keep_the_seed_that_has_the_cluster() -> None:
    ha = inventory({"cp1": ADDRESSES["cp1"], "cp2": "198.51.100.20"}, {"gpu1": ADDRESSES["gpu1"]})
    facts = installed(lab(), bare())
    facts["cp2"] = host_facts("cp2", address="198.51.100.20")
    swapped = replace(ha, hosts=(ha.hosts[1], ha.hosts[0], ha.hosts[2]))
    for order in (ha, swapped):
        decision = decide(order, facts)
        assert decision.view.seed == "cp1"
        assert decision.arguments.by_host["cp2"]["kubeadm_role"] == "control-plane"
        assert {step.host for step in decision.plan.steps} == {"cp2"}


def test_the_endpoint_moves_when_the_control_plane_that_it_named_has_left() -> None:
    ha = inventory({"cp1": ADDRESSES["cp1"], "gpu1": ADDRESSES["gpu1"]}, {"gpu2": ADDRESSES["gpu2"]})
    facts = installed(ha, bare())
    facts["gpu1"] = replace(facts["gpu1"], cluster=facts["cp1"].cluster, kube=facts["cp1"].kube)
    assert decide(ha, facts).plan.steps == ()

    facts["cp1"] = bare()["cp1"]
    decision = decide(ha, facts)
    assert decision.view.seed == "gpu1"
    assert decision.arguments.by_host["cp1"]["kubeadm_role"] == "control-plane", "it joins what is there"
    assert {v["cluster_endpoint_address"] for v in decision.arguments.by_host.values()} == {ADDRESSES["gpu1"]}
    others = [(step.host, step.component) for step in decision.plan.steps if step.host != "cp1"]
    assert sorted(others) == sorted((host, name) for host in ("gpu1", "gpu2") for name in ("kube_host", "kubeadm"))


def test_two_clusters_are_never_merged() -> None:
    facts = installed(lab(), bare())
    ha = inventory({"cp1": ADDRESSES["cp1"], "cp2": "198.51.100.20"}, {})
    other = ClusterTraces(admin_conf=True, kubelet_conf=True, etcd_data=True, ca_hash="sha256:bb")
    facts["cp2"] = host_facts("cp2", address="198.51.100.20", cluster=other)
    with pytest.raises(GpuctlError) as caught:
        decide(ha, facts)
    assert caught.value.problems[0].code == "leftover-cluster"


def test_a_vanished_gpu_does_not_make_a_cpu_node() -> None:
    facts = installed(lab(), bare())
    facts["gpu1"] = replace(facts["gpu1"], gpus=())
    assert decide(lab(), facts).plan.steps == ()


def test_nodes_that_left_the_inventory_are_reported_never_removed() -> None:
    facts = installed(lab(), bare())
    fewer = inventory({"cp1": ADDRESSES["cp1"]}, {"gpu1": ADDRESSES["gpu1"]})
    decision = decide(fewer, {name: facts[name] for name in ("cp1", "gpu1")})
    assert decision.plan.extra == ("gpu2: in the cluster, not in the inventory",)
    assert decision.plan.steps == ()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_drift_leads_to_steps_of_exactly_its_components(data: st.DataObject) -> None:
    names = [component.name for component in components() if component.scope == "host"]
    facts = installed(lab(), bare())
    wanted = set()
    for host in ADDRESSES:
        mine = [name for name in names if name in facts[host].receipts]
        chosen = data.draw(st.sets(st.sampled_from(mine)))
        drift = {name: (Drift(f"file:/etc/{name}", "a", "b"),) for name in chosen}
        facts[host] = replace(facts[host], drift=drift)
        wanted |= {(host, name) for name in chosen}
    decision = decide(lab(), facts)
    assert {(step.host, step.component) for step in decision.plan.steps} == wanted
    order = [
        component.order
        for step in decision.plan.steps
        for component in components()
        if component.name == step.component
    ]
    assert order == sorted(order)


def killed(facts: dict[str, HostFacts], component: str, **arguments: Any) -> dict[str, HostFacts]:
    """The same hosts after a run that set these arguments and was killed before the component was complete."""
    done = {}
    for name, mine in facts.items():
        made = mine.receipts[component]
        begun = {
            **made,
            "state": "begun",
            "installed": made["arguments"],
            "arguments": {**made["arguments"], **{k: {"digest": "x", "value": v} for k, v in arguments.items()}},
        }
        done[name] = replace(mine, receipts={**mine.receipts, component: begun})
    return done


def test_a_killed_run_keeps_the_pins_of_what_is_installed() -> None:
    facts = killed(installed(lab(kubeadm_kubernetes_version="1.35.4"), bare()), "kubeadm")
    decision = decide(lab(), facts)
    assert set(steps(decision)) == {(host, "kubeadm", "resume") for host in ADDRESSES}
    assert decision.arguments.by_host["gpu1"]["kubeadm_kubernetes_version"] == "1.35.4"


def test_a_killed_run_does_not_make_refused_changes_possible() -> None:
    facts = killed(installed(lab(), bare()), "kubeadm", cluster_pod_cidr="10.42.0.0/16")
    with pytest.raises(GpuctlError) as caught:
        decide(lab(cluster_pod_cidr="10.42.0.0/16"), facts)
    refused = [problem for problem in caught.value.problems if problem.message.startswith("kubeadm: cluster_pod_cidr")]
    assert {problem.code for problem in refused} == {"variable-immutable"}
    assert {problem.host for problem in refused} >= {"cp1"}
    assert "10.244.0.0/16 → 10.42.0.0/16" in refused[0].message


def test_a_first_run_that_was_killed_binds_nobody() -> None:
    facts = killed(installed(lab(), bare()), "kubeadm")
    for name, mine in facts.items():
        begun = {key: entry for key, entry in mine.receipts["kubeadm"].items() if key != "installed"}
        others = {key: made for key, made in mine.receipts.items() if key != "flannel"}
        facts[name] = replace(mine, receipts={**others, "kubeadm": begun})
    facts["cp1"] = replace(facts["cp1"], kube=None)
    wanted = lab(kubeadm_kubernetes_version="1.35.4")
    assert decide(wanted, facts).arguments.by_host["gpu1"]["kubeadm_kubernetes_version"] == "1.35.4"


def says(facts: HostFacts, component: str, **arguments: Any) -> HostFacts:
    """A host whose receipt has other arguments than it was given, with digests to match."""
    made = facts.receipts[component]
    own = {name: {"digest": value_digest(value), "value": value} for name, value in arguments.items()}
    told = {**made, "component": component, "schema": 1, "arguments": {**made["arguments"], **own}}
    read = read_receipt(component_named(component), {**told, "machine_id": None})
    assert read["state"] == "complete", read["why"]
    return replace(facts, receipts={**facts.receipts, component: read})


@pytest.mark.parametrize("role", ["control-plane", "init"])
def test_what_a_host_is_comes_from_the_inventory(role: str) -> None:
    facts = installed(lab(), bare())
    facts["gpu1"] = says(
        facts["gpu1"], "kubeadm", kubeadm_role=role, kubeadm_cert_sans=["evil"], kubeadm_schedulable=True
    )
    values = resolve_arguments(lab(), facts, view_cluster(lab(), facts)).by_host
    assert {name: found["kubeadm_role"] for name, found in values.items()} == {
        "cp1": "init", "gpu1": "worker", "gpu2": "worker",
    }  # fmt: skip
    assert (values["gpu1"]["kubeadm_cert_sans"], values["gpu1"]["kubeadm_schedulable"]) == ([], False)
    with pytest.raises(GpuctlError) as caught:
        decide(lab(), facts)
    (problem,) = caught.value.problems
    assert (problem.host, problem.code) == ("gpu1", "variable-immutable")
    assert "list it in its former group" in problem.fix


def test_a_control_plane_that_says_worker_is_one_all_the_same() -> None:
    facts = installed(lab(), bare())
    facts["cp1"] = says(facts["cp1"], "kubeadm", kubeadm_role="worker", kubeadm_cert_sans=["evil"])
    values = resolve_arguments(lab(), facts, view_cluster(lab(), facts)).by_host["cp1"]
    assert values["kubeadm_role"] == "init"
    assert "evil" not in values["kubeadm_cert_sans"]


def test_no_worker_decides_for_another_host() -> None:
    """Whatever a worker's receipts say, the other hosts are told what they were told before."""
    facts = installed(lab(), bare())
    before = resolve_arguments(lab(), facts, view_cluster(lab(), facts)).by_host
    facts["gpu1"] = says(
        facts["gpu1"], "kube_host", cluster_endpoint_address="203.0.113.9", kube_host_time_service=True
    )
    facts["gpu1"] = says(facts["gpu1"], "kubeadm", kubeadm_kubernetes_version="1.30.1", cluster_name="other")
    facts["gpu1"] = says(facts["gpu1"], "containerd", containerd_version="2.9.9", containerd_adopt=True)
    facts["gpu1"] = says(facts["gpu1"], "nvidia_driver", nvidia_driver_module="closed")
    facts["gpu1"] = replace(facts["gpu1"], kube=facts["cp1"].kube and replace(facts["cp1"].kube, receipts={}))
    after = resolve_arguments(lab(), facts, view_cluster(lab(), facts)).by_host
    assert after["gpu1"]["kubeadm_kubernetes_version"] == "1.30.1"
    for host in ("cp1", "gpu2"):
        assert after[host] == before[host]


def test_a_damaged_receipt_is_named_and_nothing_of_it_is_used() -> None:
    facts = installed(lab(), bare())
    raw = {**facts["gpu1"].receipts["nvidia_driver"], "component": "nvidia_driver", "gpus": ["x"]}
    damaged = read_receipt(component_named("nvidia_driver"), raw)
    facts["gpu1"] = replace(facts["gpu1"], gpus=(), receipts={**facts["gpu1"].receipts, "nvidia_driver": damaged})
    assert expected_gpus(facts["gpu1"]) == frozenset()
    facts["gpu1"] = replace(facts["gpu1"], gpus=facts["gpu2"].gpus)
    (step,) = decide(lab(), facts).plan.steps
    assert (step.host, step.component, step.action) == ("gpu1", "nvidia_driver", "install")
    assert step.reasons == ("its receipt is damaged: gpus has no such form",)


def test_a_running_node_that_was_given_another_machine_id_is_left_as_it_is() -> None:
    done = installed(lab(), bare())
    traces = ClusterTraces(kubelet_conf=True, node="gpu1")
    changed = replace(done["gpu1"], machine_id="c" * 32, cluster=traces)
    assert steps(decide(lab(), {**done, "gpu1": changed})) == []
    elsewhere = replace(changed, addresses={"eth0": ("198.51.100.99/24",)})  # a clone that runs beside it
    reasons = {r for step in decide(lab(), {**done, "gpu1": elsewhere}).plan.steps for r in step.reasons}
    assert any("another machine" in reason for reason in reasons)
