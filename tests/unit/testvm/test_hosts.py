"""Names, files, keys, certificates and processes of test hosts."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import GpuctlError
from bootstrap.exit_codes import ExitCode
from bootstrap.testvm import certificates, lab, names, procs, requirements, rootfs, seed, ssh, supervisor
from bootstrap.testvm.apt_sources import Sources
from bootstrap.testvm.names import LabPaths
from bootstrap.testvm.state import HostRecord

HOST = HostRecord("gpu1", "10.206.55.12", 8, "a100")


@given(st.from_regex(names.NAME_PATTERN, fullmatch=True))
def test_a_name_fits_a_link_name(name: str) -> None:
    assert names.check_name(name) == name
    assert len(names.lab_object(name)) <= 15  # IFNAMSIZ less the final zero
    # No lab's prefix is the beginning of another lab's names.
    assert not names.machine("other", "cp1").startswith(names.lab_object(name) + "-") or name == "other"


@given(st.text(max_size=12).filter(lambda text: not names.NAME_PATTERN.fullmatch(text)))
def test_any_other_text_is_refused(name: str) -> None:
    with pytest.raises(GpuctlError) as refused:
        names.check_name(name)
    assert refused.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("name", ["", "Lab", "lab_1", "a-b", "ninechars", "lab\n", "..", "lab/x"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(GpuctlError):
        names.check_name(name)


def test_relative_xdg_directories_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert names.labs_root() == Path.home() / ".local/state/gpuctl/labs"
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    assert names.labs_root() == Path("/srv/state/gpuctl/labs")


@pytest.mark.parametrize(
    "arguments",
    [
        {"hosts": 0},
        {"hosts": 101},
        {"gpus": -1},
        {"gpus": 17},
        {"gpu_model": "rtx"},
        {"components": "x"},
        {"name": "A"},
    ],
)
def test_wrong_arguments_are_a_usage_error(arguments: dict[str, str]) -> None:
    with pytest.raises(GpuctlError) as refused:
        lab.up(**arguments)  # type: ignore[arg-type]
    assert refused.value.exit_code is ExitCode.USAGE


def facts(tmp_path: Path, *, cgroup_v1: bool = True, binds: tuple[seed.HostBind, ...] = ()) -> seed.SeedFacts:
    ssh.make_key(tmp_path / "hostkey", "gpu1")
    return seed.SeedFacts(
        lab="lab", host=HOST, neighbours=(HostRecord("cp1", "10.206.55.11", 0, "none"), HOST), gateway="10.206.55.1",
        resolvers=("192.0.2.53",), authorized_key="ssh-ed25519 AAAA lab\n", host_key=tmp_path / "hostkey", mtu=1460,
        cgroup_v1=cgroup_v1, kernel_binds=binds,
    )  # fmt: skip


def test_the_seed_of_a_host(tmp_path: Path) -> None:
    root = tmp_path / "seed"
    seed.lay(root, facts(tmp_path))
    assert "10.206.55.11 cp1\n10.206.55.12 gpu1\n" in (root / "etc/hosts").read_text()
    assert (
        "address 10.206.55.12/24\n  gateway 10.206.55.1\n  mtu 1460\n" in (root / "etc/network/interfaces").read_text()
    )
    assert json.loads((root / "etc/gpuctl-lab.json").read_text()) == {"name": "lab", "host": "gpu1"}
    assert (root / "etc/ssh/ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    assert (root / "root/.ssh").stat().st_mode & 0o777 == 0o700
    assert os.access(root / "usr/local/lib/gpuctl-lab/mounts", os.X_OK)
    assert (root / "etc/systemd/system/sysinit.target.wants/gpuctl-lab-mounts.service").is_symlink()
    first = (root / "etc/machine-id").read_text()
    seed.lay(root, facts(tmp_path))  # again is fine
    assert len(first.strip()) == 32


def test_the_first_unit_of_a_host_is_a_valid_script(tmp_path: Path) -> None:
    binds = (
        seed.HostBind(0, "/s/pci", "/sys/bus/pci/devices", read_only=True),
        seed.HostBind(1, "/s/p", "/proc/driver", read_only=False),
    )
    script = seed.files(facts(tmp_path, binds=binds))["usr/local/lib/gpuctl-lab/mounts"][0]
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert (
        "mount --bind /run/gpuctl-lab/binds/0 /sys/bus/pci/devices\nmount -o remount,bind,ro /sys/bus/pci/devices\n"
        in script
    )
    assert script.rstrip().endswith("mount --bind /run/gpuctl-lab/binds/1 /proc/driver")
    assert "cgroup" not in seed.files(facts(tmp_path, cgroup_v1=False))["usr/local/lib/gpuctl-lab/mounts"][0]


def test_binds_below_proc_and_sys_go_over_run() -> None:
    plain = seed.HostBind(2, "/s/gpus", "/opt/gpuctl-lab/gpus", read_only=True)
    kernel = seed.HostBind(0, "/s/pci", "/sys/bus/pci/devices", read_only=True)
    assert (plain.staged, plain.option) == (False, "--bind-ro=/s/gpus:/opt/gpuctl-lab/gpus")
    assert (kernel.staged, kernel.option) == (True, "--bind-ro=/s/pci:/run/gpuctl-lab/binds/0")


def test_keys_are_made_once_and_known(tmp_path: Path) -> None:
    paths = LabPaths("lab", tmp_path, tmp_path / "run")
    ssh.make_key(tmp_path / "k", "gpu1")
    before = (tmp_path / "k").read_text()
    ssh.make_key(tmp_path / "k", "gpu1")
    assert (tmp_path / "k").read_text() == before
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    ssh.write_known_hosts(paths, [HOST], lambda _name: tmp_path / "k.pub")
    kind, key, comment = (tmp_path / "k.pub").read_text().split()
    assert paths.known_hosts.read_text() == f"10.206.55.12 {kind} {key}\n"
    assert comment == "gpu1"


def test_host_keys_are_checked_also_where_a_path_has_blanks() -> None:
    argv = ssh.command(LabPaths("lab", Path("/a b"), Path("/run/x")), "10.0.0.1")
    assert argv[-1] == "root@10.0.0.1"
    assert "StrictHostKeyChecking=yes" in argv
    assert 'UserKnownHostsFile="/a b/known_hosts"' in argv
    joined = ssh.common_arguments(LabPaths("lab", Path("/a b"), Path("/run/x")))
    assert joined.startswith("-o 'UserKnownHostsFile=\"/a b/known_hosts\"' -o ")


def test_certificates_hold_for_one_address(tmp_path: Path) -> None:
    certificates.make(tmp_path / "m", "lab", "10.206.55.1")
    authority = x509.load_pem_x509_certificate((tmp_path / "m/ca.pem").read_bytes())
    server = x509.load_pem_x509_certificate((tmp_path / "m/server.pem").read_bytes())
    server.verify_directly_issued_by(authority)
    names_ = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names_.get_values_for_type(x509.IPAddress)] == ["10.206.55.1"]
    assert server.not_valid_before_utc < datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    assert (tmp_path / "m/server.key").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "m/ca.pem").read_bytes()
    certificates.make(tmp_path / "m", "lab", "10.206.55.1")
    assert (tmp_path / "m/ca.pem").read_bytes() == before
    (tmp_path / "m/complete").unlink()  # killed in the middle: made anew, both together
    certificates.make(tmp_path / "m", "lab", "10.206.55.1")
    assert (tmp_path / "m/ca.pem").read_bytes() != before


def test_only_a_proven_process_is_signalled() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "the-mark"]) as child:
        end = time.monotonic() + 10  # exec tells its parent before the new arguments can be read
        while not (found := procs.find(procs.has_arguments("the-mark"))) and time.monotonic() < end:
            time.sleep(0.01)
        assert found == (child.pid,)
        assert not procs.send(child.pid, procs.has_arguments("another-mark"), signal.SIGKILL)
        assert child.poll() is None
        assert procs.end_all(procs.has_arguments("another-mark")) == ()
        assert procs.send(child.pid, procs.has_arguments("the-mark"), signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert not procs.send(child.pid, lambda _pid: True, signal.SIGKILL)


def test_a_tool_that_fails_is_one_problem() -> None:
    with pytest.raises(GpuctlError) as failed:
        procs.run(["sh", "-c", "echo why >&2; exit 3"])
    assert failed.value.problems[0].details == "why"
    with pytest.raises(GpuctlError, match="is not installed"):
        procs.run(["no-such-tool-here"])
    with pytest.raises(GpuctlError, match="did not end within"):
        procs.run(["sleep", "5"], timeout=0.1)
    assert procs.run(["sh", "-c", "exit 3"], check=False) == ""


def test_the_file_system_of_a_path() -> None:
    text = (
        "24 1 254:0 / / rw - overlay overlay rw\n"
        "30 24 0:1 / /home rw - ext4 /dev/a rw\n"
        "31 30 0:2 / /home/x/nfs rw shared:1 - nfs4 s rw\n"
    )
    assert requirements.file_system(Path("/var/lib"), text) == "overlay"
    assert requirements.file_system(Path("/home/x"), text) == "ext4"
    assert requirements.file_system(Path("/home/x/nfs/y"), text) == "nfs4"
    assert requirements.file_system(Path("/homes"), text) == "overlay"
    assert requirements.file_system(Path("/x"), "") == "unknown"


def test_missing_tools_are_named_by_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(procs, "environment", lambda: {"PATH": str(tmp_path)})
    [problem] = [found for found in requirements.problems(tmp_path) if found.code == "tool-missing"]
    assert "systemd-container" in problem.fix
    assert problem.fix.startswith("apt-get install ")


def test_the_recipe_decides_the_place() -> None:
    one = rootfs.recipe(Sources("bookworm", "Types: deb\n", (), ""))
    same = rootfs.recipe(Sources("bookworm", "Types: deb\n", (), ""))
    other = rootfs.recipe(Sources("bookworm", "Types: deb\nURIs: x\n", (), ""))
    assert one.digest == same.digest != other.digest
    assert rootfs.recipe(Sources("", "", (), "")).suite == "bookworm"


def test_a_half_made_root_file_system_is_not_taken(tmp_path: Path) -> None:
    wanted = rootfs.recipe(Sources("bookworm", "", (), ""))
    (tmp_path / f"{wanted.digest}.part/root").mkdir(parents=True)
    assert rootfs.cached(tmp_path, wanted) is None
    (tmp_path / wanted.digest / "root").mkdir(parents=True)
    assert rootfs.cached(tmp_path, wanted) is None
    (tmp_path / wanted.digest / "complete.json").write_text("{}")
    assert rootfs.cached(tmp_path, wanted) == tmp_path / wanted.digest / "root"
    rootfs.clean_if_idle(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [wanted.digest]


def test_the_supervisor_starts_again_after_a_reboot_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_QUICK_S", 0.01)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    runs = tmp_path / "runs"
    script = f"echo x >> {runs}; [ $(wc -l < {runs}) -lt 3 ] && exit 133; exit 7"
    orders = {"nspawn": ["sh", "-c", script], "paths": {"status": str(tmp_path / "status.json")}}
    assert supervisor.keep(orders, []) == 7
    assert runs.read_text() == "x\n" * 3
    assert json.loads((tmp_path / "status.json").read_text())["boots"] == 3


def test_a_supervisor_without_orders_starts_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", supervisor.__file__, str(tmp_path / "gone.json"), str(tmp_path / "gone2.json")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "FileNotFoundError" in done.stderr
