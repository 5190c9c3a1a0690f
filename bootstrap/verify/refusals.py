"""Why the API server took no check pod: its words as a code, a sentence and a remedy. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What stands before the reason in the words of an API server: the object's name, which differs from pod to pod.
_SUBJECT = re.compile(r'^(?:[a-z.]+ "[^"]*" is forbidden: )+(?:pod rejected: )?')
_WEBHOOK_FAILS = re.compile(r'failed calling webhook "([^"]+)"')
_WEBHOOK_DENIES = re.compile(r'admission webhook "([^"]+)" denied the request')
_POLICY_DENIES = re.compile(r"ValidatingAdmissionPolicy '([^']+)' with binding '([^']+)' denied request")
_QUOTA = re.compile(r"exceeded quota: ([^,]+),")
_NO_RUNTIME_CLASS = re.compile(r'RuntimeClass(?:\.node\.k8s\.io)? "([^"]+)" not found')
_NO_RIGHT = re.compile(r'User "[^"]*" cannot (\S+) resource "([^"]+)"')
_LABEL = "app.kubernetes.io/name=gpuctl-verify"
_WEBHOOKS = "validatingwebhookconfigurations,mutatingwebhookconfigurations"


@dataclass(frozen=True, slots=True)
class Refusal:
    """`of_cluster`: the cause is the cluster's, so that pods of every node meet it."""

    code: str
    error: str
    fix: str
    of_cluster: bool = True


def refusal(status: int, message: str, mended_by: str = "gpuctl bootstrap") -> Refusal:
    """What a refused request (HTTP status, 0 for no answer; the API server's words) comes to.

    `mended_by` is the command that makes again what gpuctl put into the cluster.
    """
    words = _SUBJECT.sub("", message)
    if status == 0:
        return Refusal("api-unreachable", words, "look at the control plane, then run again")
    if found := _WEBHOOK_FAILS.search(words):
        fix = f"start what serves it, or delete its configuration: `kubectl get {_WEBHOOKS}` lists them"
        return Refusal("webhook-blocks-pods", _of_webhook(words, found), fix)
    if found := _POLICY_DENIES.search(words):
        fix = (
            f"leave namespaces with the label {_LABEL} out of it: "
            f"`kubectl edit validatingadmissionpolicybinding {found[2]}`"
        )
        return Refusal("policy-denies", words, fix)
    if found := _WEBHOOK_DENIES.search(words):
        fix = (
            f"leave namespaces with the label {_LABEL} out of webhook {found[1]}: `kubectl get {_WEBHOOKS}` lists them"
        )
        return Refusal("policy-denies", words, fix)
    if found := _NO_RUNTIME_CLASS.search(words):
        return Refusal("runtimeclass-missing", f"the cluster has no RuntimeClass {found[1]}", f"run `{mended_by}`")
    return _of_rights(words)


def _of_webhook(words: str, found: re.Match[str]) -> str:
    """From the webhook's name on; an API server has a preface before it."""
    return "the API server takes no pod: " + words[found.start() :]


def _of_rights(words: str) -> Refusal:
    if found := _QUOTA.search(words):
        fix = f"raise quota {found[1]}, or leave namespaces with the label {_LABEL} out of what makes it"
        return Refusal("policy-denies", words, fix, of_cluster=False)
    if found := _NO_RIGHT.search(words):
        return Refusal("api-forbidden", words, f"use a kubeconfig whose user may {found[1]} {found[2]}")
    if "being terminated" in words:
        return Refusal("pod-refused", words, "somebody deleted the namespace of this run: run again", of_cluster=False)
    return Refusal("pod-refused", words, "do what the API server says, then run again", of_cluster=False)
