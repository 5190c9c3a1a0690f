"""What the kernel and the system write, read on any input."""

from __future__ import annotations

import base64
import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.hostside import gpuctl_facts_gpu as gpu
from bootstrap.hostside import gpuctl_facts_network as network
from bootstrap.hostside import gpuctl_facts_os as system
from bootstrap.hostside import gpuctl_nvml as nvml
from bootstrap.hostside.gpuctl_kube import kubeconfig_server, kubeconfig_value

MOUNTINFO = """22 27 0:21 / /proc rw,nosuid shared:5 - proc proc rw
25 22 0:22 / /sys/fs/cgroup ro,nosuid shared:6 master:2 - tmpfs tmpfs ro
26 25 0:23 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
30 22 8:1 / /mnt/with\\040space rw - ext4 /dev/sda1 rw
"""


def test_mounts_are_read_with_optional_fields_and_escapes() -> None:
    assert system.parse_mountinfo(MOUNTINFO) == [
        ("/proc", "proc"),
        ("/sys/fs/cgroup", "tmpfs"),
        ("/sys/fs/cgroup/systemd", "cgroup"),
        ("/mnt/with space", "ext4"),
    ]


def test_cgroup_versions() -> None:
    unified = "25 22 0:22 / /sys/fs/cgroup rw shared:6 - cgroup2 cgroup2 rw\n"

    assert system.cgroup_version(MOUNTINFO) == 1
    assert system.cgroup_version(unified) == 2
    assert system.cgroup_version(MOUNTINFO + unified) == 2  # the mount on top counts
    assert system.cgroup_version("") is None
    assert system.cgroup_version(None) is None


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    """No parser raises, and what it gives is of its kind."""
    assert all(isinstance(point, str) for point, _ in system.parse_mountinfo(text))
    assert system.cgroup_version(text) in (None, 1, 2)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", key) for key in system.parse_os_release(text))
    assert all("/" in route for route, _ in network.parse_routes(text))
    assert gpu.parse_module_version(text)[1] in (None, "open", "closed")
    kubeconfig_server(text)


PATHS = st.text(st.characters(codec="ascii", exclude_characters="\\\n\0", categories=("L", "N", "P", "Zs")), min_size=1)


@given(PATHS)
def test_mount_points_survive_the_kernels_escapes(path: str) -> None:
    escaped = path.replace(" ", "\\040").replace("\t", "\\011")
    line = f"1 2 0:1 / /{escaped} rw - ext4 /dev/x rw"

    assert system.parse_mountinfo(line) == [("/" + path, "ext4")]


@given(
    st.dictionaries(
        st.sampled_from(["ID", "VERSION_ID", "NAME"]), st.text(st.characters(codec="ascii", categories=("L", "N")))
    )
)
def test_os_release_values_come_back_with_and_without_quotes(values: dict[str, str]) -> None:
    for quote in ("", '"', "'"):
        text = "# comment\n" + "".join(f"{key}={quote}{value}{quote}\n" for key, value in values.items())
        assert system.parse_os_release(text) == values


def test_os_release_escapes() -> None:
    assert system.parse_os_release('PRETTY_NAME="A \\"B\\" \\$C"') == {"PRETTY_NAME": 'A "B" $C'}


def test_routes_are_read_in_host_byte_order() -> None:
    text = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0142CA0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0042CA0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )

    assert network.parse_routes(text) == [("0.0.0.0/0", "eth0"), ("10.202.66.0/24", "eth0")]


def test_only_listening_sockets_count() -> None:
    text = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 00000000:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0\n"
        "   1: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0\n"
    )

    assert network.parse_listeners(text) == {6443: "4242"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n",
            ("535.183.01", "closed"),
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC version\n",
            ("580.95.05", "open"),
        ),
        ("GCC version: 12.3.0\n", (None, None)),
        ("", (None, None)),
    ],
)
def test_the_module_says_version_and_flavour(text: str, expected: tuple[str | None, str | None]) -> None:
    assert gpu.parse_module_version(text) == expected


@given(st.binary(max_size=200), st.sampled_from(["", "    ", "- "]))
def test_kubeconfig_data_is_found_and_decoded(data: bytes, indent: str) -> None:
    text = f"clusters:\n{indent}client-key-data: {base64.b64encode(data).decode()}\n{indent}server: https://a:6443\n"

    assert kubeconfig_value(text, "client-key") == (data or None)
    assert kubeconfig_server(text) == "https://a:6443"


def test_kubeconfig_entries_may_name_files_and_carry_quotes(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"PEM")
    text = f'  certificate-authority: {tmp_path}/ca.crt\n  server: "https://a:6443"\n'

    assert kubeconfig_value(text, "certificate-authority") == b"PEM"
    assert kubeconfig_value(text, "client-key") is None
    assert kubeconfig_server(text) == "https://a:6443"


def test_the_holder_of_a_package_lock_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    monkeypatch.setattr(system, "DPKG_LOCKS", (str(tmp_path / "none"), str(lock)))
    assert system.package_lock() is None
    program = f"import fcntl; f = open({str(lock)!r}, 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        found = system.package_lock()
        holder.communicate(b"\n")

    assert found is not None
    assert f"(pid {holder.pid})" in found
    assert system.package_lock() is None


def test_the_gpuctl_lock_is_looked_at_and_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "gpuctl.lock"
    lock.write_text("eve@desk since then, run 7\n")
    monkeypatch.setattr(system, "GPUCTL_LOCK", str(lock))
    assert system.lock_holder() is None  # written and freed
    with lock.open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert system.lock_holder() == "eve@desk since then, run 7"
    assert system.lock_holder() is None


def test_processes_of_an_earlier_run_are_found_by_their_environment() -> None:
    env = {**os.environ, "GPUCTL_RUN": "r1"}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=env) as left:
        found = [line for line in system.unfinished() if line.startswith(f"pid {left.pid}:")]
        left.communicate(b"\n")

    assert len(found) == 1
    assert "input()" in found[0]


def pci_device(folder: Path, address: str, vendor: str, kind: str, device: str, driver: str | None = None) -> None:
    place = folder / address
    place.mkdir(parents=True)
    (place / "vendor").write_text(vendor + "\n")
    (place / "class").write_text(kind + "\n")
    (place / "device").write_text(device + "\n")
    if driver:
        (place / "driver").symlink_to(f"/sys/bus/pci/drivers/{driver}")


def test_gpus_are_nvidia_display_functions_that_no_virtual_machine_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pci_device(tmp_path, "0000:01:00.0", "0x10de", "0x030200", "0x20B0", "nvidia")
    pci_device(tmp_path, "0000:01:00.1", "0x10de", "0x040300", "0x1aef")  # its sound function
    pci_device(tmp_path, "0000:02:00.0", "0x10de", "0x030000", "0x2684", "vfio-pci")
    pci_device(tmp_path, "0000:03:00.0", "0x10de", "0x068000", "0x22a3")
    pci_device(tmp_path, "0000:04:00.0", "0x8086", "0x030000", "0x9a49")
    monkeypatch.setattr(gpu, "PCI", str(tmp_path))

    assert gpu.pci_gpus() == {
        "gpus": [{"address": "0000:01:00.0", "device_id": "20b0", "driver": "nvidia"}],
        "nvswitches": 1,
    }
    monkeypatch.setattr(gpu, "PCI", str(tmp_path / "none"))
    assert gpu.pci_gpus() == {"gpus": [], "nvswitches": 0}


def test_a_driver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr(nvml, "query", lambda: time.sleep(60))
    begun = time.monotonic()
    found = nvml.ask_nvml(0.3)

    assert time.monotonic() - begun < 5
    assert found["gpus"] == []
    assert "did not answer" in found["nvml_error"]
    assert found["nvml_code"] == nvml.NO_ANSWER


def test_a_driver_that_crashes_takes_only_its_child_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "query", lambda: os.kill(os.getpid(), 9))

    assert "ended its process" in nvml.ask_nvml(5)["nvml_error"]


def test_an_error_of_the_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> None:
        raise nvml.NvmlError("NVML: Driver/library version mismatch (18)", 18)

    monkeypatch.setattr(nvml, "query", failing)
    said = {"nvml_error": "NVML: Driver/library version mismatch (18)", "nvml_code": 18}
    assert nvml.ask_nvml(5) == {"gpus": [], "lost": [], **said}


def test_proxies_are_read_without_their_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "environment"
    file.write_text(
        '#http_proxy=http://no:1\nHTTPS_PROXY="http://eve:secret@proxy:3128"\nno_proxy=localhost,10.0.0.0/8\n'
    )
    drop_in = tmp_path / "proxy.conf"
    drop_in.write_text('[Service]\nEnvironment="HTTP_PROXY=http://proxy:8080" "FTP_PROXY="\n')
    monkeypatch.setattr(network, "PROXY_FILES", (str(file), str(drop_in)))

    assert network.proxies() == {
        "https_proxy": "http://proxy:3128",
        "no_proxy": "localhost,10.0.0.0/8",
        "http_proxy": "http://proxy:8080",
    }


def test_who_draws_what_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine's display may be on a card of another maker's while nouveau idles."""
    monkeypatch.setattr(gpu, "CONNECTORS", str(tmp_path / "drm"))
    for card, driver, status in (("card0", "i915", "connected"), ("card1", "nouveau", "disconnected")):
        (tmp_path / "drivers" / driver).mkdir(parents=True)
        (tmp_path / "pci" / card).mkdir(parents=True)
        (tmp_path / "pci" / card / "driver").symlink_to(tmp_path / "drivers" / driver)
        (tmp_path / "drm" / card).mkdir(parents=True)
        (tmp_path / "drm" / card / "device").symlink_to(tmp_path / "pci" / card)
        (tmp_path / "drm" / f"{card}-HDMI-A-1").mkdir()
        (tmp_path / "drm" / f"{card}-HDMI-A-1" / "device").symlink_to(tmp_path / "drm" / card)
        (tmp_path / "drm" / f"{card}-HDMI-A-1" / "status").write_text(f"{status}\n")
    assert not gpu.nouveau_draws()
    (tmp_path / "drm" / "card1-HDMI-A-1" / "status").write_text("connected\n")
    assert gpu.nouveau_draws()
