"""From the way in which minikube failed to one of our problems. Pure.

Names and exit statuses are those of minikube 1.38 (pkg/minikube/reason); its own advice stays in the details.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bootstrap.errors import Problem
from bootstrap.minikube.events import Event, Failure, Remark

# Tens of its exit status → what they are about.
FAMILIES = {
    1: "the program itself", 2: "the machine's resources", 3: "the host", 4: "the internet", 5: "the driver",
    6: "Docker", 7: "the local network", 8: "the node", 9: "the container runtime", 10: "the control plane",
    11: "a service in the cluster",
}  # fmt: skip
_REPORT_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class _Rule:
    """A failure is this one when its name or its words match."""

    code: str
    words: str
    fix: str
    name: str = r"(?!)"
    text: str = r"(?!)"


# The first that matches; what is told by words goes before the families that it could also be.
_RULES = (
    _Rule(
        "minikube-toolkit-missing",
        "Docker cannot give a container GPUs: the NVIDIA container toolkit is not set up for it",
        "run `gpuctl minikube up` again: it sets the toolkit up and restarts Docker",
        text=r"could not select device driver|unresolvable CDI devices|nvidia-container-cli: ",
    ),
    _Rule(
        "minikube-gpus-runtime",
        "minikube gives GPUs to nodes of the docker runtime only",
        "leave --container-runtime out, or give --gpus none",
        text=r"gpus flag can only be used with",
    ),
    _Rule(
        "minikube-root",
        "minikube refuses root without --force",
        "run gpuctl as a user of the docker group, or give --force",
        name=r"DRV_AS_ROOT",
    ),
    _Rule(
        "minikube-docker-denied",
        "this user may not use Docker",
        "join the docker group: docker_group_users in the inventory, or `usermod -aG docker USER` and a new login",
        name=r"PROVIDER_DOCKER_NEWGRP",
        text=r"permission denied while trying to connect to the Docker daemon",
    ),
    _Rule(
        "minikube-docker-away",
        "Docker does not answer",
        "`systemctl status docker`; `journalctl -u docker` says why it is down",
        name=r"PROVIDER_DOCKER_(NOT_RUNNING|NOT_FOUND|NOT_HEALTHY|DEADLINE_EXCEEDED|ERROR)|PROVIDER_NOT_RUNNING"
        r"|DRV_NOT_HEALTHY|DRV_DOCKER_NOT_RUNNING",
        text=r"Cannot connect to the Docker daemon",
    ),
    _Rule(
        "minikube-bpf-jit-harden",
        "the kernel hardens all compiled BPF programs, and GPU nodes of minikube do not come up with that",
        "set kube_host_bpf_jit_harden_off=true, or `sysctl net.core.bpf_jit_harden=0`",
        text=r"bpf_jit_harden",
    ),
    _Rule(
        "minikube-port-taken",
        "a port that the node needs is taken",
        "`ss -ltnp` shows by whom; end that, or choose another with --extra-config",
        name=r"LOCAL_PORT_IN_USE|GUEST_PORT.*",
        text=r"port is already allocated|address already in use",
    ),
    _Rule(
        "minikube-version",
        "minikube cannot find out about this version of Kubernetes",
        "name one that it knows, with --kubernetes-version, or bring its files in a bundle",
        name=r"K8S_.*",
    ),
    _Rule(
        "minikube-image-pull",
        "an image could not be fetched",
        "look at the way to the registry (proxy, mirror, CA), or bring the images in a bundle",
        name=r"INET_.*|IF_.*PULL.*|GUEST_IMAGE_.*",
        text=r"failed to pull|error pulling image|manifest unknown|Unable to (?:find|pull) image",
    ),
    _Rule(
        "minikube-resources",
        "the machine has less than the profile asks for",
        "free it, or ask for less with --cpus, --memory, --disk-size",
        name=r"RSRC_.*",
    ),
    _Rule(
        "minikube-profile-unknown",
        "there is no such profile",
        "`gpuctl minikube up` makes it",
        name=r"MK_USAGE_NO_PROFILE|GUEST_PROFILE.*|GUEST_MISSING.*",
    ),
    _Rule("minikube-usage", "minikube does not take its options", "correct them", name=r"MK_USAGE.*|DRV_.*FLAG.*"),
)


def problem_of(rc: int, events: Sequence[Event], said: str, host: str) -> Problem:
    """What a call of minikube that ended with `rc` failed of; `said` is what else it printed."""
    failure = next((event for event in reversed(events) if isinstance(event, Failure)), Failure(""))
    warned = [event.message for event in events if isinstance(event, Remark) and event.warning]
    text = "\n".join([failure.message, *warned, said])
    details = _details(failure, warned, said)
    for rule in _RULES:
        if re.fullmatch(rule.name, failure.name) or re.search(rule.text, text):
            words = f"{rule.words} (minikube: {_first_line(failure.message) or f'exit status {rc}'})"
            return Problem(rule.code, words, rule.fix, host, details=details)
    family = FAMILIES.get((failure.exit_code or rc) // 10, "")
    where = f", which is about {family}" if family else ""
    words = f"minikube ended with status {rc}{where}: {_first_line(failure.message or said) or 'it said nothing'}"
    return Problem(
        "minikube-failed", words, failure.advice.strip().splitlines()[0] if failure.advice.strip() else
        "look at what it said, below, and at `minikube logs`", host, details=details,
    )  # fmt: skip


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:300]


def _details(failure: Failure, warned: Sequence[str], said: str) -> str:
    parts = [failure.message, failure.advice and f"minikube's advice: {failure.advice}", *warned, said]
    return "\n".join(part.strip() for part in parts if part and part.strip())[-_REPORT_LENGTH:]
