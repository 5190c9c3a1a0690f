"""Swap lines of fstab, and sysctls."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.hostside import gpuctl_kernelops as kernel
from bootstrap.hostside.gpuctl_hostio import HostError, Ran

LINE = st.sampled_from(
    ["", "# UUID=1 none swap sw 0 0", "UUID=1 / ext4 defaults 0 1", "UUID=2 none swap sw 0 0", "/swap\tnone\tswap\tsw"]
)


@given(st.lists(LINE, max_size=8))
def test_swap_lines_go_and_come_back(lines: list[str]) -> None:
    text = "\n".join(lines)
    off = kernel.without_swap(text)
    assert kernel.fstab_swap_lines(off) == []
    assert kernel.without_swap(off) == off
    assert kernel.with_swap(off) == text
    assert len(off.split("\n")) == len(text.split("\n"))


def test_swap_is_switched_off_for_good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fstab, swaps = tmp_path / "fstab", tmp_path / "swaps"
    asked: list[list[str]] = []
    fstab.write_text("UUID=1 / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n")
    swaps.write_text("Filename Type Size Used Priority\n/swapfile file 1024 0 -2\n")
    monkeypatch.setattr(kernel, "FSTAB", str(fstab))
    monkeypatch.setattr(kernel, "SWAPS", str(swaps))
    monkeypatch.setattr(kernel, "swap_units", lambda: ["dev-zram0.swap"])

    def run(argv: list[str], *_: float) -> Ran:
        asked.append(argv)
        return Ran(0, "", "")

    monkeypatch.setattr(kernel, "run", run)
    assert kernel.swap_off(check=True).changed
    assert asked == []
    change = kernel.swap_off(check=False)
    assert (change.devices, change.masked) == (["/swapfile"], ["dev-zram0.swap"])
    assert ["swapoff", "/swapfile"] in asked
    assert ["systemctl", "mask", "--now", "--", "dev-zram0.swap"] in asked
    assert kernel.fstab_swap_lines(fstab.read_text()) == []


def test_a_swap_that_stays_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kernel, "FSTAB", str(tmp_path / "none"))
    monkeypatch.setattr(kernel, "active_swaps", lambda: ["/dev/sda2"])
    monkeypatch.setattr(kernel, "swap_units", list)
    monkeypatch.setattr(kernel, "run", lambda *_: Ran(255, "", "Cannot allocate memory"))
    with pytest.raises(HostError) as caught:
        kernel.swap_off(check=False)
    assert caught.value.code == "swap-on"


def test_sysctls_are_read_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kernel, "sysctl_path", lambda key: str(tmp_path / key))
    (tmp_path / "a").write_text("1\t2  3\n")
    assert kernel.sysctl_get("a") == "1 2 3"
    assert kernel.sysctl_set("a", "5")
    assert kernel.sysctl_get("a") == "5"
    assert kernel.sysctl_get("absent") is None
    assert not kernel.sysctl_set("absent/deeper", "1")


ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@given(st.lists(st.tuples(LINE, ENDS), max_size=8))
def test_every_line_ending_stays(lines: list[tuple[str, str]]) -> None:
    text = "".join(line + end for line, end in lines)
    off = kernel.without_swap(text)
    assert kernel.fstab_swap_lines(off) == []
    assert kernel.with_swap(off) == text
    assert len(kernel.fstab_swap_lines(text)) == sum(
        "swap sw" in line.replace("\t", " ") and line[0] != "#" for line, _ in lines
    )


def test_a_table_of_another_system_loses_its_swap_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fstab, before = tmp_path / "fstab", b"# d\xe9j\xe0\r\n/swapfile none swap sw 0 0\r\nUUID=1 / ext4 defaults 0 1\r\n"
    fstab.write_bytes(before)
    monkeypatch.setattr(kernel, "FSTAB", str(fstab))
    monkeypatch.setattr(kernel, "SWAPS", str(tmp_path / "none"))
    monkeypatch.setattr(kernel, "swap_units", list)
    monkeypatch.setattr(kernel, "run", lambda *_: Ran(0, "", ""))
    assert kernel.swap_off(check=False).changed
    assert fstab.read_bytes() == before.replace(b"/swapfile", kernel.SWAP_MARK.encode() + b"/swapfile")
    assert not kernel.swap_off(check=False).changed
    assert kernel.swap_restore([])
    assert fstab.read_bytes() == before


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("vm.swappiness", "vm/swappiness"),
        ("kernel/pid_max", "kernel/pid_max"),
    ],
)
def test_a_sysctl_is_where_sysctl_d_says(key: str, path: str) -> None:
    assert kernel.sysctl_path(key) == f"/proc/sys/{path}"


def test_every_maker_of_swap_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "--type=swap": "dev-zram0.swap loaded active active\n",
        "list-unit-files": "dphys-swapfile.service enabled enabled\nzram-config.service generated -\n"
        "swapspace.service masked enabled\nzramswap.service disabled enabled\n",
        "systemd-zram-setup@*.service": "systemd-zram-setup@zram1.service loaded active exited Create swap\n",
        "show": "SourcePath=\nLoadState=loaded\n",
    }

    def run(argv: list[str], *_: float) -> Ran:
        return Ran(0, next((said for word, said in answers.items() if word in argv), ""), "")

    monkeypatch.setattr(kernel, "run", run)
    assert kernel.swap_units() == [
        "dev-zram0.swap",
        "dphys-swapfile.service",
        "zram-config.service",
        "systemd-zram-setup@zram1.service",
    ]
    known = {"dphys-swapfile", "armbian-zram-config", "zram-config", "swapspace", "zramswap"}
    assert known <= {name.partition(".")[0] for name in kernel.SWAP_MAKERS}
