"""What a job consists of under each launcher: tests/golden/jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.cli.main import main
from bootstrap.errors import GpuctlError
from bootstrap.jobs.render import render
from bootstrap.jobs.spec import MOST_NODES, NAME_LENGTH, JobSpec, Launcher

GOLDEN = Path(__file__).parents[2] / "golden" / "jobs"
IMAGE = "docker.io/pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime"


def spec(launcher: Launcher = Launcher.JOB, **changes: Any) -> JobSpec:
    return JobSpec(
        **{"name": "train", "launcher": launcher, "image": IMAGE, "command": ("torchrun", "t.py"), **changes}
    )


@pytest.mark.parametrize("launcher", list(Launcher))
def test_manifests_are_what_they_were(
    golden: Callable[[Path, str], None], capsys: pytest.CaptureFixture[str], tmp_path: Path, launcher: Launcher
) -> None:
    script = tmp_path / "train.py"
    script.write_text("import torch\nprint('{{not a template}}')\n")
    size = ("--nodes", "3", "--gpus", "8", "--cpu", "16", "--memory", "64Gi", "--claim", "nfs-kubedata:/cache")
    more = ("--env", "NCCL_DEBUG=WARN", "--file", str(script), "--image", IMAGE)
    assert main(["job", "render", "--launcher", launcher, *size, *more, "--", "torchrun", "/opt/gpuctl/train.py"]) == 0
    golden(GOLDEN / f"{launcher}.yml", capsys.readouterr().out)


@pytest.mark.parametrize("launcher", list(Launcher))
def test_one_node_has_no_workers(launcher: Launcher) -> None:
    text = yaml.safe_dump_all(render(spec(launcher, nodes=1, gpus=0)))
    assert "orker" not in text.replace("--worker=worker", "")
    assert "nvidia" not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Train"}, "name 'Train'"),
        ({"name": "t" * (NAME_LENGTH + 1)}, "name 't"),
        ({"name": "9t"}, "name '9t'"),
        ({"nodes": 0}, "0 nodes"),
        ({"nodes": MOST_NODES + 1}, "1001 nodes"),
        ({"gpus": -1}, "-1 GPUs"),
        ({"image": "two words"}, "image 'two words'"),
        ({"command": ()}, "without a command"),
        ({"memory": "64 GB"}, "memory '64 GB'"),
        ({"claim": "data", "mount_path": "cache"}, "mount path 'cache'"),
        ({"claim": "Bad_Name!"}, "claim 'Bad_Name!'"),
        ({"queue": "A b/../c", "launcher": Launcher.VOLCANO}, "queue 'A b/../c'"),
        ({"queue": "", "launcher": Launcher.VOLCANO}, "queue ''"),
        ({"queue": "q" * 254, "launcher": Launcher.VOLCANO}, "queue 'q"),
        ({"queue": "gpus"}, "queue 'gpus' with the launcher job"),
        ({"queue": "gpus", "launcher": Launcher.JOBSET}, "queue 'gpus' with the launcher jobset"),
        ({"runtime_class": "../nodes"}, "runtime class '../nodes'"),
        ({"namespace": "-team"}, "namespace '-team'"),
        ({"namespace": "team.a"}, "namespace 'team.a'"),
        ({"environment": {"A-B": "1"}}, "variable 'A-B'"),
        ({"files": {"../x": ""}}, "file '../x'"),
    ],
)
def test_what_nobody_could_run_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(GpuctlError) as caught:
        spec(**changes)
    (problem,) = caught.value.problems
    assert problem.code == "job-invalid"
    assert words in problem.message
    assert problem.fix


@pytest.mark.parametrize(
    "changes",
    [
        {"namespace": "1team"},
        {"namespace": "9"},
        {"claim": "nfs.data-1"},
        {"queue": "team.a-1", "launcher": Launcher.PYTORCHJOB},
        {"runtime_class": ""},
        {"runtime_class": "nvidia-cdi"},
    ],
)
def test_names_that_kubernetes_takes_are_taken(changes: dict[str, Any]) -> None:
    assert render(spec(**changes))


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(GpuctlError) as caught:
        spec(name="A", nodes=0, image="")
    assert len(caught.value.problems) == 3


@given(
    st.sampled_from(list(Launcher)),
    st.text("abc-0", min_size=1, max_size=60),
    st.integers(-1, MOST_NODES + 1),
    st.integers(-1, 70),
)
def test_pods_are_as_many_as_nodes(launcher: Launcher, name: str, nodes: int, gpus: int) -> None:
    try:
        made = render(spec(launcher, name=name, nodes=nodes, gpus=gpus))[-1]["spec"]
    except GpuctlError:
        return
    if launcher is Launcher.VOLCANO:
        assert made["minAvailable"] == nodes == sum(task["replicas"] for task in made["tasks"])
    elif launcher is Launcher.PYTORCHJOB:
        assert nodes == sum(replica["replicas"] for replica in made["pytorchReplicaSpecs"].values())
    else:
        job = made if launcher is Launcher.JOB else made["replicatedJobs"][0]["template"]["spec"]
        assert job["completions"] == job["parallelism"] == nodes
    longest = {"pytorchjob": f"{name}-worker-{nodes}", "jobset": f"{name}-node-0-{nodes}"}
    assert len(longest.get(launcher, name)) <= 63


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--env", "=1"), "--env =1: no variable"),
        (("--env", "NOT_SET_HERE"), "--env NOT_SET_HERE: gpuctl itself has no such variable"),
        (("--claim", ":/data"), "--claim :/data: not NAME or NAME:PATH"),
        (("--claim", "data:"), "--claim data:: not NAME or NAME:PATH"),
        (("--claim", "Bad_Name!"), "claim 'Bad_Name!': this cannot be run"),
        (("--file", "/nowhere.py"), "--file /nowhere.py: No such file"),
        (("--nodes", "0"), "invalid value for '--nodes'"),
        (("--name", "T"), "name 'T': this cannot be run"),
    ],
)
def test_bad_options_are_told(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    assert main(["job", "render", "--image", IMAGE, *words, "--", "true"]) == 2
    assert said in capsys.readouterr().err


def test_a_variable_without_a_value_has_gpuctls_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "a=b")
    monkeypatch.setenv("EMPTY", "")
    words = ("--env", "HF_TOKEN", "--env", "EMPTY", "--env", "A=1")
    assert main(["job", "render", "--image", IMAGE, *words, "--", "true"]) == 0
    job = [*yaml.safe_load_all(capsys.readouterr().out)][-1]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    found = {each["name"]: each.get("value") for each in container["env"]}
    assert (found["HF_TOKEN"], found["EMPTY"], found["A"]) == ("a=b", "", "1")


def test_files_that_cannot_be_sent_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name, data in (("big", b"x" * 900_001), ("raw", b"\xff\xfe"), ("a/big", b"")):
        (tmp_path / name).write_bytes(data)
    for files, said in (
        (("big",), "more than 900 kB"),
        (("raw",), "it is no text"),
        (("a/big", "big"), "two of that name"),
    ):
        words = [word for name in files for word in ("--file", str(tmp_path / name))]
        assert main(["job", "render", "--image", IMAGE, *words, "--", "true"]) == 2
        assert said in capsys.readouterr().err
