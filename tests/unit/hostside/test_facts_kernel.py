"""Headers of the running kernel, the key that Secure Boot asks for, bridges of NVSwitches, the node's own name."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from bootstrap.hostside import gpuctl_facts_cluster as cluster
from bootstrap.hostside import gpuctl_facts_gpu as gpu
from bootstrap.hostside import gpuctl_facts_kernel as kernel
from bootstrap.hostside import gpuctl_facts_network as network
from bootstrap.hostside import gpuctl_facts_os as system
from tests.unit.certificates import certificate

SHOWPKG = (
    "Package: linux-headers-K\nVersions: \n{versions}\nReverse Depends: \nDependencies: \nProvides: \n"
    "Reverse Provides: \n{by}"
)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (SHOWPKG.format(versions="6.1.0 (/var/lib/apt/lists/x)\n", by=""), "offered"),
        (SHOWPKG.format(versions="", by="proxmox-headers-K 6.8 (= )\n"), "offered"),
        (SHOWPKG.format(versions="", by=""), "missing"),
        ("", "missing"),
        (None, None),
    ],
)
def test_headers_are_on_offer_or_not(
    said: str | None, state: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists, folder = tmp_path / "lists", tmp_path / "modules" / "K"
    lists.mkdir()
    monkeypatch.setattr(kernel, "LISTS", str(lists))
    monkeypatch.setattr(kernel, "MODULES", str(tmp_path / "modules"))
    monkeypatch.setattr(kernel, "run", lambda *_, **__: said)
    assert kernel.headers("K") is None, "no module folder: nothing is built"
    folder.mkdir(parents=True)
    assert kernel.headers("K") is None, "a new image without lists"
    (lists / "deb.debian.org_dists_bookworm_main_binary-amd64_Packages").touch()
    assert kernel.headers("K") == state
    (folder / "build").mkdir()
    (folder / "build" / "Makefile").touch()
    assert kernel.headers("K") == "installed"


def test_the_key_of_dkms_is_looked_for_among_those_that_the_firmware_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = certificate("DKMS", "DKMS")
    der = base64.b64decode("".join(pem.split("-----")[2].split()))
    key, store = tmp_path / "mok.pub", tmp_path / "MokListRT-605dab50"
    monkeypatch.setattr(kernel, "CERTIFICATES", (str(tmp_path / "none"), str(key)))
    monkeypatch.setattr(kernel, "DKMS_CONFIGS", (str(tmp_path / "*.conf"),))
    monkeypatch.setattr(kernel, "ENROLLED", (str(tmp_path / "MokListRT-*"),))
    monkeypatch.setattr(kernel.os.path, "isdir", lambda _path: True)
    assert kernel.module_key() == "absent"
    key.write_bytes(b"")
    assert kernel.module_key() == "absent"
    for data in (der, pem.encode()):
        key.write_bytes(data)
        store.write_bytes(b"\x06\0\0\0" + b"another")
        assert kernel.module_key() == "not-enrolled"
        store.write_bytes(b"\x06\0\0\0head" + der + b"tail")
        assert kernel.module_key() == "enrolled"
    (tmp_path / "framework.conf").write_text(f'mok_certificate="{tmp_path}/other.der"\n')
    assert kernel.module_key() == "absent", "dkms signs with another key"


def device(folder: Path, address: str, vendor: str, device_id: str, vpd: bytes = b"") -> None:
    path = folder / address
    path.mkdir()
    for name, value in (("vendor", vendor), ("device", device_id), ("class", "0x020700")):
        (path / name).write_text(value + "\n")
    if vpd:
        (path / "vpd").write_bytes(vpd)


def test_nvswitches_behind_connectx_are_seen_by_their_product_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "PCI", str(tmp_path))
    device(tmp_path, "0000:05:00.0", "0x15b3", "0x1021", b"\x82\x20\x00NVIDIA ConnectX-7\xffV3\x06SW_MNG\x78")
    device(tmp_path, "0000:06:00.0", "0x15b3", "0x1021", b"\x82\x20\x00NVIDIA ConnectX-7\x78")
    device(tmp_path, "0000:07:00.0", "0x15b3", "0x1017", b"SW_MNG")
    assert gpu.nvlink_managers() == 0, "no GPU beside them"
    device(tmp_path, "0000:01:00.0", "0x10de", "0x2901")
    assert gpu.nvlink_managers() == 1


@pytest.mark.parametrize("name", ["gpu1", "gpu1.example.com", "a", "n" * 52])
def test_a_node_is_named_in_its_certificate(name: str) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" + certificate(f"system:node:{name}", "ca")
    assert cluster.node_of(pem) == name


@pytest.mark.parametrize(
    "pem", ["", "x", "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----", certificate("a", "b")]
)
def test_no_node_is_named_elsewhere(pem: str) -> None:
    assert cluster.node_of(pem) is None


@pytest.mark.parametrize(
    ("etc", "resolved", "loop", "path"),
    [
        ("nameserver 127.0.0.53\n", None, True, False),
        ("nameserver 127.0.0.53\n", "nameserver 192.0.2.1\n", True, True),
        ("nameserver 127.0.0.53\n", "# nothing\n", True, False),
        ("nameserver ::1\n", "nameserver 127.0.0.1\n", True, False),
        ("nameserver 192.0.2.1\nnameserver 127.0.0.1\n", None, True, False),
        ("# nameserver 127.0.0.1\nnameserver 192.0.2.1\n", None, False, False),
        ("nameserver 2001:db8::1\n", None, False, False),
    ],
)
def test_a_resolver_file_for_pods_is_one_that_is_there_and_names_others(
    etc: str, resolved: str | None, loop: bool, path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"/etc/resolv.conf": etc, network.UPSTREAM[0]: resolved}
    monkeypatch.setattr(network, "read_text", files.get)
    assert network.resolv_loop() is loop
    assert network.resolv_conf() == (network.UPSTREAM[0] if path else None)


def test_disks_of_the_machine_are_those_that_data_can_be_on() -> None:
    mounts = system.parse_mountinfo(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "23 1 8:2 / /data rw - xfs /dev/sdb1 rw\n"
        "24 1 0:5 / /mnt/share rw - nfs4 192.0.2.1:/x rw\n"
        "25 1 0:6 / /run/containerd/io.x/rootfs rw - overlay overlay rw\n"
        "26 1 0:7 / /var/lib/kubelet/pods/a/volumes/b rw - tmpfs tmpfs rw\n"
    )
    assert system.disks(mounts) == ["/", "/data"]


def test_a_container_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.os.path, "exists", lambda _path: False)
    for environ, expected in (("HOME=/\0container=lxc\0", True), ("container=\0A=b", False), (None, False)):
        monkeypatch.setattr(system, "read_text", lambda _path, text=environ: text)
        assert system.is_container() is expected
