"""What API servers say when they take no pod, word for word, and what it comes to."""

from __future__ import annotations

import pytest

from bootstrap.errors import Problem
from bootstrap.verify.layers import of_subjects
from bootstrap.verify.refusals import refusal

POD = 'pods "compute-gpu1-8" is forbidden: '
WEBHOOK = (
    'Internal error occurred: failed calling webhook "pods.example.org": failed to call webhook: Post '
    '"https://policy.default.svc:443/pods?timeout=10s": service "policy" not found'
)
SAID = {
    "webhook-blocks-pods": (
        500,
        WEBHOOK,
        "validatingwebhookconfigurations",
    ),
    "policy-denies": (
        422,
        "ValidatingAdmissionPolicy 'no-pods' with binding 'no-pods-all' denied request: no pods here",
        "validatingadmissionpolicybinding no-pods-all",
    ),
    "runtimeclass-missing": (403, POD + 'pod rejected: RuntimeClass "nvidia" not found', "gpuctl bootstrap"),
    "api-forbidden": (
        403,
        POD + 'User "ann" cannot create resource "pods" in API group "" in the namespace "x"',
        "create pods",
    ),
    "api-unreachable": (0, "the API server does not answer: timed out", "control plane"),
    "pod-refused": (403, POD + "something that nobody has heard of", "API server"),
}


@pytest.mark.parametrize("code", SAID)
def test_each_refusal_has_its_own_code_and_remedy(code: str) -> None:
    status, message, fix = SAID[code]
    found = refusal(status, message)
    assert (found.code, fix in found.fix) == (code, True)
    assert "compute-gpu1-8" not in found.error  # the pod's name says nothing of the cause


@pytest.mark.parametrize(
    ("message", "fix"),
    [
        ('admission webhook "deny.example.org" denied the request: not on Fridays', "deny.example.org"),
        (POD + "exceeded quota: gpus, requested: requests.nvidia.com/gpu=8, used: 0, limited: 4", "raise quota gpus"),
    ],
)
def test_webhooks_and_quotas_that_deny_are_policies(message: str, fix: str) -> None:
    found = refusal(403, message)
    assert (found.code, fix in found.fix) == ("policy-denies", True)


def test_one_cause_of_the_cluster_is_one_problem_and_accuses_no_host() -> None:
    words = refusal(*SAID["policy-denies"][:2]).error
    of_both = [Problem("policy-denies", words, "f", host) for host in ("gpu1", "gpu2")]
    own = Problem("gpu-missing", "7 of 8", "f", "gpu2")
    assert of_subjects([*of_both, own], frozenset({words})) == (Problem("policy-denies", words, "f"), own)
