"""No secret that was named, and no shape that is always secret, passes."""

from __future__ import annotations

import base64
import json
import string
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.redact import MASK, Redactor, redacting, register

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


@given(st.text(PRINTABLE, min_size=8, max_size=40).filter(lambda secret: secret not in MASK), st.binary(max_size=5))
def test_a_named_secret_passes_in_no_encoding(secret: str, before: bytes) -> None:
    redactor = Redactor()
    redactor.add(secret)
    raw = secret.encode()
    forms = {
        "URL": quote(secret, safe=""),
        "base64": base64.b64encode(raw).decode(),
        "base64, URL-safe": base64.urlsafe_b64encode(raw).decode(),
        "JSON in JSON": json.dumps(json.dumps(secret)),
        "Python": repr(secret),
    }
    for name, form in forms.items():
        assert form.strip("=\"'") not in redactor.text(f"x {form} y"), name
    within = redactor.text(base64.b64encode(before + raw + b":z").decode())
    assert MASK in within, "user:password of Basic, say"


SHAPES = {
    "service-account token": ("eyJhbGciOiJSUzI1NiIsImtpZCI6Ing.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl-_x", "{}"),
    "client-key-data": ("LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQpNSUlF", "client-key-data: {}"),
    "key-data in JSON": ("TUlJRXBBSUJBQUtDQVFFQQ", '{{"client-key-data": "{}"}}'),
    "key-data in JSON in JSON": ("TUlJRXBBSUJBQUtDQVFFQQ", r"{{\"client-key-data\": \"{}\"}}"),
    "Basic": ("YXBpOjAxMjM0NTY3ODk", "Authorization: Basic {}"),
    "Bearer": ("abcdefgh12345678", "'Authorization': 'Bearer {}'"),
    "API key in an environment": ("0f1e2d3c4b5a69788796", "WANDB_API_KEY={}"),
    "API key of another": ("sk-0f1e2d3c4b5a6978", "OPENAI_API_KEY='{}'"),
    "apiKey": ("0f1e2d3c4b5a69788796", '"apiKey": "{}"'),
    "api_key": ("0f1e2d3c4b5a69788796", "launch_agent_api_key: {}"),
    "X-Api-Key": ("0f1e2d3c4b5a69788796", "X-Api-Key: {}"),
    "netrc": ("0f1e2d3c4b5a69788796", "machine api.wandb.ai login user password {}"),
    "certificate key": ("ab" * 32, "--certificate-key {}"),
    "certificateKey": ("ab" * 32, '"certificateKey": "{}"'),
    "private key in base64": (
        base64.b64encode(b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----\n").decode(),
        "tls.key: {}",
    ),
    "URL": ("hunter2@x", "http://proxy:{}@127.0.0.1:3128/"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_has_the_shape_of_a_secret_never_passes(name: str) -> None:
    secret, around = SHAPES[name]
    text = around.format(secret)
    for written in (text, f"before\n{text}\nafter", json.dumps({"said": text}), json.dumps(json.dumps({"said": text}))):
        assert secret not in Redactor().text(written), written


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "ab" * 32,
        "launch_agent_api_key_file=wandb.key",
        "certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t",
        "a Basic check of the API",
        "the API key is not known",
        "set launch_agent_api_key_file or the environment variable WANDB_API_KEY",
        "kubernetes 1.34.2-1.1",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert Redactor().text(text) == text


def test_controls_within_a_secret_do_not_hide_it() -> None:
    redactor = Redactor()
    redactor.add("[2Khunter2", "pass\u200bphrase")
    assert "hunter2" not in redactor.text("x \x1b[2Khunter2 y")
    assert "hunter2" not in redactor.text("[2K\x1b[0mhunter2")
    assert "phrase" not in redactor.text("pass\u200bphrase")


def test_readers_of_secrets_tell_the_command_that_runs() -> None:
    redactor = Redactor()
    register("of no command")
    with redacting(redactor):
        register("hunter2-of-the-inventory", None)
    register("after it")
    assert redactor.text("hunter2-of-the-inventory") == MASK
    assert redactor.text("of no command, after it") == "of no command, after it"
