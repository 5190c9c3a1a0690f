"""Images by digest: `name:tag` becomes `name:tag@sha256:…` where a digest is known for that name and tag.

A digest comes from `cluster_image_digests`, which may also take one away, else from what gpuctl ships (versions.yml).
What runs stays as it is: an image that was installed by its tag gets a shipped digest only with another tag.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootstrap.hostside.gpuctl_receipts import known_arguments
from bootstrap.inventory.model import Host
from bootstrap.inventory.schema import Component, components
from bootstrap.plan.cluster_view import ClusterView, recorded_argument
from bootstrap.probe.facts import HostFacts
from bootstrap.versions import versions

GIVEN, SHIPPED = "cluster_image_digests", "cluster_known_digests"
PREFETCHED = "containerd_prefetch_images"
# Its three images have one setting for all of them, so their digests are an argument of their own.
VOLCANO, VOLCANO_DIGESTS = "volcano", "volcano_image_digests"
VOLCANO_PROGRAMS = ("vc-webhook-manager", "vc-controller-manager", "vc-scheduler")


def pinned_images(
    host: Host, values: Mapping[str, Any], facts: Mapping[str, HostFacts], view: ClusterView
) -> dict[str, Any]:
    """The arguments that name images, with their digests. A minikube has its images from a bundle, by their tags."""
    if host.is_minikube:
        return {}
    found: dict[str, Any] = {}
    for component in components():
        for variable in component.images:
            image = str(values[variable])
            installed = _installed(component, variable, image, facts, view)
            if digest := digest_of(image, values, installed):
                found[variable] = f"{image}@{digest}"
    found[VOLCANO_DIGESTS] = _volcano(values, view)
    return found


def shipped_images() -> dict[str, str]:
    """Every image that gpuctl's own manifests name, as the defaults have it, and its shipped digest; empty: none."""
    from jinja2 import Environment

    defaults = {variable.name: variable.default for component in components() for variable in component.variables}
    plain = Environment(autoescape=False)  # noqa: S701 - no HTML
    made = [plain.from_string(str(defaults[name])).render(defaults) for role in components() for name in role.images]
    made += [
        f"{defaults['volcano_image_repository']}/{program}:v{defaults['volcano_version']}"
        for program in VOLCANO_PROGRAMS
    ]
    return {image: versions().digests.get(full_name(image), "") for image in made}


def digest_of(image: str, values: Mapping[str, Any], installed: str | None) -> str:
    """The digest to add to an image; empty for none. `installed`: how that image is there already, None if it is not.

    The inventory's word comes first: a digest, or an empty text against a shipped one.
    """
    if "@" in image:
        return ""
    name = full_name(image)
    given = {full_name(key): str(value) for key, value in values[GIVEN].items()}
    if name in given:
        return given[name]
    if not values[SHIPPED] or installed == image:
        return ""
    return versions().digests.get(name, "")


def full_name(image: str) -> str:
    """An image's name with its registry, as containerd completes it: docker.io for one without."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"docker.io/{image}" if slash else f"docker.io/library/{image}"


def by_digest_alone(image: str) -> str:
    """The name under which the kubelet looks for an image: with a digest, without the tag."""
    name, at, digest = image.partition("@")
    if not at:
        return image
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}@{digest}"


def _installed(
    component: Component, variable: str, image: str, facts: Mapping[str, HostFacts], view: ClusterView
) -> str | None:
    """How the image is in the cluster. While no API answers it is taken as the hosts fetched it."""
    if view.kube is not None:
        entry = known_arguments(view.kube.receipts.get(component.name, {})).get(variable) or {}
        return entry.get("value")
    if not view.exists:
        return None
    fetched = {
        str(name) for found in facts.values() for name in recorded_argument(found, "containerd", PREFETCHED) or ()
    }
    return next((name for name in fetched if name.startswith(by_digest_alone(f"{image}@"))), image)


def _volcano(values: Mapping[str, Any], view: ClusterView) -> dict[str, str]:
    known = known_arguments((view.kube.receipts if view.kube else {}).get(VOLCANO, {}))
    before = (known.get(VOLCANO_DIGESTS) or {}).get("value") or {}
    found = {}
    for program in VOLCANO_PROGRAMS:
        image = f"{values['volcano_image_repository']}/{program}:v{values['volcano_version']}"
        same = (known.get("volcano_version") or {}).get("value") == values["volcano_version"]
        installed = image if same and program not in before else None
        if digest := digest_of(image, values, installed):
            found[program] = f"@{digest}"
    return found
