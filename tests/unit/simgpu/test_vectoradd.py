from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootstrap.testvm.simgpu import hardware
from bootstrap.verify.payload import vectoradd

from .conftest import PROC_TEXT, Host, in_child

COUNT = 1000
"""Elements for tests that only ask whether an error is found; a partial last block, as in the real run."""


def outcome(host: Host, ptx: str, count: int = COUNT) -> tuple[str | None, str | None]:
    """(code, error) of the first device."""
    document = vectoradd.run(host.cuda, 20.0, ptx, count)
    device = document["devices"][0]
    return device["code"], device["error"]


@pytest.mark.parametrize("model", ["a100", "h100", "t4"])
def test_every_gpu_computes(make_host: Callable[[str, int], Host], model: str) -> None:
    host = make_host(model, 8)
    document = vectoradd.run(host.cuda)
    assert document["ok"], document
    assert document["code"] is None
    assert document["cuda_driver"] == 13000
    assert [device["uuid"] for device in document["devices"]] == [gpu.uuid for gpu in hardware.gpus(host.files)]
    assert all(device["ok"] and device["elements"] > 1 << 16 for device in document["devices"])


def test_only_the_gpus_of_the_pod(host: Host) -> None:
    host.give(1)
    document = vectoradd.run(host.cuda, count=COUNT)
    assert [device["uuid"] for device in document["devices"]] == [hardware.gpus(host.files)[1].uuid]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("add.f32 %f3, %f1, %f2", "sub.f32 %f3, %f1, %f2"),
        ("add.f32 %f3, %f1, %f2", "mul.f32 %f3, %f1, %f2"),
        ("add.f32 %f3, %f1, %f2", "add.f32 %f3, %f1, %f1"),
        ("add.f32 %f3, %f1, %f2", "mov.f32 %f3, %f1"),
        ("[%rd8]", "[%rd8+4]"),
        ("[%rd9]", "[%rd10]"),
        ("[param_count]", "[param_count];\n mov.u32 %r1, 999"),
        ("setp.ge.u32", "setp.gt.u32"),
        ("setp.ge.u32", "setp.le.u32"),
        ("setp.ge.u32 %p1, %r5, %r1", "setp.ge.u32 %p1, %r5, 2000"),
        ("mov.u32 %r2, %ctaid.x", "mov.u32 %r2, %ctaid.y"),
        ("mul.wide.u32 %rd7, %r5, 4", "mul.wide.u32 %rd7, %r5, 0"),
        ("mad.lo.s32 %r5, %r2, %r3, %r4", "mad.lo.s32 %r5, %r2, %r3, 0"),
    ],
)
def test_a_mutated_kernel_computes_wrong(host: Host, right: str, wrong: str) -> None:
    assert vectoradd.PTX.count(right) == 1
    assert outcome(host, vectoradd.PTX.replace(right, wrong))[0] == "compute-wrong"


@pytest.mark.parametrize(
    "line", [line for line in vectoradd.PTX.splitlines() if re.match(r"    (@|[a-z].*%)", line)], ids=str.strip
)
def test_a_kernel_that_lacks_an_instruction_is_found_out(host: Host, line: str) -> None:
    assert outcome(host, vectoradd.PTX.replace(line, ""))[0] in {"compute-wrong", "compute-failed"}


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("add.f32 %f3", "add.f33 %f3", "add.f33"),
        ("add.f32 %f3, %f1, %f2", "add.f32 %f3, %f1", "expected ','"),
        ("add.f32 %f3, %f1, %f2", "ex2.approx.f32 %f3, %f1", "ex2.approx.f32"),
        ("add.f32 %f3, %f1, %f2", "add.f64 %f3, %f1, %f2", "type of '%f3'"),
        ("add.s64 %rd8", "add.s64 %f1", "type of '%f1'"),
        ("%ctaid.x", "%ctaid.w", "unknown symbol"),
        ("bra DONE", "bra GONE", "unknown label"),
        ("[param_a]", "[param_x]", "unknown parameter"),
        (".reg .f32 %f<4>;", "", "unknown symbol '%f1'"),
        (".target sm_50", ".target sm_99", "higher than this device"),
        (".address_size 64", ".address_size 32", "address_size"),
        ("ret;\n}", "ret;\n", "end of input"),
        ("ret;", "bar.sync 0; ret;", "bar.sync"),
    ],
)
def test_what_is_no_valid_kernel_is_refused(host: Host, right: str, wrong: str, said: str) -> None:
    assert right in vectoradd.PTX
    code, error = outcome(host, vectoradd.PTX.replace(right, wrong))
    assert code == "compute-failed"
    assert error is not None
    assert "CUDA_ERROR_INVALID_PTX" in error
    assert said in error


@pytest.mark.parametrize(
    ("right", "wrong", "name"),
    [
        ("[%rd10]", "[%rd7]", "CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("[%rd8]", "[%rd8+8388608]", "CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("[%rd8]", "[%rd8+2]", "CUDA_ERROR_MISALIGNED_ADDRESS"),
        ("DONE:\n", "DONE:\n    bra DONE;\n", "CUDA_ERROR_LAUNCH_TIMEOUT"),
    ],
)
def test_what_goes_wrong_while_running_has_cudas_name(host: Host, right: str, wrong: str, name: str) -> None:
    code, error = outcome(host, vectoradd.PTX.replace(right, wrong), count=10)
    assert (code, error) == ("compute-failed", f"cuCtxSynchronize: {name}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_text_never_crashes(host: Host, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(vectoradd.PTX) - 1))
    junk = data.draw(st.text("%[]@;,.{}<>/*-+:_ abdfrs0123456789\n", max_size=6))
    cut = data.draw(st.integers(0, 3))
    damaged = vectoradd.PTX[:place] + junk + vectoradd.PTX[place + cut :]
    document = in_child(lambda: vectoradd.compute_document(0, host.cuda, damaged, 300))
    assert "the process that used the driver ended" not in (document["error"] or ""), "the double crashed"


@pytest.mark.parametrize(
    ("fault", "code", "name"),
    [
        ("wrong-result", "compute-wrong", "1 of"),
        ("ecc", "compute-failed", "CUDA_ERROR_ECC_UNCORRECTABLE"),
        ("lost", "compute-failed", "CUDA_ERROR_UNKNOWN"),
    ],
)
def test_a_faulty_gpu_does_not_hide_the_good_one(host: Host, fault: str, code: str, name: str) -> None:
    hardware.set_fault(host.files, 0, fault)
    document = vectoradd.run(host.cuda)
    bad, good = document["devices"]
    assert (document["ok"], bad["ok"], bad["code"], good["ok"]) == (False, False, code, True)
    assert name in bad["error"]
    assert bad["uuid"] == hardware.gpus(host.files)[0].uuid


def test_a_hung_gpu_costs_its_deadline_only(host: Host) -> None:
    hardware.set_fault(host.files, 1, "hang")
    start = time.monotonic()
    document = vectoradd.run(host.cuda, deadline_s=1.5, count=COUNT)
    assert time.monotonic() - start < 5
    assert [(device["ok"], device["code"]) for device in document["devices"]] == [
        (True, None),
        (False, "compute-failed"),
    ]
    assert "deadline" in document["devices"][1]["error"]


@pytest.mark.parametrize(
    ("fault", "name"),
    [("fabric", "CUDA_ERROR_SYSTEM_NOT_READY"), ("version-mismatch", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH")],
)
def test_a_fault_of_the_host_is_told_once(host: Host, fault: str, name: str) -> None:
    hardware.set_fault(host.files, 0, fault)
    document = vectoradd.run(host.cuda)
    assert (document["ok"], document["code"], document["devices"]) == (False, "compute-failed", [])
    assert name in document["error"]


def test_no_device_in_pod(host: Host, tmp_path: Path) -> None:
    host.give()
    assert vectoradd.run(host.cuda)["code"] == "no-device-in-pod"
    missing = vectoradd.run(str(tmp_path / "libcuda.so.1"))
    assert missing["code"] == "no-device-in-pod"
    assert "cannot be loaded" in missing["error"]
    host.give(0)
    host.load_module(PROC_TEXT.replace("580.178.04", "580.150.02"))
    assert "SYSTEM_DRIVER_MISMATCH" in vectoradd.run(host.cuda)["error"]


def test_operands_are_exact_and_no_shortcut_gives_the_sum() -> None:
    a, b, wanted = vectoradd.operands(vectoradd.ELEMENTS)
    assert all(x + y == z for x, y, z in zip(a, b, wanted, strict=True))
    assert len(set(wanted)) > vectoradd.ELEMENTS // 2
    for other in (a, b, [x - y for x, y in zip(a, b, strict=True)], [x * y for x, y in zip(a, b, strict=True)]):
        assert all(x != y for x, y in zip(other, wanted, strict=True))


def command(host: Host, *arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, vectoradd.__file__, "--library", host.cuda, *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_command_holds_until_the_barrier_falls(host: Host, tmp_path: Path) -> None:
    barrier = tmp_path / "go"
    with command(host, "--hold", "30", "--barrier-file", str(barrier)) as process:
        assert process.stdout is not None
        document = json.loads(process.stdout.readline())
        assert document["ok"]
        assert process.poll() is None, "it holds its GPUs after the answer"
        barrier.touch()
        assert process.wait(timeout=10) == 0


def test_command_ends_with_1_when_something_is_wrong(host: Host) -> None:
    hardware.set_fault(host.files, 1, "wrong-result")
    with command(host) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert [device["code"] for device in json.loads(output)["devices"]] == [None, "compute-wrong"]


def test_the_payload_runs_on_python_3_8_with_nothing_installed() -> None:
    tree = ast.parse(Path(vectoradd.__file__).read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
