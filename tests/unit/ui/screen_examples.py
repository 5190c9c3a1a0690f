"""Results as they come from a run on three hosts, for the screens to show."""

from __future__ import annotations

from bootstrap.apply.results import (
    BootstrapResult,
    HostOutcome,
    HostSummary,
    KubeconfigChange,
    NodeState,
    Outcome,
    PlanResult,
    Preflight,
    Readiness,
)
from bootstrap.checks.finding import Finding, Severity
from bootstrap.errors import Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.plan.model import Effect, Plan, Step, Update
from bootstrap.verify.results import LAYERS, GpuResult, LayerResult, LayerState, NodeResult, VerifyResult

A100 = "NVIDIA A100-SXM4-40GB"
GIB = 1024**3
CONTROL_PLANE = HostSummary("cp1", "Debian 12", 2, 24 * GIB)
WORKERS = tuple(HostSummary(name, "Debian 12", 2, 24 * GIB, 8, A100, simulated=True) for name in ("gpu1", "gpu2"))
HOSTS = (CONTROL_PLANE, *WORKERS)

FINDINGS = Preflight(
    61,
    (
        Finding("gpu1", "swap-on", Severity.FIX, "swap is on (2 GiB, /dev/sdb2)", "will be turned off for good"),
        Finding("gpu2", "clock-off", Severity.FIX, "clock is 41 s behind", "time service will be installed"),
        Finding(None, "few-cpus", Severity.WARN, "2 CPU each", "expect slow starts"),
    ),
)


def install(host: str, *components: str) -> tuple[Step, ...]:
    return tuple(Step(host, name, "install", ("not installed",), Effect.NONE) for name in components)


WORKER_PARTS = ("kube_host", "nvidia_driver", "containerd", "nvidia_container_toolkit", "kubeadm")
FRESH = Plan(
    (
        *install("cp1", "kube_host", "containerd", "kubeadm"),
        *install("gpu1", *WORKER_PARTS),
        *install("gpu2", *WORKER_PARTS),
        *install("cluster", "flannel", "nvidia_device_plugin"),
    )
)
DRIFT = Plan(
    (
        Step(
            "gpu2",
            "containerd",
            "repair",
            (
                "/etc/containerd/config.toml edited on the host (2026-11-22 14:03)",
                "registry mirrors are checked by TLS name",
            ),
            Effect.RESTARTS_SERVICE,
        ),
        Step(
            "gpu2",
            "nvidia_driver",
            "repair",
            ("libnvidia-compute 580.178.04 → 580.150.02 (downgraded on the host)",),
            Effect.DISRUPTS_GPU_PODS,
            "--disrupt",
        ),
    ),
    (Update("kubernetes", "kubeadm_kubernetes_version", "1.36.3", "1.36.4", "gpuctl upgrade kubernetes"),),
    ("gpu3: in the cluster, not in the inventory",),
)
READY = Readiness(
    (
        NodeState("cp1", True, "", 0, 0),
        NodeState("gpu1", True, "", 8, 8),
        NodeState("gpu2", True, "", 8, 8),
    )
)


def bootstrap_result(**changes: object) -> BootstrapResult:
    values: dict[str, object] = {
        "exit_code": ExitCode.OK,
        "cluster_name": "lab",
        "hosts": HOSTS,
        "preflight": FINDINGS,
        "plan": FRESH,
        "elapsed_s": 93.4,
        "outcomes": tuple(HostOutcome(h.name, Outcome.DONE, ("kube_host",), changed=4) for h in HOSTS),
        "readiness": READY,
        "kubeconfig": KubeconfigChange("~/.kube/config", "gpuctl-lab", added=True, current=False),
        "components": 15,
    }
    return BootstrapResult(**(values | changes))  # type: ignore[arg-type]


def unchanged_result() -> BootstrapResult:
    return bootstrap_result(
        plan=Plan(()),
        elapsed_s=1.83,
        outcomes=tuple(HostOutcome(h.name, Outcome.UNCHANGED) for h in HOSTS),
        kubeconfig=None,
        components=17,
        last_applied_s=250.0,
    )


def failed_result() -> BootstrapResult:
    return bootstrap_result(
        exit_code=ExitCode.PARTIAL,
        outcomes=(
            HostOutcome("cp1", Outcome.DONE, ("kube_host", "containerd"), changed=9),
            HostOutcome(
                "gpu1", Outcome.FAILED, ("kube_host",), "nvidia_driver", 2, "before any driver package was touched"
            ),
            HostOutcome("gpu2", Outcome.NOT_STARTED),
        ),
        readiness=None,
        kubeconfig=None,
        problems=(HEADERS_MISSING,),
    )


HEADERS_MISSING = Problem(
    "headers-missing",
    "step nvidia_driver failed: no kernel headers for 6.1.0-31-amd64 in any configured repository",
    "boot the newest installed kernel, or add the repository that has linux-headers-6.1.0-31-amd64",
    "gpu1",
    "roles/nvidia_driver/tasks/check.yml:22 (Check | Kernel headers can be installed)",
    "E: Unable to locate package linux-headers-6.1.0-31-amd64",
)


def plan_result(plan: Plan = DRIFT) -> PlanResult:
    return PlanResult(
        ExitCode.OK, "lab", HOSTS, FINDINGS, plan, 1.2, readiness=READY, components=17, last_applied_s=7300.0
    )


def node(host: str, lost: bool = False) -> NodeResult:
    ok = {name: LayerResult(LayerState.OK) for name in LAYERS}
    counted = dict.fromkeys(("pci", "nvml", "allocatable", "compute"), LayerResult(LayerState.OK, 8))
    layers = ok | counted
    if lost:
        layers["nvml"] = LayerResult(LayerState.FAILED, 7, "7 of 8 GPUs")
        layers |= {name: LayerResult(LayerState.NOT_RUN) for name in ("runtime", "cdi")}
    gpus = tuple(
        GpuResult(f"0000:{n + 1:02x}:00.0", f"GPU-{n}", n, A100, True, True, not (lost and n == 5), "not in NVML")
        for n in range(8)
    )
    return NodeResult(host, True, layers, gpus)


def verify_result(lost: bool = False) -> VerifyResult:
    code = ExitCode.NOT_READY if lost else ExitCode.OK
    return VerifyResult(code, "lab", (node("gpu1"), node("gpu2", lost)), 11.2)
