from __future__ import annotations

import json
from pathlib import Path

import pytest

from bootstrap.hostside import gpuctl_podhosts as podhosts
from bootstrap.hostside.gpuctl_hostio import Ran


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands; on the host the endpoint is at 10.0.0.2."""
    commands: list[str] = []

    def run(argv: list[str], _timeout_s: float) -> Ran:
        commands.append(" ".join(argv))
        labels = {"status": {"labels": {"io.kubernetes.pod.uid": "u"}}}
        return Ran(0, {"ps": "abc\n", "inspect": json.dumps(labels)}.get(argv[1], ""), "")

    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n10.0.0.2 lab-api other # lab-old\n")
    (tmp_path / "u").mkdir()
    monkeypatch.setattr(podhosts, "run", run)
    monkeypatch.setattr(podhosts, "HOSTS", str(tmp_path / "hosts"))
    monkeypatch.setattr(podhosts, "PODS", str(tmp_path))
    return commands


@pytest.mark.parametrize(
    ("text", "restarts"),
    [("10.0.0.1 lab-api\n", True), ("10.0.0.2 lab-api\n", False), ("127.0.0.1 localhost\n", False), (None, False)],
)
def test_kube_proxy_restarts_when_the_endpoint_moved(
    asked: list[str], tmp_path: Path, text: str | None, restarts: bool
) -> None:
    if text is not None:
        (tmp_path / "u" / "etc-hosts").write_text(text)
    assert bool(podhosts.renew("lab-api")) is restarts
    assert ("crictl stop --timeout 5 abc" in asked) is restarts


def test_a_comment_is_no_name(asked: list[str], tmp_path: Path) -> None:
    del asked
    assert podhosts.address_of("lab-old", str(tmp_path / "hosts")) is None
    assert podhosts.address_of("other", str(tmp_path / "hosts")) == "10.0.0.2"
