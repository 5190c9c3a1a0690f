"""What hosts need to join: shared while it lives, made anew when it has ended, taken back with the run."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bootstrap.hostside import gpuctl_joinmaterial as join
from bootstrap.hostside.gpuctl_hostio import HostError, Ran

DIGEST, KEY = "sha256:" + "a" * 64, "b" * 64


@dataclass
class Kubeadm:
    """kubeadm and kubectl, as far as tokens and uploaded certificates go."""

    tokens: dict[str, str] = field(default_factory=dict)  # id → description
    uploads: int = 0
    secret: bool = False
    made: int = 0
    broken: bool = False

    def __call__(self, argv: list[str], _timeout_s: float) -> Ran:
        if self.broken:
            return Ran(1, "", "bad token abcdef.0123456789abcdef")
        if argv[0] == "kubectl":
            self.secret = False
            return Ran(0, "", "")
        if argv[1:3] == ["init", "phase"]:
            self.uploads += 1
            self.secret = True
            return Ran(0, f"[upload-certs] Using certificate key:\n{KEY}\n", "")
        verb = argv[2]
        if verb == "create":
            assert "--ttl=10m" in argv
            self.made += 1
            token = f"{self.made:06d}.{'c' * 16}"
            self.tokens[token] = next(w.partition("=")[2] for w in argv if w.startswith("--description="))
            return Ran(0, f"kubeadm join lab-api:6443 --token {token} --discovery-token-ca-cert-hash {DIGEST} \n", "")
        if verb == "list":
            texts = [json.dumps({"token": t, "description": d}, indent=4) for t, d in self.tokens.items()]
            return Ran(0, "\n".join(texts), "")
        self.tokens = {t: d for t, d in self.tokens.items() if not t.startswith(argv[3])}
        return Ran(0, "", "")


@pytest.fixture
def kubeadm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kubeadm:
    found = Kubeadm()
    monkeypatch.setattr(join, "run", found)
    monkeypatch.setattr(join, "STATE", str(tmp_path / "gpuctl" / "join.json"))
    monkeypatch.setattr(join, "write_atomic", _written)
    return found


def _written(path: str, data: bytes, mode: int) -> None:
    Path(path).write_bytes(data)
    Path(path).chmod(mode)


def test_hosts_of_a_run_share_a_token_and_workers_get_no_key(kubeadm: Kubeadm) -> None:
    first = join.hand_out(False)
    assert first == {"token": "000001." + "c" * 16, "ca_hashes": [DIGEST], "certificate_key": ""}
    assert join.hand_out(True) == {**first, "certificate_key": KEY}
    assert join.hand_out(False) == first, "a worker gets no key, also after a control plane did"
    assert (kubeadm.made, kubeadm.uploads) == (1, 1)
    assert stat.S_IMODE(Path(join.STATE).stat().st_mode) == 0o600


def test_one_that_ends_soon_is_made_anew(kubeadm: Kubeadm, monkeypatch: pytest.MonkeyPatch) -> None:
    join.hand_out(True)
    now = join.time.time()
    monkeypatch.setattr(join.time, "time", lambda: now + 7 * 60)
    assert join.hand_out(True)["token"].startswith("000002.")
    assert list(kubeadm.tokens) == ["000002." + "c" * 16], "the old one is gone"
    assert kubeadm.uploads == 2


def test_all_of_it_goes_with_the_run_and_what_a_killed_run_left(kubeadm: Kubeadm) -> None:
    kubeadm.tokens = {f"left00.{'d' * 16}": "gpuctl: for hosts of one run", f"theirs.{'e' * 16}": "of somebody else"}
    join.hand_out(True)
    assert join.take_back()
    assert list(kubeadm.tokens) == [f"theirs.{'e' * 16}"]
    assert not kubeadm.secret
    assert not Path(join.STATE).exists()
    assert not join.take_back()


def test_a_failure_shows_no_secret(kubeadm: Kubeadm) -> None:
    kubeadm.broken = True
    with pytest.raises(HostError) as caught:
        join.hand_out(False)
    assert "0123456789abcdef" not in json.dumps([caught.value.message, caught.value.details])
