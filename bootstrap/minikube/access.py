"""Root's own access to a profile on its host, and the Launch agent that lives by it.

What gpuctl puts into a profile is put there by modules that run as root, as on a control plane: they find a kubeconfig
in PROFILE_ACCESS. One profile of a host has it at a time. The Launch agent takes jobs from its queues as long as it
runs, also those that no profile can run any more: so it stops with its profile.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import yaml

from bootstrap.access import Access
from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.hostside.gpuctl_kube import PROFILE_ACCESS
from bootstrap.inventory.model import Host
from bootstrap.kube.credentials import MAX_BYTES, credentials_from, kubeconfig_of, url
from bootstrap.launch.agent_model import UNIT
from bootstrap.probe.remote import last_object
from bootstrap.probe.remote_python import run_python
from bootstrap.probe.session import Session

_LINE = 2 * MAX_BYTES  # columns: nothing is folded, since gpuctl_kube reads it line by line
_TIMEOUT_S = 90.0  # an agent that follows a job takes half a minute to end
_COMMON = r"""
import json, os, subprocess, tempfile
os.environ["DOCKER_CONTEXT"] = "default"
def run(*argv):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
def systemctl(*argv):
    return run("systemctl", *argv).returncode == 0
def remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True
mine = os.path.join(folder, profile + ".conf")
"""
# The kubeconfig of kubeadm's in the node, and the node's address, which stands for a name that only the node knows.
_ASK = r"""
def asked(*argv):
    done = run(*argv)
    if done.returncode:
        print(json.dumps({"error": done.stderr.decode("utf-8", "replace").strip()[-500:]}))
        raise SystemExit(0)
    return done.stdout.decode("utf-8", "replace")
text = asked("docker", "exec", profile, "cat", "/etc/kubernetes/admin.conf")
networks = asked("docker", "container", "inspect", "--format", "{{json .NetworkSettings.Networks}}", profile)
address = next((found["IPAddress"] for found in json.loads(networks).values() if found.get("IPAddress")), "")
print(json.dumps({"kubeconfig": text[:limit + 1], "address": address}))
"""
_GIVE = r"""
os.makedirs(folder, exist_ok=True)
for path, mode in ((os.path.dirname(folder), 0o111), (folder, 0o755)):  # whatever the umask: people look who is served
    os.chmod(path, os.stat(path).st_mode & 0o7777 | mode)
for name in os.listdir(folder):
    if os.path.join(folder, name) != mine:
        remove(os.path.join(folder, name))
try:
    with open(mine) as stream:
        before = stream.read()
except OSError:
    before = ""
if before != text:
    handle, path = tempfile.mkstemp(dir=folder, prefix=".new-")
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    os.replace(path, mine)
started = systemctl("is-enabled", "--quiet", unit) and not systemctl("is-active", "--quiet", unit)
started = started and systemctl("start", unit)
print(json.dumps({"changed": before != text, "agent": started}))
"""
_HALT = r"""
serves = os.path.exists(mine) and systemctl("is-active", "--quiet", unit)
if os.path.exists(mine):
    systemctl("stop", unit)
print(json.dumps({"agent": serves}))
"""
_TAKE = r"""
serves = os.path.exists(mine) and (systemctl("is-active", "--quiet", unit) or systemctl("is-enabled", "--quiet", unit))
if serves:
    systemctl("disable", "--now", unit)
print(json.dumps({"changed": remove(mine), "agent": serves}))
"""


def give_access(session: Session, host: Host, profile: str, access: Access) -> bool:
    """Have root reach the profile's API, and an agent that was halted with the profile run again; whether it was.

    Raises:
        ConnectFailure: the connection was lost, or sudo refuses.
        GpuctlError: the profile's node does not say how (exit 5), or its kubeconfig is refused (exit 6).
    """
    found = _as_root(session, host, profile, access, f"limit = {MAX_BYTES}\n" + _ASK)
    if "error" in found:
        raise _broken(host, profile, str(found["error"]))
    text = _access_of(host, profile, found)
    return bool(_as_root(session, host, profile, access, f"text = {text!r}\n" + _GIVE).get("agent"))


def _access_of(host: Host, profile: str, found: Mapping[str, Any]) -> str:
    """The kubeconfig that root gets, from what the profile's node has: each value stands in a line of its own."""
    fix = f"`gpuctl minikube down --profile {profile}`, then `gpuctl minikube up`: it makes a node anew"
    checked = credentials_from(host.name, str(found.get("kubeconfig") or ""), fix=fix)
    try:
        address = str(ipaddress.ip_address(str(found.get("address") or "")))
    except ValueError:
        raise _broken(host, profile, "its node has no address") from None
    return yaml.safe_dump(kubeconfig_of(checked, profile, server=url(address, checked.port)), width=_LINE)


def _broken(host: Host, profile: str, why: str) -> GpuctlError:
    words = f"root's access to profile {profile} cannot be made: {why}"
    fix = f"`gpuctl minikube status --profile {profile}`"
    return GpuctlError(ExitCode.STEP_FAILED, Problem("minikube-profile-broken", words, fix, host.name))


def halt_agent(session: Session, host: Host, profile: str, access: Access) -> bool:
    """Stop the agent that serves the profile until the profile is started again; whether there was one.

    Raises:
        ConnectFailure: the connection was lost, or sudo refuses.
    """
    return bool(_as_root(session, host, profile, access, _HALT).get("agent"))


def take_access(session: Session, host: Host, profile: str, access: Access) -> bool:
    """Stop the agent that serves the profile for good, and remove root's access; whether there was an agent.

    Raises:
        ConnectFailure: the connection was lost, or sudo refuses.
    """
    return bool(_as_root(session, host, profile, access, _TAKE).get("agent"))


def _as_root(session: Session, host: Host, profile: str, access: Access, program: str) -> dict[str, Any]:
    given = f"profile, folder, unit = {profile!r}, {PROFILE_ACCESS!r}, {UNIT!r}\n"
    text = given + _COMMON + program
    done = run_python(session, host, text, password=access.become_password, timeout_s=_TIMEOUT_S)
    return last_object(done)
