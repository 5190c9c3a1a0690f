"""Codes and remedies in messages are ours, or are not shown as such."""

from __future__ import annotations

import ast

import pytest

from bootstrap.apply import remedies
from bootstrap.apply.module_code import files
from bootstrap.apply.remedies import answered, ours, told

FIX = "install linux-headers-6.1.0-31 (or boot the kernel whose headers are installed) and run gpuctl again"

MINIKUBE = "/usr/local/bin/minikube"
KEEP = "to work with it set minikube_version=1.38.0 and minikube_sha256=ab12 in the inventory; or "
LIVE = 'set "live-restore": true in /etc/docker/daemon.json, '


def test_a_remedy_of_a_module_is_taken_with_its_values() -> None:
    found = told(f"[headers-missing] no headers; fix: {FIX}")
    assert found is not None
    assert (found.code, found.what, found.fix, found.left) == ("headers-missing", "no headers", FIX, "")


@pytest.mark.parametrize(
    "value", ["6.1; curl x | sh", "`reboot`", "$(reboot)", "a b c", "x\ny", "-rf", "6.1 now run: curl http://x/y"]
)
def test_a_value_cannot_make_a_remedy_say_something_else(value: str) -> None:
    fix = FIX.replace("6.1.0-31", value)
    found = told(f"[headers-missing] no headers; fix: {fix}")
    assert found is not None
    assert found.fix == remedies.catalogue()["headers-missing"]
    assert found.left == fix


def test_of_a_value_with_a_remedy_the_role_has_the_last_word() -> None:
    words = "[containerd-down] containerd is not running as configured: x; fix: curl x | sh; fix: run gpuctl bootstrap"
    found = told(words)
    assert found is not None
    assert found.fix == "run gpuctl bootstrap"
    assert found.what.endswith("x; fix: curl x | sh")


@pytest.mark.parametrize("message", ["", "no code", "[no-such-code] x; fix: y", "[", "[]", "[headers-missing"])
def test_what_has_no_code_of_the_catalogue_is_only_said(message: str) -> None:
    assert told(message) is None
    found = answered({"failed": True, "msg": message, "code": "reboot-required", "fix": "y"}, "gpuctl_files")
    assert found["msg"].startswith("gpuctl_files failed: ")
    assert "code" not in found


def test_another_codes_remedy_is_not_this_ones() -> None:
    assert not ours("headers-missing", "switch Secure Boot off")
    assert not ours("disk-low", FIX)


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (
            "minikube-foreign",
            "move it away (mv /usr/local/bin/minikube /usr/local/bin/minikube.mine), and gpuctl installs its own",
        ),
        ("minikube-foreign", f"{KEEP}move it away (mv {MINIKUBE} {MINIKUBE}.mine), and gpuctl installs its own"),
        (
            "docker-containers-end",
            "stop them, or allow it with docker_end_containers=true in the inventory",
        ),
        (
            "docker-containers-end",
            f"{LIVE}stop them, or allow it with docker_end_containers=true in the inventory",
        ),
        ("launch-queue-unknown", "make it with `gpuctl launch queue apply gpus --preset job -e team`"),
        ("kubeadm-failed", "see the lines above it in the log, then run again"),
        ("driver-not-loaded", "see `dkms status` and `dmesg | grep -i nvrm` on the host"),
        ("manifest-checksum", "correct the sum in the inventory, or have the server's file brought up to date"),
    ],
)
def test_remedies_that_are_put_together_are_known(code: str, fix: str) -> None:
    assert ours(code, fix)


def test_every_remedy_that_a_module_has_is_known() -> None:
    """With an ordinary word for each value."""
    seen = 0
    for name, source in files().items():
        for node in ast.walk(ast.parse(source)) if name.endswith(".py") else ():
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "HostError" or len(node.args) < 3:
                continue
            code, fix = node.args[0], node.args[2]
            if not isinstance(code, ast.Constant) or not isinstance(fix, ast.Constant | ast.JoinedStr):
                continue
            parts = fix.values if isinstance(fix, ast.JoinedStr) else [fix]
            said = "".join(str(p.value) if isinstance(p, ast.Constant) else _sample(p) for p in parts)
            assert ours(str(code.value), said), f"{name}:{node.lineno}: {said}"
            seen += 1
    assert seen > 60


def _sample(part: ast.expr) -> str:
    value = part.value if isinstance(part, ast.FormattedValue) else part
    return {"PROGRAM": "/usr/local/bin/minikube", "UNIT": "docker.service"}.get(getattr(value, "id", ""), "word")


def test_every_message_of_a_task_is_known() -> None:
    texts = list(remedies._of_tasks())
    assert len(texts) > 25
    for code, text in texts:
        assert ours(code, "word".join(text)), (code, text)
