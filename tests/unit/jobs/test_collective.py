"""The all-reduce that pods of a job make: processes of their own on this machine, as many as there are ranks."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bootstrap.jobs.payload as payload
from bootstrap.jobs.payload.ranks import DEFAULT_PORT, place_of

PROGRAM = Path(payload.__file__).with_name("collective.py")
PET = {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "train-0.train", "PET_MASTER_PORT": "29500"}
VOLCANO = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "train-master-0.train", "MASTER_PORT": "23456"}


def free_port() -> int:
    """Of those that no system gives away by itself: such a port may have a new owner the next moment."""
    while True:
        port = 20000 + secrets.randbelow(12000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def start(rank: int, pods: int, port: int, *arguments: str, **changes: str) -> subprocess.Popen[str]:
    named = {"PET_NNODES": pods, "PET_NODE_RANK": rank, "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port}
    environment = {**os.environ, **{name: str(value) for name, value in named.items()}, **changes}
    command = [sys.executable, "-I", str(PROGRAM), "--bytes", "65536", "--timeout", "20", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def report(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=60)
    found: dict[str, Any] = json.loads(out)
    assert bool(found["error"]) == bool(process.returncode)
    return found


@pytest.mark.parametrize("pods", [1, 2, 3])
def test_all_ranks_have_the_right_sum(pods: int) -> None:
    port = free_port()
    reports = [report(process) for process in [start(rank, pods, port) for rank in range(pods)]]
    assert [(found["rank"], found["sum_right"], found["error"]) for found in reports] == [
        (rank, True, "") for rank in range(pods)
    ]
    assert all((found["bytes_per_s"] or 0) > 0 for found in reports) == (pods > 1)


def test_a_rank_that_does_not_come_is_named() -> None:
    port = free_port()
    some = [start(rank, 4, port, "--timeout", "1.5") for rank in (0, 2)]
    first, second = (report(process) for process in some)
    assert (first["code"], first["error"]) == (
        "collective-rank-missing",
        f"rank 0 waited at port {port}: no call from rank 1, 3",
    )
    assert second["error"] in {"rank 0 ended in the middle", "rank 0 says nothing any more"}  # whose time is up first


def test_a_first_rank_that_is_not_there_is_named() -> None:
    port = free_port()
    found = report(start(1, 2, port, "--timeout", "1"))
    assert found["code"] == "collective-rank-missing"
    assert found["error"].startswith(f"rank 0 does not answer at 127.0.0.1 port {port}: ")


def test_a_stranger_at_the_door_is_sent_away() -> None:
    port = free_port()
    first = start(0, 2, port)
    for words in (b"GET / HTTP/1.1\r\n\r\n", b""):
        for _ in range(200):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
                    stranger.sendall(words)
                break
            except ConnectionRefusedError:
                assert first.poll() is None
    assert report(start(1, 2, port))["sum_right"]
    assert report(first)["sum_right"]


def test_variables_that_make_no_sense_are_told() -> None:
    found = report(start(0, 2, free_port(), PET_NODE_RANK="two"))
    assert found["error"] == "PET_NODE_RANK='two' is no number"


@pytest.mark.parametrize(
    ("environment", "rank", "pods", "address", "port"),
    [
        (PET, 1, 2, "train-0.train", 29500),
        (VOLCANO, 1, 2, "train-master-0.train", 23456),
        # The training operator: WORLD_SIZE counts processes there, and PET_* are beside it.
        ({**VOLCANO, **PET, "WORLD_SIZE": "16"}, 1, 2, "train-0.train", 29500),
        ({}, 0, 1, "127.0.0.1", DEFAULT_PORT),
    ],
)
def test_the_place_of_each_launcher(
    environment: Mapping[str, str], rank: int, pods: int, address: str, port: int
) -> None:
    assert place_of(environment)[:4] == (rank, pods, address, port)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PET_NNODES": "2"}, "has PET_NNODES and lacks PET_NODE_RANK, PET_MASTER_ADDR"),
        ({**PET, "PET_NODE_RANK": "2"}, "PET_NODE_RANK=2 is not below PET_NNODES=2"),
        ({**VOLCANO, "WORLD_SIZE": "many"}, "WORLD_SIZE='many' is no number"),
    ],
)
def test_a_place_that_cannot_be_is_refused(environment: Mapping[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        place_of(environment)


@given(st.dictionaries(st.sampled_from(sorted({*PET, *VOLCANO})), st.text(max_size=5)))
def test_any_environment_has_a_place_or_an_error(environment: Mapping[str, str]) -> None:
    try:
        found = place_of(environment)
    except ValueError:
        return
    assert 0 <= found.rank < found.pods


def test_an_image_without_pytorch_is_named() -> None:
    """What stands in pods of `verify-gpus --collective-image`; there is no PyTorch here."""
    command = [sys.executable, "-I", str(PROGRAM.with_name("torch_collective.py"))]
    environment = {**os.environ, **PET}
    found = report(
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    )
    assert (found["rank"], found["pods"], found["code"]) == (1, 2, "collective-failed")
    assert (found["error"], found["fix"]) == ("the image has no torch", "name an image with PyTorch in it")


def with_torch(folder: Path, body: str, *arguments: str, gpus: int = 2, usable: str = "") -> dict[str, Any]:
    """The report of a pod whose PyTorch is a stand-in: `body` is what a process does in place of joining the others."""
    package = folder / "torch"
    package.mkdir()
    cuda = f"cuda = types.SimpleNamespace(device_count=lambda: {gpus}, is_available=lambda: False)"
    (package / "__init__.py").write_text(f"import types\n{usable}\n{cuda}\ndevice = str\n")
    lines = "".join(f"    {line}\n" for line in ("local = os.environ['GPUCTL_LOCAL']", *body.splitlines()))
    (package / "distributed.py").write_text(f"import os, sys, time\ndef init_process_group(*_, **told):\n{lines}")
    command = [sys.executable, str(PROGRAM.with_name("torch_collective.py")), *arguments]
    environment = {**os.environ, **PET, "PYTHONPATH": str(folder)}
    return report(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("os.kill(os.getpid(), 9)", "process 1 was ended by signal 9"),
        ("sys.stderr.write('NCCL timed out\\n\\n'); os.abort()", "process 1 was ended by signal 6: NCCL timed out"),
        ("sys.exit('no route to host')", "process 1: no route to host"),
        ("os._exit(3)", "process 1: it said nothing"),
        # A reader that is not there must not hold it up.
        ("sys.stderr.write('NCCL INFO\\n' * 100000); sys.exit('at last')", "process 1: at last"),
        ("print('NCCL INFO\\n' * 100000, flush=True); sys.exit('at last')", "process 1: at last"),
    ],
)
def test_a_process_of_pytorch_that_ends_is_named(tmp_path: Path, end: str, words: str) -> None:
    """The others would wait for it."""
    found = with_torch(tmp_path, f"if local == '1':\n    {end}\ntime.sleep(60)", "--timeout", "20")
    assert (found["code"], found["error"]) == ("collective-failed", words)


def test_processes_that_do_not_end_are_named_with_what_they_said_last(tmp_path: Path) -> None:
    body = "sys.stderr.write(f'hello\\nrank {local} waits for eth1\\n')\nsys.stderr.flush()\ntime.sleep(60)"
    found = with_torch(tmp_path, body, "--timeout", "2")
    assert found["error"] == "no end within 2 s; process 0 said last: rank 0 waits for eth1"


def test_pytorch_gives_up_before_its_pod_does(tmp_path: Path) -> None:
    found = with_torch(tmp_path, "sys.exit(f\"{told['timeout'].total_seconds():g}\")", "--timeout", "10", gpus=1)
    assert found["error"] == "process 0: 9"


def test_pytorch_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    found = with_torch(tmp_path, "pass", usable="raise ImportError('libcudart.so.12: cannot open')")
    assert (found["error"], found["fix"]) == (
        "the image's torch cannot be used: libcudart.so.12: cannot open",
        "name an image with PyTorch in it",
    )


def test_an_answer_that_is_none_is_told(tmp_path: Path) -> None:
    found = with_torch(tmp_path, "print('no JSON', flush=True); os._exit(0)")
    assert found["error"] == "process 0 ended without a report: no JSON"


def test_lines_of_nccl_are_no_report(tmp_path: Path) -> None:
    """It speaks on standard output, too, and has the last word."""
    body = "print(json.dumps({'sum_right': local == '0', 'transport': 'nccl'}))\nprint('NCCL INFO {}\\n[]', flush=True)"
    found = with_torch(tmp_path, f"import json\n{body}\nos._exit(0)")
    assert (found["transport"], found["gpus"], found["code"]) == ("nccl", 2, "collective-sum-wrong")
