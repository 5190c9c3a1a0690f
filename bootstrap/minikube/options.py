"""What a profile is to be: the options of `gpuctl minikube up` and the bundle's defaults, checked beforehand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_strictjson import parse_object

DOCKER = "docker"
RUNTIMES = (DOCKER, "containerd")
AUTO = ""  # all GPUs where there are any; the runtime that a profile has, Docker for a new one
GPUS = ("all", "nvidia.com", "none")
DEFAULT_PROFILE = "gpuctl"
# minikube's own rules (pkg/minikube/config/profile.go): the name is a container's and a host's, and none of its words.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_PROFILE = re.compile(rf"(?=..){_LABEL}(?:\.{_LABEL})*")
_RESERVED = frozenset(
    {"start", "stop", "status", "delete", "config", "open", "profile", "addons", "cache", "logs"}
)  # fmt: skip
_VERSION = re.compile(r"v?(\d+\.\d+\.\d+)(?:-[0-9A-Za-z.-]+)?")
# As its parser of sizes has them: 4g, 4GiB, 1.5g, 4096 (MB).
AMOUNT = re.compile(r"(\d+(?:\.\d+)?) ?(?:(b)|([kmgtp])(?:i?b)?)?", re.IGNORECASE)
_WORDS = frozenset({"max", "no-limit"})
_EXTRA = re.compile(r"[a-z-]+\.[A-Za-z0-9.-]+=.+")


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a site without internet access brings: see the role minikube. Empty `path`: there is none."""

    path: str = ""
    base_image: str = ""
    kubernetes_version: str = ""
    cni: str = ""
    addon_images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """Empty means minikube's own default, or the bundle's; `memory` and `disk_size` as minikube takes them (8g).

    `gpus` is one of GPUS or AUTO, `container_runtime` one of RUNTIMES or AUTO.
    """

    profile: str = DEFAULT_PROFILE
    gpus: str = AUTO
    kubernetes_version: str = ""
    container_runtime: str = AUTO
    cpus: str = ""
    memory: str = ""
    disk_size: str = ""
    base_image: str = ""
    cni: str = ""
    extra_config: tuple[str, ...] = ()
    addons: tuple[str, ...] = ()
    force: bool = False

    @property
    def wants_gpus(self) -> bool:
        """Whether the node is to have the machine's GPUs, if there are any."""
        return self.gpus != "none"


def check_options(options: ProfileOptions) -> None:
    """Refuse what minikube would refuse later, or not at all.

    Raises:
        GpuctlError: exit 2, all problems at once; minikube was not called.
    """
    if problems := tuple(_problems(options)):
        raise GpuctlError(ExitCode.USAGE, *problems)


def with_defaults(options: ProfileOptions, *, gpus: bool) -> ProfileOptions:
    """The options of a new profile: all GPUs where there are any, and Docker, where nothing was said of them."""
    return replace(
        options,
        gpus=options.gpus or ("all" if gpus else "none"),
        container_runtime=options.container_runtime or DOCKER,
    )


def with_bundle(options: ProfileOptions, bundle: Bundle) -> ProfileOptions:
    """The options, with the bundle's values where none was given."""
    return replace(
        options,
        kubernetes_version=options.kubernetes_version or bundle.kubernetes_version,
        base_image=options.base_image or bundle.base_image,
        cni=options.cni or bundle.cni,
    )


def parse_bundle(path: str, text: str) -> Bundle:
    """The bundle at a path from its bundle.json.

    Raises:
        GpuctlError: it is no such file (exit 3).
    """
    try:
        found = parse_object(text)
        images = {str(name): str(ref) for name, ref in (found.get("addon_images") or {}).items()}
        image, version, cni = (str(found.get(name) or "") for name in ("base_image", "kubernetes_version", "cni"))
        return Bundle(path, image, version, cni, images)
    except (ValueError, AttributeError) as error:
        problem = Problem("minikube-bundle-invalid", f"{path}/bundle.json: {error}", "make the bundle anew")
        raise GpuctlError(ExitCode.SETTINGS, problem) from error


def _problems(options: ProfileOptions) -> Iterator[Problem]:
    if not _PROFILE.fullmatch(options.profile):
        words = (
            f"--profile {options.profile!r}: a name has two characters or more of A-Z a-z 0-9 - and dots, "
            "with a letter or a digit at both ends"
        )
        yield Problem("usage", words, "give another name")
    elif options.profile.lower() in _RESERVED:
        yield Problem("usage", f"--profile {options.profile!r} is a word of minikube's own", "give another name")
    if options.gpus not in {*GPUS, AUTO}:
        yield Problem("usage", f"--gpus {options.gpus!r} is none of {', '.join(GPUS)}", "give one of them")
    if options.container_runtime not in {*RUNTIMES, AUTO}:
        words = f"--container-runtime {options.container_runtime!r} is none of {', '.join(RUNTIMES)}"
        yield Problem("usage", words, "give one of them")
    elif options.wants_gpus and options.container_runtime not in {DOCKER, AUTO}:
        words = f"minikube gives GPUs to nodes of the docker runtime only, not of {options.container_runtime}"
        yield Problem("minikube-gpus-runtime", words, "leave --container-runtime out, or give --gpus none")
    yield from _malformed(options)


def _malformed(options: ProfileOptions) -> Iterator[Problem]:
    """Values that are not of their option's form."""
    if options.kubernetes_version and not _VERSION.fullmatch(options.kubernetes_version):
        words = f"--kubernetes-version {options.kubernetes_version!r} is no version"
        yield Problem("usage", words, "give one such as v1.35.1")
    if options.cpus and not (re.fullmatch(r"[1-9][0-9]*", options.cpus) or options.cpus in _WORDS):
        yield Problem("usage", f"--cpus {options.cpus!r} is no number", "give a number, max or no-limit")
    for name, value, words_too in (("--memory", options.memory, _WORDS), ("--disk-size", options.disk_size, ())):
        if value and not AMOUNT.fullmatch(value) and value not in words_too:
            yield Problem("usage", f"{name} {value!r} is no amount", "give one such as 8g or 4096m")
    for item in options.extra_config:
        if not _EXTRA.fullmatch(item):
            words = f"--extra-config {item!r} is not COMPONENT.KEY=VALUE"
            yield Problem("usage", words, "give one such as kubelet.max-pods=200")
