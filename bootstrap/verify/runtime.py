"""What the container runtime of each GPU host says when asked: its effective configuration and its CDI devices."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bootstrap.access import Access
from bootstrap.errors import GpuctlError
from bootstrap.hostside.gpuctl_strictjson import parse_object
from bootstrap.inventory.model import Host
from bootstrap.probe.remote import reach, run_as_root
from bootstrap.probe.session import Session

_TIMEOUT_S = 20.0
_RUNTIME_TABLES = ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri")


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """`handlers` are the runtimes that the engine serves; `cdi_devices` the names nvidia.com/gpu=….

    `error` is set when the engine could not be asked; `cdi_error` likewise for CDI.
    """

    handlers: tuple[str, ...] = ()
    systemd_cgroup: bool | None = None
    cri_disabled: bool = False
    cdi_devices: tuple[str, ...] = ()
    error: str = ""
    cdi_error: str = ""
    engine: str = "containerd"


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
            dump, error = _run(session, host, access, ["containerd", "config", "dump"])
            cdi, cdi_error = _run(session, host, access, ["nvidia-ctk", "cdi", "list"])
    except GpuctlError as failure:
        return RuntimeFacts(error=failure.problems[0].message)
    return parse_runtime(dump, cdi, error=error, cdi_error=cdi_error)


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
    options = _table(_table(runtimes.get("nvidia", runtimes.get("runc"))).get("options"))
    off, cgroup = config.get("disabled_plugins"), options.get("SystemdCgroup")
    disabled = any(str(name).endswith("cri") or ".cri." in str(name) for name in (off if isinstance(off, list) else []))
    return RuntimeFacts(
        handlers=tuple(sorted(runtimes)),
        systemd_cgroup=cgroup if isinstance(cgroup, bool) else None,
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
