"""Objects as upstream publishes them: its files by their sums, and what we want different, put together by kustomize.

kubectl brings kustomize along, so a control plane has it. Standard library only, Python 3.8 and later: this code runs
on the hosts.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from typing import Any, Dict, List, Mapping

from .gpuctl_fetch import fetch
from .gpuctl_hostio import HostError, run
from .gpuctl_kube import ADMIN_CONF

OVERLAY = "kustomization.yaml"
_TIMEOUT_S = 120.0


def objects(url: str, files: Mapping[str, str], overlay: str, ca_path: str = "") -> List[Dict[str, Any]]:
    """The objects that the overlay makes of upstream's files (path below `url` → sha256).

    HostError: manifest-download-failed, manifest-checksum, manifest-invalid, disk-low.
    """
    folder = tempfile.mkdtemp(prefix="gpuctl-manifests-")
    try:
        for path, sha256 in sorted(files.items()):
            _fetch(f"{url.rstrip('/')}/{path}", sha256, folder, path, ca_path)
        with open(os.path.join(folder, OVERLAY), "w", encoding="utf-8") as handle:
            handle.write(overlay)
        return [_cleaned(item) for item in _built(folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fetch(url: str, sha256: str, folder: str, path: str, ca_path: str) -> None:
    place = os.path.normpath(os.path.join(folder, path))
    if not place.startswith(folder + os.sep):
        raise HostError("manifest-invalid", f"{path} leads out of its folder", "name files below the address")
    try:
        fetched = fetch(url, sha256, os.path.dirname(place), ca_path)
    except HostError as error:
        if error.code == "minikube-checksum":
            raise HostError("manifest-checksum", error.message, error.fix) from error
        if error.code == "minikube-download-failed":
            raise HostError("manifest-download-failed", error.message, error.fix) from error
        raise
    os.rename(fetched, place)


def _built(folder: str) -> List[Dict[str, Any]]:
    """What kustomize makes of the folder. kubectl turns YAML into JSON: Python has no parser for it."""
    made = os.path.join(folder, "made.yaml")
    built = run(["kubectl", "kustomize", folder, "-o", made], _TIMEOUT_S)
    if built.rc:
        raise HostError("manifest-invalid", f"kustomize: {built.tail(3)}", "see the log", built.tail())
    # It asks the API which kinds there are, and changes nothing.
    shown = run(
        [
            "kubectl",
            "--kubeconfig",
            ADMIN_CONF,
            "create",
            "--dry-run=client",
            "--validate=false",
            "-o=json",
            "-f",
            made,
        ],
        _TIMEOUT_S,
    )
    if shown.rc:
        raise HostError("manifest-invalid", f"kubectl: {shown.tail(3)}", "see the log", shown.tail())
    return parsed(shown.out)


def parsed(text: str) -> List[Dict[str, Any]]:
    """The objects of JSON documents that follow one another, those of lists singly. HostError manifest-invalid."""
    decoder, at, text = json.JSONDecoder(), 0, text.strip()
    found: List[Dict[str, Any]] = []
    while at < len(text):
        try:
            document, at = decoder.raw_decode(text, at)
        except ValueError as error:
            raise HostError("manifest-invalid", f"kubectl printed what is no JSON: {error}", "see the log") from error
        found += document["items"] if document.get("kind") == "List" else [document]
        while at < len(text) and text[at].isspace():
            at += 1
    return found


def _cleaned(item: Dict[str, Any]) -> Dict[str, Any]:
    """Without what is the server's to say."""
    item.pop("status", None)
    for at in (item, ((item.get("spec") or {}).get("template") or {})):
        if isinstance(at, dict) and isinstance(at.get("metadata"), dict):
            at["metadata"].pop("creationTimestamp", None)
    return item
