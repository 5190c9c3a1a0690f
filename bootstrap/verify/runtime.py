"""What the container runtime of each GPU host says when asked: its effective configuration and its CDI devices."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from bootstrap.access import Access
from bootstrap.errors import GpuctlError
from bootstrap.hostside.gpuctl_strictjson import parse_object
from bootstrap.hostside.gpuctl_walk import COMMANDS
from bootstrap.inventory.model import Host
from bootstrap.probe.bundle import packed
from bootstrap.probe.forms import LABEL_KEY, VISIBLE, WORD, boolean, form, text
from bootstrap.probe.reader import Reader
from bootstrap.probe.remote import last_object, reach, run_as_root
from bootstrap.probe.remote_python import run_python
from bootstrap.probe.session import Session
from bootstrap.probe.ssh_errors import ConnectFailure

_TIMEOUT_S = 20.0
_WALK = ("gpuctl_hostio", "gpuctl_walk")
_WALK_S = 40.0  # its commands run side by side, and a busy host starts Python late
_ABSENT = 127
_RUNTIME_TABLES = ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri")


@dataclass(frozen=True, slots=True)
class Holding:
    """Devices that the kubelet gave to a pod. `ids` are what the plugin calls them: UUIDs, "UUID::N" where shared."""

    pod: str  # uid
    resource: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """`handlers` are the runtimes that the engine serves; `cdi_devices` the names nvidia.com/gpu=….

    `error` is set when the engine could not be asked; `cdi_error` likewise for CDI. `cdi_files` are the
    specifications for NVIDIA's devices: path → kind. `missing` are programs of handlers that are not there.
    `cgroupfs` are handlers that leave cgroups to themselves. `registered` is what the kubelet's device manager
    offers, resource → ids, None where it does not say; `xids` are lines of the kernel log.
    """

    handlers: tuple[str, ...] = ()
    systemd_cgroup: bool | None = None
    cri_disabled: bool = False
    cdi_devices: tuple[str, ...] = ()
    error: str = ""
    cdi_error: str = ""
    engine: str = "containerd"
    cgroupfs: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    cdi_files: Mapping[str, str] = field(default_factory=dict)
    kubelet: str = ""  # of systemd: active, inactive, failed …; empty where nobody knows
    registered: Mapping[str, tuple[str, ...]] | None = None
    held: tuple[Holding, ...] = ()
    xids: tuple[str, ...] = ()


def ask_runtimes(hosts: Sequence[Host], access: Access) -> dict[str, RuntimeFacts]:
    """Ask all hosts at once."""
    if not hosts:
        return {}
    with ThreadPoolExecutor(len(hosts)) as pool:
        return dict(zip([h.name for h in hosts], pool.map(lambda host: _ask(host, access), hosts), strict=True))


def ask_docker(host: Host, access: Access) -> RuntimeFacts:
    """Likewise of Docker, on the host of a minikube cluster."""
    try:
        with reach(host, access) as session:
            listed, error = _run(session, host, access, ["docker", "info", "--format", "{{json .Runtimes}}"])
            cdi, cdi_error = _run(session, host, access, ["nvidia-ctk", "cdi", "list"])
    except GpuctlError as failure:
        return RuntimeFacts(error=failure.problems[0].message, engine="docker")
    return parse_docker(listed, cdi, error=error, cdi_error=cdi_error)


def parse_docker(listed: str, cdi: str, *, error: str = "", cdi_error: str = "") -> RuntimeFacts:
    """Facts from Docker's runtimes (a JSON object by name) and `nvidia-ctk cdi list`."""
    try:
        runtimes = tuple(sorted(parse_object(listed or "{}")))
    except ValueError as failure:
        runtimes, error = (), error or f"docker info: {failure}"
    return RuntimeFacts(runtimes, cdi_devices=_devices(cdi), error=error, cdi_error=cdi_error, engine="docker")


def _devices(cdi: str) -> tuple[str, ...]:
    return tuple(sorted(line.strip() for line in cdi.splitlines() if "=" in line and "/" in line))


def _ask(host: Host, access: Access) -> RuntimeFacts:
    try:
        with reach(host, access) as session:
            program = packed(_WALK)
            done = run_python(session, host, program, password=access.become_password, timeout_s=_WALK_S)
            return read_walk(last_object(done))
    except GpuctlError as failure:
        return RuntimeFacts(error=failure.problems[0].message)
    except ConnectFailure as failure:
        return RuntimeFacts(error=str(failure))


def read_walk(answer: Mapping[str, Any]) -> RuntimeFacts:
    """Facts from what hostside.gpuctl_walk printed."""
    doc = Reader(answer)
    daemon, config, cdi = (_said(doc.below(name), COMMANDS[name]) for name in ("daemon", "config", "cdi"))
    lacking = daemon.rc == _ABSENT  # without its client nobody can be asked but the configuration
    error = daemon.error if daemon.rc and not lacking else config.error
    found = parse_runtime(config.out, cdi.out, error=error, cdi_error=cdi.error)
    devices = doc.below("devices")
    there = doc.mapping("binaries", text, boolean)
    return replace(
        found,
        missing=tuple(sorted(name for name, is_there in there.items() if not is_there)),
        cdi_files=doc.mapping("cdi_files", form(VISIBLE), form(VISIBLE)),
        kubelet=doc.below("kubelet").text("out", lambda said: form(WORD)(str(said).strip())),
        registered=_registered(devices) if isinstance(devices.raw("registered"), Mapping) else None,
        held=tuple(map(_holding, devices.each("held"))),
        xids=doc.many("xids", text),
    )


def _holding(doc: Reader) -> Holding:
    ids = doc.many("ids", form(VISIBLE))
    return Holding(doc.text("pod", form(WORD)), doc.text("resource", form(LABEL_KEY)), ids)


def _registered(devices: Reader) -> dict[str, tuple[str, ...]]:
    raw = devices.raw("registered")
    names = [name for name in raw if form(LABEL_KEY)(name)]
    inner = devices.below("registered")
    return {name: inner.many(name, form(VISIBLE)) for name in names}


@dataclass(frozen=True, slots=True)
class _Said:
    """How a command of the walk ended; `error` is empty for one that ended well."""

    rc: int
    out: str
    error: str


def _said(doc: Reader, argv: Sequence[str]) -> _Said:
    rc = doc.one("rc", lambda value: value if isinstance(value, int) else None)
    if rc == 0:
        return _Said(0, doc.text("out", lambda value: value if isinstance(value, str) else None), "")
    words = doc.text("err", text).splitlines()
    return _Said(rc or -1, "", f"{' '.join(argv)}: {words[-1] if words else f'exit {rc}'}")


def parse_runtime(dump: str, cdi: str, *, error: str = "", cdi_error: str = "") -> RuntimeFacts:
    """Facts from `containerd config dump` (TOML) and `nvidia-ctk cdi list` (one device a line)."""
    devices = _devices(cdi)
    try:
        config = tomllib.loads(dump)
    except (ValueError, RecursionError) as failure:
        return RuntimeFacts(
            error=error or f"containerd config dump: {failure}", cdi_devices=devices, cdi_error=cdi_error
        )
    plugins = _table(config.get("plugins"))
    table = next((_table(plugins[name]) for name in _RUNTIME_TABLES if name in plugins), {})
    runtimes = _table(_table(table.get("containerd")).get("runtimes"))
    cgroups = {name: _table(_table(one).get("options")).get("SystemdCgroup") for name, one in runtimes.items()}
    cgroupfs = tuple(name for name in ("nvidia", "runc") if cgroups.get(name) is False)
    off, cgroup = config.get("disabled_plugins"), cgroups.get("nvidia", cgroups.get("runc"))
    disabled = any(str(name).endswith("cri") or ".cri." in str(name) for name in (off if isinstance(off, list) else []))
    return RuntimeFacts(
        handlers=tuple(sorted(runtimes)),
        systemd_cgroup=False if cgroupfs else cgroup if isinstance(cgroup, bool) else None,
        cgroupfs=cgroupfs,
        cri_disabled=disabled,
        cdi_devices=devices,
        error=error,
        cdi_error=cdi_error,
    )


def _table(value: Any) -> Mapping[str, Any]:
    """A table of TOML; an empty one where a host has something else in its place."""
    return value if isinstance(value, dict) else {}


def _run(session: Session, host: Host, access: Access, argv: list[str]) -> tuple[str, str]:
    """(stdout, error words)."""
    result = run_as_root(session, host, argv, access, _TIMEOUT_S)
    if result.rc == 0:
        return result.out, ""
    said = (result.err or result.out).strip().splitlines()
    return "", f"{' '.join(argv)}: {said[-1] if said else f'exit {result.rc}'}"
