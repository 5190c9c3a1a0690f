"""What a profile is to be in the end, of what was asked and what is there, and whether it is so. Pure."""

from __future__ import annotations

from dataclasses import replace

from bootstrap.minikube.look import Seen
from bootstrap.minikube.options import AUTO, ProfileOptions, with_bundle, with_defaults
from bootstrap.minikube.state import Phase, made_with, parts_of, phase_of


def settled(given: ProfileOptions, seen: Seen, on_host: int) -> tuple[ProfileOptions, list[str]]:
    """The options with all that nobody gave: as the profile has it, else the bundle's values and the machine's GPUs.

    And what to say of it. `on_host` counts the machine's GPUs.
    """
    if seen.config is None:
        found = with_defaults(with_bundle(given, seen.bundle), gpus=on_host > 0)
        none = given.gpus == AUTO and not on_host
        return found, ["there is no NVIDIA GPU on the PCI bus: the node gets none"] if none else []
    notes = []
    before = made_with(seen, given.profile)
    if given.gpus == AUTO and before.gpus == "none" and on_host:
        words = f"the profile was made without GPUs, and the machine has {on_host}"
        again = " and ".join(f"`gpuctl minikube {verb} --profile {given.profile}`" for verb in ("down", "up"))
        notes.append(f"{words}: {again} give it them")
    found = replace(
        given,
        gpus=given.gpus or before.gpus,
        container_runtime=given.container_runtime or before.container_runtime,
        kubernetes_version=given.kubernetes_version or before.kubernetes_version,
        base_image=given.base_image or before.base_image,
        cni=given.cni or before.cni,
        # A start replaces them as a whole by those that it is given.
        extra_config=tuple(dict.fromkeys((*before.extra_config, *given.extra_config))),
    )
    return found, notes


def takes_no_start(seen: Seen) -> bool:
    """Whether a profile runs as far as a look can tell, or may in a moment: a start would end all its pods.

    A busy machine may not answer for its API at once. A kubelet that is down stays so without a start.
    """
    phase = phase_of(seen)
    return phase is Phase.RUNNING or (phase is Phase.IMPAIRED and parts_of(seen).get("Kubelet", "Running") == "Running")
