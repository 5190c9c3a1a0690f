"""Wait until the node is Ready and offers its GPUs. That minikube ended well says nothing of the latter."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from bootstrap.errors import GpuctlError, Problem
from bootstrap.hostside.gpuctl_facts_cluster import gpu_pods
from bootstrap.minikube.look import DOCKER, Seen
from bootstrap.probe.session import Session

PULLING_S = 60.0  # the kubelet has tried three times by then
_PAUSE_S = 1.0
_SELECTOR = "name=nvidia-device-plugin-ds"
_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})


def wait_for_gpus(
    session: Session,
    profile: str,
    host: str,
    expected: int,
    look: Callable[[], Seen],
    said: Callable[[str], None],
    *,
    deadline_s: float,
) -> tuple[Seen, Problem | None]:
    """The node as it was seen last, and what is wrong if it offers fewer than `expected` GPUs after that time."""
    said = _once(said)
    end = time.monotonic() + deadline_s
    pulled = time.monotonic()  # when the plugin was last seen not to wait for its image
    while True:
        try:
            seen = look()
        except GpuctlError as error:  # on a busy machine one look may take too long
            if time.monotonic() >= end:
                raise
            said(error.problems[0].message)
            time.sleep(_PAUSE_S)
            continue
        gpus = seen.node.gpus if seen.node else 0
        if seen.node and seen.node.ready and gpus >= expected:
            return seen, None
        late = time.monotonic() >= end
        if not (seen.node and seen.node.ready):
            said("the node is not Ready" if seen.node else "the node's API does not answer")
            if late:
                return seen, _not_ready(seen, profile, host, deadline_s)
        elif gpus >= seen.pci_gpus:
            return seen, _lost(gpus, expected, host)
        else:
            plugin = _plugin(session, profile, seen)
            said(f"{gpus} of {expected} GPUs allocatable; device plugin: {plugin}")
            pulled = pulled if _pulling(plugin) else time.monotonic()
            if late or time.monotonic() - pulled > PULLING_S:
                return seen, _short(gpus, expected, plugin, profile, host, deadline_s)
        time.sleep(_PAUSE_S)


def _once(said: Callable[[str], None]) -> Callable[[str], None]:
    """As `said`, and silent while the words stay the same."""
    last = ""

    def say(words: str) -> None:
        nonlocal last
        if words != last:
            last = words
            said(words)

    return say


def _not_ready(seen: Seen, profile: str, host: str, waited_s: float) -> Problem:
    what = f"node {seen.node.name} is not Ready" if seen.node else "the API of the node does not answer"
    fix = f"`minikube logs -p {profile}` and, in the node, `journalctl -u kubelet` say why"
    return Problem("node-not-ready", f"{what} after {waited_s:.0f} s", fix, host)


def _lost(gpus: int, expected: int, host: str) -> Problem:
    """All that are on the bus are offered: no waiting and no start brings the others."""
    fix = "look at the kernel log for Xid messages, reseat the card or power-cycle the host"
    return Problem("gpu-missing", f"{gpus} of {expected} GPUs are on the bus", fix, host)


def _short(gpus: int, expected: int, plugin: str, profile: str, host: str, waited_s: float) -> Problem:
    if _pulling(plugin):
        words = f"the device plugin's image cannot be pulled ({plugin}); minikube names it by its digest"
        fix = "reach its registry, or bring the image in a bundle with addon_images in bundle.json"
        return Problem("minikube-addon-image", words, fix, host)
    words = f"{gpus} of {expected} GPUs are allocatable after {waited_s:.0f} s; device plugin: {plugin}"
    logs = f"`minikube -p {profile} kubectl -- logs -n kube-system -l {_SELECTOR}`"
    fix = f"`gpuctl verify-gpus --profile {profile}` names the first broken layer; {logs} has the plugin's own words"
    return Problem("minikube-gpus-missing", words, fix, host)


def _pulling(plugin: str) -> bool:
    return plugin.split(":")[0] in _PULLING


def _plugin(session: Session, profile: str, seen: Seen) -> str:
    """The device plugin's pod in a word: its phase, or why it waits."""
    argv = [*kubectl(seen, profile), "get", "pods", "-n", "kube-system", "-l", _SELECTOR, "-o", "json"]
    done = session.run(argv, timeout_s=30.0)
    try:
        pods: list[Mapping[str, Any]] = json.loads(done.out)["items"] if done.rc == 0 else []
    except (ValueError, KeyError):
        pods = []
    if not pods:
        return "no pod yet"
    status = pods[0].get("status") or {}
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting")
        if waiting:
            return f"{waiting.get('reason')}: {waiting.get('message', '')}".rstrip(": ")[:300]
    return str(status.get("phase") or "Unknown")


def holders(session: Session, profile: str, seen: Seen) -> str:
    """The running pods that have GPUs, as "2 pods"; empty without any, "perhaps pods" where the API does not say."""
    argv = [*kubectl(seen, profile), "get", "pods", "-A", "--field-selector=status.phase=Running", "-o", "json"]
    done = session.run(argv, timeout_s=30.0)
    try:
        count = sum(gpu_pods(json.loads(done.out)["items"]).values())
    except (ValueError, KeyError):
        return "perhaps pods"
    return f"{count} pod{'s' * (count > 1)}" if count else ""


def kubectl(seen: Seen, profile: str) -> list[str]:
    """Kubectl as the node itself has it: neither the host nor its user needs one."""
    version = str(((seen.config or {}).get("KubernetesConfig") or {}).get("KubernetesVersion") or "")
    program = f"/var/lib/minikube/binaries/{version}/kubectl"
    return [*DOCKER, "exec", profile, program, "--kubeconfig=/var/lib/minikube/kubeconfig", "--request-timeout=10s"]
