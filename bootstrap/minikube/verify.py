"""`gpuctl verify-gpus` on a minikube profile: the same layers, with Docker in containerd's place and one node."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bootstrap.errors import GpuctlError, Problem, usage_error
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_dockergpus import count
from bootstrap.inventory.load import load_inventory
from bootstrap.kube.client import ApiError, Cluster, client_of
from bootstrap.kube.credentials import kubeconfig_of, url
from bootstrap.minikube.contexts import credentials
from bootstrap.minikube.look import DOCKER, Seen, look
from bootstrap.minikube.model import MinikubeRequest
from bootstrap.minikube.state import made_with
from bootstrap.minikube.toolkit import fault_of
from bootstrap.plan.arguments import expected_gpus
from bootstrap.plan.survey import probe_hosts, refuse
from bootstrap.probe.facts import HostFacts, NodeFacts, Unreachable
from bootstrap.probe.remote import reach
from bootstrap.probe.session import Session
from bootstrap.probe.ssh_errors import ConnectFailure
from bootstrap.progress import Progress
from bootstrap.verify.compute import compute
from bootstrap.verify.container import NO_END, WAYS, ContainerGpus, container_gpus
from bootstrap.verify.ended import Computed
from bootstrap.verify.evidence import Evidence, NodeContainer, Remedies
from bootstrap.verify.layers import judge
from bootstrap.verify.plugins import pod_state
from bootstrap.verify.requests import VerifyRequest
from bootstrap.verify.results import VerifyResult
from bootstrap.verify.run import verify_nodes
from bootstrap.verify.runtime import ask_docker

_PLUGIN = "/api/v1/namespaces/kube-system/pods"
_LABEL = "name=nvidia-device-plugin-ds"
_SELECTOR = {"labelSelector": _LABEL}
_RUNTIME = "nvidia"


def verify_gpus(request: VerifyRequest, view: Progress) -> VerifyResult:
    """Look at every GPU of the inventory, and compute on it: on nodes, or on the minikube host and its profile.

    Raises:
        GpuctlError: settings (3), a host that cannot be probed (4), no cluster to ask or no GPU (6).
    """
    inventory = load_inventory(request.inventory)
    if inventory.minikube:
        if request.collective:
            raise usage_error("--collective: a minikube cluster has one node", "leave it out")
        of_profile = MinikubeRequest(inventory, request.run, request.access, request.profile)
        return verify_profile(of_profile, request.timeout_s, view, require_all=request.require_all)
    return verify_nodes(inventory, request, view)


def verify_profile(
    request: MinikubeRequest, timeout_s: float, view: Progress, *, require_all: bool = False
) -> VerifyResult:
    """Look at every GPU of the host and compute on it in pods of the profile.

    Raises:
        GpuctlError: the host cannot be asked (exit 4), or has no GPU (exit 6).
    """
    begun = time.monotonic()
    host = request.inventory.hosts[0]
    probe = probe_hosts(request.inventory, request.access)[host.name]
    if isinstance(probe, Unreachable):
        refuse([Problem(probe.code, probe.message, probe.fix, probe.host)])
        raise AssertionError("unreachable")
    expected = expected_gpus(probe)
    if not expected:
        words, fix = "there is no NVIDIA GPU on the PCI bus", "check the cards"
        raise GpuctlError(ExitCode.NOT_READY, Problem("gpu-missing", words, fix, host.name))
    runtime = ask_docker(host, request.access)
    with reach(host, request.access) as session:
        try:
            seen = look(session, host.name, request.profile)
            made = made_with(seen, request.profile)
            tried = container_gpus(session, host, request.access, made.gpus if made.gpus in WAYS else "all")
            container = _node_container(session, seen, request.profile, gpus=made.wants_gpus)
            plugin, computed, error = _ask_cluster(request, session, seen, timeout_s, view)
        except ConnectFailure as failure:
            problem = Problem(failure.code, str(failure), failure.fix, host.name)
            raise GpuctlError(ExitCode.PREFLIGHT, problem) from failure
    evidence = Evidence(
        facts=probe,
        expected=expected,
        runtime=runtime,
        node=None if error else _node(seen, probe),  # an API that does not let us in says nothing of its node
        api_error=error or f"profile {request.profile} does not run",
        plugin_pod=plugin,
        computed=computed,
        runtime_class=_RUNTIME,
        cluster=_remedies(request.profile),
        docker=tried if _counts(tried, host.name, request.profile) else None,
        container=container,
        require_all=require_all,
    )
    result, problems = judge(evidence)
    passed = not problems and result.passed
    return VerifyResult(
        exit_code=ExitCode.OK if passed else ExitCode.NOT_READY,
        cluster_name=request.profile,
        nodes=(result,),
        elapsed_s=time.monotonic() - begun,
        problems=problems,
    )


def _counts(tried: ContainerGpus, host: str, profile: str) -> bool:
    """Whether a trial says something of GPUs: as for `up`, the troubles of its own empty container do not count."""
    ended = tried.rc not in {0, NO_END}
    return tried.tells and (not (tried.fault and ended) or fault_of(tried, host, profile) is not None)


def _node_container(session: Session, seen: Seen, profile: str, *, gpus: bool) -> NodeContainer | None:
    """What the node's container has of devices; None while none runs, or it does not say."""
    if seen.container != "running":
        return None
    try:
        listed = session.run([*DOCKER, "exec", profile, "ls", "-1", "/dev"], timeout_s=30.0)
    except ConnectFailure:  # no answer in that time: the layers after it tell more
        return None
    return None if listed.rc else NodeContainer(count(listed.out), gpus)


def _remedies(profile: str) -> Remedies:
    def commands(*verbs: str) -> str:
        return ", then ".join(f"`gpuctl minikube {verb} --profile {profile}`" for verb in verbs)

    return Remedies(
        mended_by=f"gpuctl minikube up --profile {profile}",
        kubelet=f"`docker exec {profile} journalctl -u kubelet` on the host",
        plugin=f"if it has nothing to do: `minikube -p {profile} addons enable nvidia-device-plugin` on the host",
        plugin_renewed=(
            "look for Xid errors of it in `dmesg`; if it is well again: "
            f"`minikube -p {profile} kubectl -- delete pod -n kube-system -l {_LABEL}` on the host"
        ),
        plugin_log=f"`minikube -p {profile} kubectl -- logs -n kube-system -l {_LABEL}` on the host",
        remade_by=commands("down", "up"),
        restarted_by=commands("stop", "start"),
    )


def _node(seen: Seen, facts: HostFacts) -> NodeFacts | None:
    if seen.node is None:
        return None
    ready = "" if seen.node.ready else "the kubelet does not say why"
    address = next(iter(facts.address_list), "")
    gpus = seen.node.gpus
    return NodeFacts(seen.node.name, seen.node.ready, ready, "", "", address, gpus, gpus, False, {})


def _ask_cluster(
    request: MinikubeRequest, session: Session, seen: Seen, timeout_s: float, view: Progress
) -> tuple[str, Computed | None, str]:
    """(the device plugin's pod in a word, what was computed, why the API could not be asked)."""
    if seen.node is None:
        return "", None, ""
    image = str(request.inventory.hosts[0].settings["cluster_python_image"])
    try:
        with profile_api(session, seen, request.profile) as cluster:
            pods = (cluster.get(_PLUGIN, _SELECTOR) or {}).get("items", [])
            plugin = pod_state(pods[0]) if pods else ""
            found = compute(
                cluster,
                {seen.node.name: seen.node.gpus} if seen.node.ready else {},
                run_id=request.run.id,
                image=image,
                runtime_class="",
                timeout_s=timeout_s,
                progress=view,
            )
            return plugin, found.get(seen.node.name), ""
    except ApiError as error:
        return "", None, error.message
    except GpuctlError as error:
        return "", None, error.problems[0].message


@contextmanager
def profile_api(session: Session, seen: Seen, profile: str) -> Iterator[Cluster]:
    """The profile's API, through the session, as the user whose profile it is.

    Raises:
        GpuctlError: its credentials or its port cannot be read (exit 6).
    """
    found = credentials(session, seen, profile)
    reached = session.forward(found.host.replace("0.0.0.0", "127.0.0.1"), found.port)  # noqa: S104 - replaced
    yield client_of(kubeconfig_of(found, "profile", server=url("127.0.0.1", reached)))
