"""Unpack a bundle: plain files and folders out of a tar, and nothing that could leave its folder.

Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tarfile
from typing import Any, Dict, List

from .gpuctl_hostio import HostError, read_text

INDEX = "bundle.json"
MARKER = ".sha256"  # the sum of the tar that the folder was unpacked from; written last
_FIX = "make the bundle anew, of plain files and folders only"


def unpacked_sum(folder: str) -> str:
    """The sum of the tar that lies unpacked in the folder; empty when none does, or only a part of one."""
    return read_text(os.path.join(folder, MARKER)).strip()


def unpack(tar_path: str, folder: str, sha256: str) -> None:
    """Unpack beside the folder, then put it in the folder's place.

    HostError minikube-bundle-invalid, disk-low.
    """
    partial = folder + ".new"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _extract(tar_path, partial)
        check_index(partial)
        with open(os.path.join(partial, MARKER), "w", encoding="ascii") as stream:
            stream.write(sha256 + "\n")
        os.sync()  # a marker that survives a power cut must not be alone
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _extract(tar_path: str, folder: str) -> None:
    os.makedirs(folder, mode=0o755)
    try:
        with tarfile.open(tar_path, "r:*") as tar:
            for member in tar:
                _extract_one(tar, member, folder)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise HostError(
            "minikube-bundle-invalid", f"the bundle is no tar file that can be read: {error}", _FIX
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise HostError("disk-low", f"{folder} has no space left", "enlarge the disk") from error
        raise HostError("minikube-bundle-invalid", f"the bundle cannot be unpacked: {error}", _FIX) from error


def parts_of(name: str) -> List[str]:
    """The folders and the file that a member's name stands for; HostError when it leads out of the bundle."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name or parts[:1] == [MARKER]:
        raise HostError("minikube-bundle-invalid", f"the bundle holds {name!r}, which leads out of it", _FIX)
    return parts


def _extract_one(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: str) -> None:
    if not (member.isdir() or member.isreg()):
        what = "a link" if member.issym() or member.islnk() else "no plain file"
        raise HostError("minikube-bundle-invalid", f"{member.name!r} in the bundle is {what}", _FIX)
    place = os.path.join(folder, *parts_of(member.name))
    if member.isdir():
        _folder(place)
        return
    _folder(os.path.dirname(place))
    source = tar.extractfile(member)
    if source is None:
        raise HostError("minikube-bundle-invalid", f"{member.name!r} in the bundle holds nothing", _FIX)
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
        os.fchmod(out.fileno(), 0o755 if member.mode & 0o111 else 0o644)


def _folder(path: str) -> None:
    os.makedirs(path, mode=0o755, exist_ok=True)
    os.chmod(path, 0o755)  # noqa: S103 - users read it


def check_index(folder: str) -> None:
    """HostError minikube-bundle-invalid unless bundle.json is there and says what it may."""
    text = read_text(os.path.join(folder, INDEX))
    try:
        index: Dict[str, Any] = json.loads(text)
    except ValueError as error:
        why = f"cannot be read: {error}" if text else "is missing"
        raise HostError("minikube-bundle-invalid", f"{INDEX} in the bundle {why}", _FIX) from error
    texts = [index.get(name, "") for name in ("base_image", "kubernetes_version", "cni")] if _object(index) else []
    images = index.get("addon_images", {}) if _object(index) else None
    if not texts or not all(isinstance(text, str) for text in texts) or not _object(images):
        words = "base_image, kubernetes_version and cni are texts, addon_images is an object"
        raise HostError("minikube-bundle-invalid", f"{INDEX} in the bundle is not as it has to be: {words}", _FIX)


def _object(value: Any) -> bool:
    return isinstance(value, dict)
