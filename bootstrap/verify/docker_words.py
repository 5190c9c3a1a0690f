"""What Docker and NVIDIA's container tools say when a container does not get its GPUs: each with its remedy. Pure.

The words are those that public reports quote of libnvidia-container, the NVIDIA container toolkit and Docker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DockerWords:
    """A failure that is told by its words; `fix` is for the host that Docker runs on."""

    code: str
    words: str
    fix: str
    text: str


# The first that matches: an old driver and one that is not loaded both end in the same "nvml error".
WORDS = (
    DockerWords(
        "docker-driver-mismatch",
        "the loaded NVIDIA module and the driver's libraries are of different releases",
        "reboot the host: the libraries were upgraded under the running module",
        r"(?i)driver/library version mismatch|LIB_RM_VERSION_MISMATCH",
    ),
    DockerWords(
        "docker-driver-not-loaded",
        "the NVIDIA driver is not loaded",
        "run there: sudo modprobe nvidia; where there is no such module, install the driver with `gpuctl bootstrap`",
        r"(?i)driver not loaded|nvidia kernel driver module not loaded|couldn't communicate with the nvidia driver",
    ),
    DockerWords(
        "docker-driver-missing",
        "the NVIDIA driver's libraries are not there",
        "install the driver with `gpuctl bootstrap`, which takes the libraries with it",
        r"(?i)libnvidia-ml\.so[.0-9]*: cannot open|load library failed|ERROR_LIBRARY_NOT_FOUND|nvml library not found",
    ),
    DockerWords(
        "docker-driver-old",
        "the image needs a newer CUDA than the NVIDIA driver has",
        "set nvidia_driver_branch to a newer one, or take an image of an older CUDA",
        r"(?i)unsatisfied condition: *(?:cuda|driver|brand)|please update your driver",
    ),
    DockerWords(
        "docker-gpu-rules",
        "the NVIDIA container tools cannot allow the GPUs in the container's cgroup",
        "run there: sudo apt-get install --only-upgrade libnvidia-container1 nvidia-container-toolkit; restart Docker",
        r"(?i)failed to add device rules|bpf_prog_query|failed to get device cgroup|nvidia-container-cli: .*cgroup",
    ),
    DockerWords(
        "docker-driver-silent",
        "the NVIDIA driver does not answer in time",
        "run there: sudo systemctl enable --now nvidia-persistenced; `dmesg` shows a GPU that has failed (Xid)",
        r"(?i)(?:driver )?rpc error: *timed out",
    ),
    DockerWords(
        "docker-gpu-unknown",
        "a GPU that the container is to have is not there",
        "`nvidia-smi -L` there lists those that are; name one of them, or all",
        r"(?i)nvidia-container-cli: device error|unknown device",
    ),
    DockerWords(
        "docker-runtime-unknown",
        "Docker does not know the runtime nvidia",
        "run there: sudo nvidia-ctk runtime configure --runtime=docker; then sudo systemctl restart docker",
        r"(?i)unknown or invalid runtime name: nvidia|unknown runtime specified nvidia",
    ),
    DockerWords(
        "docker-cdi-nvml",
        "the NVIDIA runtime cannot ask the driver which GPUs there are",
        "`nvidia-smi` there says why; where it finds the GPUs, run: sudo systemctl restart nvidia-cdi-refresh docker",
        r"(?i)failed to initiali[sz]e NVML|error getting (?:driver|device).*nvml|failed to generate CDI spec",
    ),
    DockerWords(
        "docker-rate-limit",
        "the registry gives no more images for now: its limit of pulls is reached",
        "log in there with `docker login`, set a mirror, or wait for as long as it says",
        r"(?i)toomanyrequests|too many requests|pull rate limit",
    ),
)


def docker_words(said: str) -> DockerWords | None:
    """The failure that the words tell; None where they tell none of those."""
    return next((each for each in WORDS if re.search(each.text, said)), None)
