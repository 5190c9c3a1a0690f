"""What would make minikube fail, or do harm, seen beforehand. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory.model import LAUNCH_AGENT, NFS_SERVER, Host
from bootstrap.kube.plain_yaml import parse_plain
from bootstrap.minikube.look import Seen
from bootstrap.minikube.options import ProfileOptions
from bootstrap.minikube.state import Phase, differences, megabytes, other_driver, parts_of, phase_of
from bootstrap.probe.facts import HostFacts

OLDEST_DOCKER = 25  # the first with CDI, by which --gpus nvidia.com gives devices
LEAST_MB, LEAST_CPUS = 1800, 2  # as minikube has them, where it is not forced (cmd/minikube/cmd/start_flags.go)
_MISSING = 127
_SERVICES = {LAUNCH_AGENT: "the Launch agent", NFS_SERVER: "the NFS export"}
_JOIN = "give `gpuctl minikube up --docker-group`; who is in that group is as good as root"


def check_host(seen: Seen, host: str) -> None:
    """Refuse when Docker or minikube is not there for this user.

    Raises:
        GpuctlError: exit 4.
    """
    if problem := _docker_problem(seen, host, tried=True):
        raise GpuctlError(ExitCode.PREFLIGHT, problem)
    if not seen.version:
        words = "minikube is not there, or does not run"
        raise GpuctlError(ExitCode.PREFLIGHT, Problem("minikube-missing", words, "run `gpuctl minikube up`", host))


def _docker_problem(seen: Seen, host: str, *, tried: bool) -> Problem | None:
    """What is wrong with Docker; `tried`: the roles have been at it."""
    if seen.docker.rc == _MISSING:
        return Problem("minikube-docker-away", "there is no docker program", "run `gpuctl minikube up`", host)
    if "permission denied" in seen.docker.err:
        return Problem("minikube-docker-denied", "this user may not use Docker", _JOIN, host, details=seen.docker.err)
    version = seen.docker_version
    if version and seen.unclear:
        words = f"Docker does not say whether it has a {' or a '.join(seen.unclear)} of the profile's name"
        return Problem("minikube-docker-away", words, "run again; `journalctl -u docker` says what ails it", host)
    if not version:
        starts = "" if tried else "`gpuctl minikube up` starts it; "
        fix = f"{starts}there, `journalctl -u docker` says why it is down"
        return Problem("minikube-docker-away", "Docker does not answer", fix, host, details=seen.docker.err)
    major = re.match(r"\d+", version)
    if major and int(major[0]) < OLDEST_DOCKER:
        words = f"Docker {version} is older than {OLDEST_DOCKER}, the first that knows CDI devices"
        return Problem("minikube-docker-old", words, "upgrade it, or let gpuctl install one", host)
    return None


def check_member(seen: Seen, user: str, members: Collection[str], host: str) -> None:
    """Refuse a user who may not use Docker, and whom no role lets in; `members` are those that the roles will.

    Raises:
        GpuctlError: exit 4; nothing was changed.
    """
    if not (seen.root or seen.joined or seen.docker.rc == 0 or user in members):
        words = f"{user} may not use Docker, which runs minikube's node"
        raise GpuctlError(ExitCode.PREFLIGHT, Problem("minikube-docker-denied", words, _JOIN, host))


def check_docker(seen: Seen, host: str) -> None:
    """Refuse when Docker does not answer this user: what it holds of a profile cannot be known, nor taken away.

    Raises:
        GpuctlError: exit 4.
    """
    away = not seen.docker_version and seen.docker.rc != _MISSING
    if (away or phase_of(seen) is Phase.UNKNOWN) and (problem := _docker_problem(seen, host, tried=False)):
        raise GpuctlError(ExitCode.PREFLIGHT, problem)


def check_profile(seen: Seen, options: ProfileOptions, host: str, *, local: bool) -> None:
    """Refuse a profile that cannot become what is asked for without losing what runs in it.

    While Docker does not answer, only what minikube's record says is looked at: the roles may make it answer.

    Raises:
        GpuctlError: exit 4; nothing was changed.
    """
    problem = (
        _named(seen, options.profile)
        or _unrecorded(seen, options.profile)
        or _different(seen, options)
        or _taken(seen, options.profile)
        or broken(seen, options.profile)
        or (_new(seen, options, local=local) if seen.config is None else None)
    )
    if problem:
        raise GpuctlError(ExitCode.PREFLIGHT, replace(problem, host=host))


def check_services(seen: Seen, host: Host) -> None:
    """Refuse services for a profile where another one of the host has them: they serve one.

    Raises:
        GpuctlError: exit 4; nothing was changed.
    """
    asked = [words for group, words in _SERVICES.items() if group in host.groups]
    asked += [f"the addons ({', '.join(map(str, addons))})"] if (addons := host.settings["cluster_addons"]) else []
    if not seen.others or not asked:
        return
    other = seen.others[0]
    words = f"profile {other} has this host's Launch agent and volumes, and only one profile can"
    fix = (
        f"leave {' and '.join(asked)} out (with --host in place of an inventory that has them), "
        f"or take profile {other} away first: `gpuctl minikube down --profile {other}`"
    )
    raise GpuctlError(ExitCode.PREFLIGHT, Problem("minikube-services-taken", words, fix, host.name))


def check_own(seen: Seen, profile: str, host: str, *, deleting: bool, orphan: bool) -> None:
    """Refuse to have minikube stop or delete what may be somebody else's: it goes by the name.

    `orphan`: that this user has no record of the container is known, and no reason.

    Raises:
        GpuctlError: exit 4; nothing was changed.
    """
    recorded = seen.config is not None or seen.folder
    problem = _named(seen, profile) if recorded and {"container", "network"} & set(seen.taken) else None
    if driver := other_driver(seen):
        words = f"profile {profile} is one of minikube's driver {driver}, which gpuctl does not look after"
        verb = "delete" if deleting else "stop"
        problem = Problem("minikube-differs", words, f"`minikube {verb} --profile {profile}`")
    if not orphan:
        problem = problem or _unrecorded(seen, profile)
    if deleting and phase_of(seen) is not Phase.ABSENT:
        problem = problem or _taken(seen, profile)
    if not deleting:
        problem = problem or broken(seen, profile)
    if problem:
        raise GpuctlError(ExitCode.PREFLIGHT, replace(problem, host=host))


def _unrecorded(seen: Seen, profile: str) -> Problem | None:
    """A container of minikube's without a record is another user's, or what is left of one."""
    if seen.config is not None or seen.folder or not seen.container:
        return None
    words = f"Docker has a minikube container {profile} ({seen.container}) of which this user has no record"
    fix = (
        "if it is another user's, choose another --profile; "
        f"`gpuctl minikube down --orphan --profile {profile}` deletes it"
    )
    if seen.minikube_home:
        words += f" in ~/.minikube; MINIKUBE_HOME leads to {seen.minikube_home}, which gpuctl does not look at"
        fix = f"if it is of a profile there, choose another --profile; {fix}"
    return Problem("minikube-profile-orphan", words, fix)


def _named(seen: Seen, profile: str) -> Problem | None:
    """Minikube would make somebody's volume or network part of a new profile, and fail of a container."""
    taken = [kind for kind in seen.taken if kind == "container" or seen.config is None]
    if not taken:
        return None
    words = f"Docker has a {' and a '.join(taken)} {profile} already, not of minikube's making"
    return Problem("minikube-name-taken", words, "choose another --profile, or rename or remove that")


def check_size(seen: Seen, options: ProfileOptions, facts: HostFacts) -> None:
    """Refuse a new profile that the machine has no room for, or that Kubernetes does not start in.

    Minikube looks at neither when it is forced, and waits for many minutes for a node that is too small.

    Raises:
        GpuctlError: exit 4; nothing was changed.
    """
    if seen.config is not None:
        return
    has_mb, wants_mb = facts.memory_bytes >> 20, megabytes(options.memory)
    wants_cpus = int(options.cpus) if options.cpus.isdecimal() else None
    sizes = (("memory", wants_mb, has_mb, LEAST_MB, " MB"), ("cpus", wants_cpus, facts.cpus, LEAST_CPUS, ""))
    problems = []
    for name, wanted, has, least, unit in sizes:
        if wanted is not None and 0 < has < wanted:  # a host that does not say what it has is believed
            words = f"--{name} {wanted}{unit}, and the machine has {has}{unit}"
            problems.append(Problem("minikube-resources", words, f"ask for less with --{name}", facts.host))
        elif wanted is not None and wanted < least and not options.force:
            words = f"--{name} {wanted}{unit}: Kubernetes needs {least}{unit} to start"
            problems.append(Problem("minikube-resources", words, f"ask for more with --{name}", facts.host))
    if problems:
        raise GpuctlError(ExitCode.PREFLIGHT, *problems)


def broken(seen: Seen, profile: str) -> Problem | None:
    """What is there of a profile of which only a part is."""
    if phase_of(seen) is not Phase.BROKEN:
        return None
    record = "minikube's record" if seen.config is not None else "no record of minikube's"
    container = f"a container that is {seen.container}" if seen.container else "no container"
    container += "".join(f", a {kind}" for kind in seen.remains)
    words = f"profile {profile} is half there: {record}, {container}"
    return Problem("minikube-profile-broken", words, f"`gpuctl minikube down --profile {profile}` takes the rest away")


def _different(seen: Seen, options: ProfileOptions) -> Problem | None:
    found = differences(seen, options)
    if not found:
        return None
    words = f"profile {options.profile} was made otherwise: {'; '.join(map(str, found))}"
    fix = (
        f"leave these options out, or `gpuctl minikube down --profile {options.profile}` first: "
        "what runs in it goes with it"
    )
    return Problem("minikube-differs", words, fix)


def _taken(seen: Seen, profile: str) -> Problem | None:
    """A start would put the profile's context in the place of another cluster's."""
    server = foreign_context(seen, profile)
    if not server or parts_of(seen).get("Kubeconfig") == "Configured":
        return None
    words = f"the kubeconfig has a context {profile} already, of the cluster at {server}"
    return Problem("minikube-context-taken", words, "choose another --profile, or rename that context")


def _new(seen: Seen, options: ProfileOptions, *, local: bool) -> Problem | None:
    """What keeps a profile from being made where none is."""
    if seen.root and local and not options.force:
        words = "root on this machine: minikube refuses root, since a profile of root's is of no use to its users"
        fix = "run gpuctl as the user who will work with the cluster, or give --force"
        return Problem("minikube-root", words, fix)
    if options.gpus in {"all", "nvidia.com"} and not seen.pci_gpus:
        words = f"--gpus {options.gpus}, and there is no NVIDIA GPU on the PCI bus"
        return Problem("gpu-missing", words, "leave --gpus out, or look at the cards")
    return None


def foreign_context(seen: Seen, profile: str) -> str:
    """The server of a context of the profile's name that is not minikube's; empty when there is none.

    Minikube writes, and deletes, the cluster, the context and the user of that name: a user that another context has
    counts as well.
    """
    try:
        found = parse_plain(seen.kubeconfig) or {}
        clusters, contexts, users = (
            {str(item["name"]): item.get(kind) or {} for item in found.get(f"{kind}s") or []}
            for kind in ("cluster", "context", "user")
        )
        if profile in users and any(one.get("user") == profile for name, one in contexts.items() if name != profile):
            return f"another context, which has the user {profile}"
        named = clusters.get(str(contexts.get(profile, {}).get("cluster") or ""), clusters.get(profile))
        if named is None:
            return "an unnamed server" if profile in contexts else ""
        ours = any(item.get("name") == "cluster_info" for item in named.get("extensions") or [])
        return "" if ours else str(named.get("server") or "an unnamed server")
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""
