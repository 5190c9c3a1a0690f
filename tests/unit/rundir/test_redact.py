"""No secret that was named, and no shape that is always secret, passes."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.redact import MASK, Redactor

PRINTABLE = st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zs", "Zl", "Zp", "Cn", "Co"])
SECRETS = st.text(PRINTABLE, min_size=4, max_size=40).filter(lambda secret: secret not in MASK)
TOKEN_ID = st.text(string.ascii_lowercase + string.digits, min_size=6, max_size=6)
TOKEN = st.text(string.ascii_lowercase + string.digits, min_size=16, max_size=16)
JSON_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(SECRETS, st.text(), st.text())
def test_named_secret_never_passes(secret: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    assert secret not in redactor.text(before + secret + after)


@given(SECRETS, st.text())
def test_named_secret_never_passes_inside_json(secret: str, around: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    written = redactor.text(json.dumps({"a": around + secret + around}))
    assert json.dumps(secret)[1:-1] not in written


@settings(max_examples=30, deadline=None)
@given(st.lists(SECRETS, min_size=2, max_size=5))
def test_secret_that_contains_another_is_masked_whole(secrets: list[str]) -> None:
    redactor = Redactor()
    redactor.add(*secrets, "".join(secrets))
    assert redactor.text("".join(secrets)) == MASK


@given(
    TOKEN_ID, TOKEN, st.sampled_from(["", " ", '"', "--token=", "\n", "("]), st.sampled_from(["", " ", '"', "\n", ","])
)
def test_bootstrap_token_never_passes(identity: str, token: str, before: str, after: str) -> None:
    written = Redactor().text(f"{before}{identity}.{token}{after}")
    assert token not in written
    assert identity in written


@given(JSON_TREES)
def test_tree_keeps_its_shape(tree: object) -> None:
    redacted = Redactor().tree(tree)
    json.dumps(redacted)
    assert type(redacted) is type(tree)
    if isinstance(tree, list):
        assert isinstance(redacted, list)
        assert len(redacted) == len(tree)


@settings(max_examples=30, deadline=None)
@given(SECRETS, JSON_TREES)
def test_named_secret_never_passes_a_tree(secret: str, tree: object) -> None:
    redactor = Redactor()
    redactor.add(secret)
    written = redactor.tree({"here": [secret, {"x" + secret: tree}], "there": f"a {secret} b"})
    assert secret not in str(written["here"][0])
    assert written["there"] == f"a {MASK} b"


PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (f"a\n{PEM}\nb", f"a\n{MASK}\nb"),
        (PEM[:50], MASK),
        (json.dumps(PEM), f'"{MASK}"'),
        ("Authorization: Bearer abc.def-123456", f"Authorization: Bearer {MASK}"),
        ("https://user:p@ss@example.org/x", f"https://user:{MASK}@example.org/x"),
        ("https://example.org:8443/x", "https://example.org:8443/x"),
        ("--certificate-key " + "ab" * 32, f"--certificate-key {MASK}"),
        ('"certificateKey": "' + "ab" * 32 + '"', f'"certificateKey": "{MASK}"'),
        ("sha256:" + "ab" * 32, "sha256:" + "ab" * 32),
        ("libnvidia.so.580 at 10.96.0.1", "libnvidia.so.580 at 10.96.0.1"),
        ("kube-system.svc.cluster.local", "kube-system.svc.cluster.local"),
    ],
)
def test_shapes(text: str, written: str) -> None:
    assert Redactor().text(text) == written


def test_values_under_telling_keys_are_masked() -> None:
    tree = {"ansible_become_password": "x", "token": "y", "tokens": 3, "secrets": ["a"], "tokenizer": "z"}
    masked = {"ansible_become_password": MASK, "token": MASK, "tokens": 3, "secrets": ["a"], "tokenizer": "z"}
    assert Redactor().tree(tree) == masked


def test_lines_of_a_secret_are_secret_too() -> None:
    redactor = Redactor()
    redactor.add("first line\nsecond line")
    assert redactor.text("only the second line") == f"only the {MASK}"


def test_short_values_are_left_alone() -> None:
    redactor = Redactor()
    redactor.add("a", "", None)
    assert redactor.text("banana") == "banana"
