"""From the way in which minikube failed to one of our problems. Pure.

Names and exit statuses are those of minikube 1.38 (pkg/minikube/reason); its own advice stays in the details.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bootstrap.errors import Problem
from bootstrap.minikube.events import Event, Failure, Remark
from bootstrap.verify.docker_words import WORDS, docker_words

# Tens of its exit status → what they are about.
FAMILIES = {
    1: "the program itself", 2: "the machine's resources", 3: "the host", 4: "the internet", 5: "the driver",
    6: "Docker", 7: "the local network", 8: "the node", 9: "the container runtime", 10: "the control plane",
    11: "a service in the cluster",
}  # fmt: skip
_CAUSE_LENGTH = 300
_REPORT_LENGTH = 2000
_NO_PROGRAM = 127
_TOOLKIT = "minikube-toolkit-missing"
_OF_AN_IMAGE = re.compile(r"ldcache error|mount error")  # which may go well with the node's
_BOX = "╭"


@dataclass(frozen=True, slots=True)
class _Rule:
    """A failure is this one when its name or its words match; its `fix` may name the {profile}."""

    code: str
    words: str
    fix: str
    name: str = r"(?!)"
    text: str = r"(?!)"


# The first that matches; what is told by words goes before the families that it could also be.
_RULES = (
    *(_Rule(each.code, each.words, f"{each.fix}; then the same command again", text=each.text) for each in WORDS),
    _Rule(
        "minikube-toolkit-missing",
        "a program of the NVIDIA container toolkit is gone, Docker's runtime nvidia",
        "run there: apt-get install --reinstall nvidia-container-toolkit-base; then the same command again",
        text=r"nvidia-container-runtime\W+(executable file not found|no such file)",
    ),
    _Rule(
        "minikube-toolkit-missing",
        "Docker cannot give a container GPUs: the NVIDIA container toolkit is not set up for it",
        "run the same command again: it sets the toolkit up and restarts Docker",
        text=r"could not select device driver|unresolvable CDI devices",
    ),
    _Rule(
        "minikube-toolkit-missing",
        "the NVIDIA container toolkit could not prepare a container",
        "mend what it names; else the same command again, which sets the toolkit up and restarts Docker",
        text=r"nvidia-container-cli: ",
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
        "give `gpuctl minikube up --docker-group --profile {profile}`; who is in that group is as good as root",
        name=r"PROVIDER_DOCKER_NEWGRP",
        text=r"permission denied while trying to connect to the Docker daemon",
    ),
    _Rule(
        "minikube-docker-old",
        "Docker is too old for minikube",
        "upgrade it, or let gpuctl install one",
        name=r"PROVIDER_DOCKER_VERSION_LOW",
    ),
    _Rule(
        "minikube-docker-away",
        "Docker does not answer",
        "`gpuctl minikube up --profile {profile}` starts it; there, `journalctl -u docker` says why it is down",
        # Its names are made of what it asked Docker and of the exit status: ..._VERSION_EXIT_1, ..._INFO_ERROR.
        name=r"PROVIDER_DOCKER_(NOT_RUNNING|NOT_FOUND|DEADLINE_EXCEEDED|INFO_FAILED|(\w+_)?ERROR|\w+_EXIT_\d+)"
        r"|DRV_NOT_HEALTHY|DRV_DOCKER_NOT_RUNNING",
        # The latter is what --force makes of it.
        text=r"Cannot connect to the Docker daemon|Ensure your Docker is running",
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
        name=r"GUEST_PORT_IN_USE",
        text=r"port is already allocated|address already in use",
    ),
    _Rule(
        "minikube-resources",
        "the machine has less than the profile asks for",
        "free it, or ask for less with --cpus, --memory, --disk-size",
        name=r"RSRC_\w+|GUEST_PROVISION_NOSPACE",
        text=r"no space left on device|has only \d+MB memory but you specified|range of CPUs is from",
    ),
    _Rule(
        "minikube-version",
        "minikube cannot find out about this version of Kubernetes, or does not run it",
        "name one that it knows, with --kubernetes-version, or bring its files in a bundle",
        name=r"K8S_(FAIL_CONNECT|OLD_UNSUPPORTED|NEW_UNSUPPORTED|DOWNGRADE_UNSUPPORTED)|INET_VERSION_\w+"
        r"|MK_KVERSION_USAGE|MK_PATCH_NOT_FOUND",
    ),
    _Rule(
        "minikube-image-pull",
        "an image or a program could not be fetched",
        "look at the way to its server (proxy, mirror, CA), or bring it in a bundle",
        name=r"INET_\w+|GUEST_IMAGE_PULL",
        text=r"failed to pull|error pulling image|manifest unknown|Unable to (?:find|pull) image",
    ),
    _Rule(
        "minikube-profile-unknown",
        "there is no such profile",
        "`gpuctl minikube up --profile {profile}` makes it",
        name=r"MK_USAGE_NO_PROFILE",
        text=r'Profile "[^"]+" not found',
    ),
    _Rule(
        "minikube-profile-broken",
        "only a part of the profile is there",
        "`gpuctl minikube down --profile {profile}` takes the rest away",
        name=r"GUEST_NOT_FOUND|GUEST_DOES_NOT_EXIST|GUEST_CONFIG_CORRUPT",
    ),
    _Rule(
        "minikube-usage",
        "minikube does not take its options",
        "correct them",
        name=r"MK_USAGE",
        text=r"unknown (?:shorthand )?flag",
    ),
)


def problem_of(rc: int, events: Sequence[Event], said: str, host: str, profile: str) -> Problem:
    """What a call of minikube for a profile that ended with `rc` failed of; `said` is what else it printed."""
    failure = _fatal(rc, events)
    warned = [event.message for event in events if isinstance(event, Remark) and event.warning]
    details = _details(failure, warned, said)
    if rule := _rule(failure.name, failure.message) or _rule("", "\n".join([*warned, said])):
        words = f"{rule.words} (minikube: {_cause(failure.message) or f'exit status {rc}'})"
        return Problem(rule.code, words, rule.fix.format(profile=profile), host, details=details)
    if rc == _NO_PROGRAM and not events:
        words, fix = "minikube is not there, or does not run", f"run `gpuctl minikube up --profile {profile}`"
        return Problem("minikube-missing", words, fix, host, details=details)
    family = FAMILIES.get(rc // 10, "")
    where = f", which is about {family}" if family else ""
    words = f"minikube ended with status {rc}{where}: {_cause(failure.message or said) or 'it said nothing'}"
    fix = _first_line(failure.advice) or f"look at what it said, below, and at `minikube logs -p {profile}`"
    return Problem("minikube-failed", words, fix, host, details=details)


def toolkit_problem(said: str, host: str, profile: str) -> Problem | None:
    """What Docker says of a container that it should give GPUs, where the container toolkit is to blame for it."""
    of_gpus = {_TOOLKIT, *(each.code for each in WORDS)}
    found = next((rule for rule in _RULES if rule.code in of_gpus and re.search(rule.text, said)), None)
    if found is None or (_OF_AN_IMAGE.search(said) and docker_words(said) is None):
        return None
    words = f"{found.words} (Docker: {_cause(said)})"
    return Problem(found.code, words, found.fix.format(profile=profile), host, details=said)


def _fatal(rc: int, events: Sequence[Event]) -> Failure:
    """The error that ended it: the one with its exit status, else the last that has none.

    With --force it prints those that it passes over, which have other statuses; and after an error that it does not
    know it prints, as one more error, a box that asks for a report.
    """
    failures = [event for event in reversed(events) if isinstance(event, Failure)]
    of_status = (failure for failure in failures if failure.name and failure.exit_code == rc)
    others = (failure for failure in failures if not failure.name and not failure.message.startswith(_BOX))
    return next(of_status, None) or next(others, Failure(""))


def _rule(name: str, text: str) -> _Rule | None:
    return next((rule for rule in _RULES if re.fullmatch(rule.name, name) or re.search(rule.text, text)), None)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:300]


def _cause(text: str) -> str:
    """The line that tells most: Docker's own words, where minikube says before them how it had called it."""
    found = re.search(r"Error response from daemon: (.+)", text)
    return _end_of(found[1].strip()) if found else _first_line(text)


def _end_of(words: str) -> str:
    """Docker says the cause last."""
    return words if len(words) <= _CAUSE_LENGTH else f"… {words[-_CAUSE_LENGTH:].partition(' ')[2]}"


def _details(failure: Failure, warned: Sequence[str], said: str) -> str:
    parts = [failure.message, failure.advice and f"minikube's advice: {failure.advice}", *warned, said]
    return "\n".join(part.strip() for part in parts if part and part.strip())[-_REPORT_LENGTH:]
