"""Settings of this machine that labs change, kept so that the last `down` can put them back.

Hosts share the kernel: what a role or the kubelet sets in a host under /proc/sys/{kernel,vm,fs} is set for the machine.
"""

from __future__ import annotations

import json
from pathlib import Path

from bootstrap.testvm import procs
from bootstrap.testvm.names import NAME_PATTERN, RUNTIME_ROOT

SYS = Path("/proc/sys")
NSPAWN_RUNTIME = Path("/run/systemd/nspawn")
FORWARDING = "net/ipv4/ip_forward"
# What the kubelet (protectKernelDefaults' list), containerd and the roles write that is not per network namespace.
KEPT = (
    FORWARDING,
    "fs/inotify/max_user_instances",
    "fs/inotify/max_user_watches",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/max_map_count",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "vm/swappiness",
)
# As kube_host raises them. A host that is reset puts its own back, which are all other labs' too: none may be lower.
RAISED = {"fs/inotify/max_user_instances": 8192, "fs/inotify/max_user_watches": 524288}
MODULES = ("br_netfilter", "overlay", "vxlan", "nf_conntrack", "ip_vs")


def _kept_file() -> Path:
    return RUNTIME_ROOT / "sysctls.json"


def prepare() -> None:
    """Record the machine's settings once, then have what all labs need. Call with the lock of RUNTIME_ROOT held."""
    kept = _kept_file()
    if not kept.exists():
        before = {name: (SYS / name).read_text().strip() for name in KEPT if (SYS / name).exists()}
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(before))
        part.rename(kept)
    if not (SYS / "net/bridge").exists():
        # Hosts cannot load modules: what their cluster needs must be there before. Built-in or unknown: no harm.
        procs.run(["modprobe", "-q", "-a", *MODULES], check=False)
    if (SYS / FORWARDING).read_text().strip() != "1":
        (SYS / FORWARDING).write_text("1")
    for name, least in RAISED.items():
        if (SYS / name).exists() and int((SYS / name).read_text()) < least:
            (SYS / name).write_text(str(least))


def other_labs(name: str) -> tuple[str, ...]:
    """Labs other than `name` that have a runtime directory."""
    try:
        found = [entry.name for entry in RUNTIME_ROOT.iterdir() if NAME_PATTERN.fullmatch(entry.name)]
    except OSError:
        return ()
    return tuple(sorted(lab for lab in found if lab != name))


def restore() -> None:
    """Put back what differs from the record, and remove the record. Call with the lock held and no lab left."""
    kept = _kept_file()
    kept.with_suffix(".part").unlink(missing_ok=True)
    if not kept.exists():
        return
    for name, value in json.loads(kept.read_text()).items():
        place = SYS / name
        if name in KEPT and place.read_text().strip() != value:
            place.write_text(value)
    kept.unlink()
    _remove_if_empty(NSPAWN_RUNTIME)


def _remove_if_empty(directory: Path) -> None:
    """Supervisors need this directory as a place to mount on; where systemd runs, it has other users."""
    try:
        directory.rmdir()
    except OSError:
        return
