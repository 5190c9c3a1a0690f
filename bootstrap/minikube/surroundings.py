"""Where the user's own variables lead minikube and kubectl, while gpuctl works at the usual places.

Only of this machine: what a login on another one sets is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bootstrap.probe.local import LocalSession
from bootstrap.probe.session import Session


def other_home(session: Session, home: str, environ: Mapping[str, str] = os.environ) -> str:
    """The folder in which minikube by hand has its profiles, on this machine; empty where that is the usual one."""
    given = environ.get("MINIKUBE_HOME", "")
    if not given or not isinstance(session, LocalSession):
        return ""
    folder = Path(given) if Path(given).name == ".minikube" else Path(given) / ".minikube"
    return "" if folder == Path(home) / ".minikube" else str(folder)


def home_note(folder: str, profile: str) -> str:
    """What to say of a profile that minikube by hand looks for in that folder."""
    command = f"`env -u MINIKUBE_HOME minikube -p {profile}`"
    return f"MINIKUBE_HOME leads minikube to {folder}, and the profile is in ~/.minikube: by hand use {command}"


def unread(path: str, environ: Mapping[str, str] = os.environ) -> str:
    """A kubeconfig here that kubectl and gpuctl do not read by themselves, as the environment is; else empty."""
    usual = Path(environ.get("HOME") or "~").expanduser() / ".kube" / "config"
    files = [Path(part).expanduser() for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part] or [usual]
    return "" if not path or os.path.realpath(path) in map(os.path.realpath, files) else path
