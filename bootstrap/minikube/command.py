"""The command line and the environment that minikube is called with. Pure."""

from __future__ import annotations

from bootstrap.minikube.options import Bundle, ProfileOptions

MINIKUBE = "/usr/local/bin/minikube"


def start_command(options: ProfileOptions, bundle: Bundle, *, root: bool) -> list[str]:
    """`minikube start` for a profile, options and bundle joined.

    - The driver and the runtime are always named: minikube's defaults change between releases, and GPUs need both.
    - `--output=json` is how progress and errors are read; `--wait=all` because a start that is over is not yet usable.
    - `--force` as root, whom minikube refuses for the sake of desktops, and with a bundle, whose Kubernetes may be
      newer than those that this minikube knows: it would look for their list on the internet.
    - `--preload=false` with a bundle: it has the files and images one by one.
    """
    argv = [MINIKUBE, "start", f"--profile={options.profile}", "--driver=docker", "--output=json", "--wait=all"]
    argv += [f"--container-runtime={options.container_runtime}"]
    argv += [f"--gpus={options.gpus}"] if options.wants_gpus else []
    values = {
        "kubernetes-version": options.kubernetes_version,
        "cpus": options.cpus,
        "memory": options.memory,
        "disk-size": options.disk_size,
        "base-image": options.base_image,
        "cni": options.cni,
    }
    argv += [f"--{name}={value}" for name, value in values.items() if value]
    argv += [f"--extra-config={item}" for item in options.extra_config]
    argv += [f"--addons={name}" for name in options.addons]
    argv += ["--preload=false"] if bundle.path else []
    argv += ["--force"] if root or bundle.path or options.force else []
    return argv


def start_environment(bundle: Bundle) -> dict[str, str]:
    """Where the bundle has an addon's image under another name than the addon asks for, which is by digest."""
    images = ",".join(f"{name}={ref}" for name, ref in sorted(bundle.addon_images.items()))
    return {"MINIKUBE_ADDON_IMAGES": images} if images else {}
