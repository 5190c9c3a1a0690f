"""Python environments of a component: built beside, switched to in one step, rebuilt only when something changed.

PATH is a link to PATH-DIGEST, where the digest is that of the locked list and of the Python: an environment cannot be
renamed, and a link can be replaced whole. Standard library only, Python 3.8 and later: this code runs on the hosts.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
from typing import Any, Dict, List, Mapping

from . import gpuctl_receipts as receipts
from . import gpuctl_venvbuild
from .gpuctl_deletion import delete_tree
from .gpuctl_hostio import HostError, missing_folders, read_text, run, write_atomic
from .gpuctl_unitrun import LOG_FOLDER, Ended, log_path, run_unit, start_unit, unit_state, wait_unit

PYTHON = "/usr/bin/python3"
MARKER = gpuctl_venvbuild.MARKER
# Within pip's "Retrying (…) after connection broken by 'NAME('<object>: what happened')': /path/"
_BROKEN = re.compile(r"after connection broken by '(.*)': /")


def unit_name(component: str) -> str:
    """The unit that builds the component's environment."""
    return "gpuctl-venv-" + component.replace("_", "-")


def wanted_digest(requirements: str, python: str) -> str:
    """sha256 over the locked list without its comments, and the Python's minor release."""
    lines = [line.rstrip() for line in requirements.splitlines() if not line.lstrip().startswith("#")]
    return hashlib.sha256("\0".join(["\n".join(lines), python]).encode()).hexdigest()


def python_version(python: str) -> str:
    """Such as "3.11". HostError python-packages-failed."""
    done = run([python, "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], 30)
    if done.rc != 0:
        raise HostError("python-packages-failed", f"{python} does not run: {done.tail(1)}", "install python3")
    return done.out.strip()


class Venv:
    """One environment: `path` is the link, `folder` what it shall lead to."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.path = str(given["path"])
        self.unit = unit_name(str(given["component"]))
        text = read_text(str(given["requirements"]))
        if not text:
            raise HostError("python-packages-failed", f"there is no {given['requirements']} on the host")
        self.digest = wanted_digest(text, python_version(PYTHON))
        self.folder = f"{self.path}-{self.digest[:16]}"

    @property
    def whole(self) -> bool:
        """Whether the environment has been built to its end."""
        return read_text(os.path.join(self.folder, MARKER)).strip() == self.digest

    @property
    def current(self) -> bool:
        """Whether the link leads to it, and it is whole."""
        return self.whole and os.path.islink(self.path) and os.readlink(self.path) == os.path.basename(self.folder)

    def begin(self) -> bool:
        """Start to build it, unless it is there or something is being built; whether anything was started.

        HostError disk-low.
        """
        if self.whole or unit_state(self.unit).running:
            return False
        self._prepare()
        return start_unit(self.unit, self._command())

    def finish(self) -> bool:
        """Build it, or wait for what builds it, and switch to it; whether anything changed. HostError."""
        if self.current:
            self._tidy()
            return False
        if not self.whole:
            ended = self._awaited()
            if ended is None:
                self._prepare()
                ended = run_unit(self.unit, self._command(), self._timeout)
            if not self.whole:
                raise failure_of(self.unit, ended.log)
        self._switch()
        self._tidy()
        return True

    def _awaited(self) -> Ended | None:
        """How the work that was begun ended; None when there was none, or when it was for another list."""
        if unit_state(self.unit).load == "not-found":
            return None
        ended = wait_unit(self.unit, self._timeout)
        try:
            with open(self._spec, encoding="utf-8") as stream:
                return ended if json.load(stream)["folder"] == self.folder else None
        except (OSError, ValueError, KeyError):
            return None

    @property
    def _timeout(self) -> float:
        return float(self.given["timeout_s"])

    def _command(self) -> List[str]:
        spec = {name: self.given[name] for name in ("requirements", "wheels_url", "ca_path", "imports")}
        spec.update(folder=self.folder, python=PYTHON, digest=self.digest)
        os.makedirs(LOG_FOLDER, mode=0o700, exist_ok=True)
        write_atomic(self._spec, json.dumps(spec).encode(), 0o600)
        return [PYTHON, "-I", "-S", os.path.abspath(gpuctl_venvbuild.__file__), self._spec]

    @property
    def _spec(self) -> str:
        return os.path.join(LOG_FOLDER, self.unit + ".json")

    def _prepare(self) -> None:
        """Look for room, and note which folders are new. HostError disk-low."""
        self._check_room()
        for folder in missing_folders(self.path):
            receipts.remember_before(str(self.given["component"]), "folders", folder)
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)

    def _check_room(self) -> None:
        place = os.path.dirname(self.path)
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        left = os.statvfs(place)
        free_mib = left.f_bavail * left.f_frsize // 2**20
        need = int(self.given["need_mib"])
        if free_mib < need:
            raise HostError(
                "disk-low",
                f"the Python packages of {self.given['component']} need {need} MiB below {self.path}, "
                f"{free_mib} MiB are free",
                "free space there, or enlarge the disk",
            )

    def _switch(self) -> None:
        partial = self.path + ".new"
        if os.path.lexists(partial):
            os.unlink(partial)
        os.symlink(os.path.basename(self.folder), partial)
        os.replace(partial, self.path)

    def _tidy(self) -> None:
        """Remove environments that the link has left: who runs in one has its files open, and is restarted next."""
        for folder in built(self.path):
            if folder != self.folder:
                shutil.rmtree(folder, ignore_errors=True)


def built(path: str) -> List[str]:
    """Folders of environments for the link at `path`, whole or not."""
    return [found for found in sorted(glob.glob(glob.escape(path) + "-" + "[0-9a-f]" * 16)) if os.path.isdir(found)]


def failure_of(unit: str, log: str) -> HostError:
    """The failure that pip's last lines name: the server that it did not reach, else its first error."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith("Ignoring ")]
    broken = [found.group(1).split(">: ")[-1].rstrip("')\"") for found in map(_BROKEN.search, lines) if found]
    errors = [line for line in lines if line.startswith(("ERROR", "Error", "ModuleNotFoundError", "ImportError"))]
    said = (broken[-1:] or errors[:1] or lines[-1:] or ["it said nothing"])[0]
    return HostError(
        "python-packages-failed",
        f"the Python packages cannot be installed: {said[:300]}",
        f"see {log_path(unit)} on the host; check pip's configuration there, or launch_agent_host_wheels_url",
        "\n".join(lines),
    )


def remove(component: str, path: str, check: bool) -> List[str]:
    """Stop what builds, remove link and environments; what was there."""
    found = [path] if os.path.islink(path) else []
    found += built(path)
    if check:
        return found
    unit = unit_name(component)
    if unit_state(unit).load != "not-found":
        run(["systemctl", "stop", "--", f"{unit}.service"], 60)
        run(["systemctl", "reset-failed", "--", f"{unit}.service"], 30)
    for name in (os.path.join(LOG_FOLDER, unit + ".json"), log_path(unit), path + ".new"):
        if os.path.lexists(name):
            os.unlink(name)
    if os.path.islink(path):
        os.unlink(path)
    for folder in built(path):
        delete_tree(folder)
    return found


def have(given: Mapping[str, Any], check: bool) -> Dict[str, Any]:
    """Have the environment; {"changed", "folder"}. With `wait` false it is only begun."""
    venv = Venv(given)
    if check:
        return {"changed": not venv.current, "folder": venv.folder}
    changed = venv.finish() if given["wait"] else venv.begin()
    return {"changed": changed, "folder": venv.folder}
