"""`gpuctl launch queue` against the double of the W&B API, over loopback: exact output, and each refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.cli.main import main
from tests.doubles import wandb_api

PRESET = ("--preset", "job", "--gpus", "1,1,8", "--namespace", "jobs")


class Command:
    """The command, with the server and the key in the environment."""

    def __init__(self, server: wandb_api.Double, capsys: pytest.CaptureFixture[str]) -> None:
        self.server = server
        self._capsys = capsys

    def __call__(self, *arguments: str, expect: int = 0) -> str:
        code = main(["launch", "queue", *arguments])
        out, err = self._capsys.readouterr()
        assert code == expect, out + err
        return out + err


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    with wandb_api.running() as server:
        for name, value in {
            "WANDB_API_KEY": server.api_key,
            "WANDB_BASE_URL": server.url,
            "WANDB_ENTITY": server.entity,
            "XDG_STATE_HOME": str(tmp_path),
            "NETRC": str(tmp_path / "netrc"),
            "NO_COLOR": "1",
        }.items():
            monkeypatch.setenv(name, value)
        yield Command(server, capsys)


def test_a_queue_is_made_kept_and_changed(queue: Command) -> None:
    assert queue("list") == "entity lab has no queue\n"
    created = "queue lab/gpus created\nnext: once an agent takes jobs from it, gpuctl launch test -q gpus -e lab\n"
    assert queue("apply", "gpus", *PRESET) == created
    assert queue("apply", "gpus", *PRESET) == "queue lab/gpus unchanged\n"
    assert len(queue.server.log("UpsertRunQueue")) == 1
    changed = queue("apply", "gpus", *PRESET[:3], "2,1,4", *PRESET[4:], "--priorities", "on")
    assert changed == (
        "queue lab/gpus changed\n"
        "  template_variables.gpus.default: 1 → 2\n"
        "  template_variables.gpus.maximum: 8 → 4\n"
        "  priorities: off → on\n"
    )
    assert queue("list") == "1 queue of lab\n  queue   waiting   running\n  gpus          0         0\n"


def test_what_is_shown_can_be_applied_again(queue: Command, tmp_path: Path) -> None:
    queue("apply", "gpus", *PRESET, "--nfs-claim", "cache:/cache")
    shown = queue("show", "gpus")
    assert shown.startswith("# queue lab/gpus, resource kubernetes, priorities off\n")
    assert "${image_uri}" in shown
    (tmp_path / "again.yaml").write_text(shown)
    assert queue("apply", "gpus", str(tmp_path / "again.yaml")) == "queue lab/gpus unchanged\n"
    (tmp_path / "again.json").write_text(
        json.dumps(json.loads(queue("show", "gpus", "--output", "json"))["data"]["queue"])
    )
    assert "stands beside `kubernetes`" in queue("apply", "gpus", str(tmp_path / "again.json"), expect=3)


def test_a_dry_run_sends_nothing(queue: Command) -> None:
    said = queue("apply", "gpus", *PRESET, "--dry-run")
    assert said.startswith("queue lab/gpus would be created\n  kubernetes:\n    apiVersion: batch/v1\n")
    assert queue.server.log("UpsertRunQueue") == []
    document = json.loads(queue("apply", "gpus", *PRESET, "--dry-run", "--output", "json"))["data"]
    assert (document["outcome"], document["dry_run"]) == ("created", True)
    assert document["config"]["template_variables"]["gpus"]["maximum"] == 8


def test_a_queue_is_deleted_when_that_is_confirmed(queue: Command) -> None:
    queue("apply", "gpus", *PRESET)
    assert "There is no terminal to answer on" in queue("delete", "gpus", expect=2)
    assert queue("delete", "gpus", "--yes") == "queue lab/gpus deleted\n"
    assert "has no queue gpus (it has: none)   [launch-queue-unknown]" in queue("delete", "gpus", "--yes", expect=4)


def test_all_that_the_agent_would_refuse_is_in_one_report(queue: Command, tmp_path: Path) -> None:
    file = tmp_path / "q.yaml"
    file.write_text("spec:\n  hostNetwork: true\n  volumes:\n    - hostPath: {path: /data}\n  gpus: '{{gpus}}'\n")
    said = queue("apply", "gpus", str(file), expect=3)
    assert [line.split(": ")[1] for line in said.splitlines() if line.startswith("error:")] == [
        f"{file}:2",
        f"{file}:4",
        f"{file}:5",
    ]
    assert said.endswith("3 errors; nothing was changed\n")
    assert queue.server.log("UpsertRunQueue") == []


@pytest.mark.parametrize(
    ("variable", "value", "code", "words"),
    [
        ("WANDB_API_KEY", "short", 3, "[launch-key-invalid]"),
        ("WANDB_API_KEY", "", 3, "[launch-key-missing]"),
        ("WANDB_API_KEY", "f" * 40, 4, "[launch-key-refused]"),
        ("WANDB_ENTITY", "nobody", 4, "[launch-entity-unknown]"),
        ("WANDB_ENTITY", "", 2, "no W&B entity is named"),
        ("WANDB_BASE_URL", "http://127.0.0.1:9", 4, "[launch-server-unreachable]"),
    ],
)
def test_each_trouble_has_its_error(
    queue: Command, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, code: int, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    said = queue("list", expect=code)
    assert words in said
    assert "fix:" in said
    assert not value or len(value) < 40 or value not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("apply", "gpus"), "give a FILE or --preset"),
        (("apply", "gpus", "x.yaml", "--preset", "job"), "give a FILE or --preset"),
        (("apply", "gpus", "x.yaml", "--gpus", "1,1,8"), "--gpus is for --preset"),
        (("apply", "q" * 65, "--preset", "job"), "is no name of a queue"),
        (("apply", "gpus", "--preset", "job", "--gpus", "9,1,8"), "MIN ≤ DEFAULT ≤ MAX"),
        (("apply", "gpus", "--preset", "job", "--nfs-claim", "a:b"), "not NAME or NAME:PATH"),
    ],
)
def test_options_that_contradict_are_a_usage_error(queue: Command, arguments: tuple[str, ...], words: str) -> None:
    assert words in queue(*arguments, expect=2)


def test_the_key_that_a_login_left_is_used(queue: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    host = queue.server.url.removeprefix("http://")
    (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {queue.server.api_key}\n")
    (tmp_path / "netrc").chmod(0o600)
    assert queue("list") == "entity lab has no queue\n"


def test_a_server_that_stumbles_is_named(queue: Command) -> None:
    queue.server.fail("UpsertRunQueue", 503)
    said = queue("apply", "gpus", *PRESET, expect=4)
    assert "503" in said
    assert "[launch-server-unreachable]" in said


def test_the_inventory_names_server_entity_and_key(
    queue: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = tmp_path / "wandb.key"
    key.write_text(queue.server.api_key)
    key.chmod(0o600)
    site = tmp_path / "site.ini"
    site.write_text(
        "[control_plane]\ncp1 ansible_host=192.0.2.1\n[launch_agent]\ncp1\n[all:vars]\n"
        f'launch_agent_entity={queue.server.entity}\nlaunch_agent_queues=["gpus"]\n'
        f"launch_agent_base_url={queue.server.url}\nlaunch_agent_api_key_file=wandb.key\n"
    )
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_ENTITY"):
        monkeypatch.delenv(name)
    assert "no W&B entity is named" in queue("list", expect=2)
    assert queue("list", "--inventory", str(site)) == "entity lab has no queue\n"


def test_a_preset_leaves_the_jobs_where_the_queue_has_them(queue: Command) -> None:
    queue("apply", "gpus", *PRESET)
    assert queue("apply", "gpus", *PRESET[:4]) == "queue lab/gpus unchanged\n"
    assert 'metadata.namespace: "jobs" -> "launch-jobs"' in queue(
        "apply", "gpus", *PRESET[:4], "-n", "launch-jobs"
    ).replace("→", "->")
    queue("apply", "new", *PRESET[:4])
    assert "namespace: launch-jobs" in queue("show", "new")


def test_jobs_in_the_namespace_default_are_warned_of(queue: Command) -> None:
    said = queue("apply", "gpus", *PRESET[:4], "-n", "default")
    assert "warning: jobs run in namespace default, where no Pod Security level is enforced" in said
    assert "warning" not in queue("apply", "other", *PRESET)
