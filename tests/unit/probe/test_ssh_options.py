"""How a host is reached, resolved from inventory, arguments and configuration file as OpenSSH would."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.inventory.model import Connection, Host
from bootstrap.probe.ssh_options import Target, ignored_options, parse_arguments, resolve, resolve_jump


def target(address: str = "10.0.0.5", **connection: object) -> Target:
    return resolve(Host("a", frozenset(), Connection(address, **connection), {}))  # type: ignore[arg-type]


def test_a_plain_host_has_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = target()

    assert (found.address, found.port, found.user) == ("10.0.0.5", 22, getpass.getuser())
    assert found.strict == "yes"
    assert found.known_as == "10.0.0.5"
    assert found.known_hosts == (f"{tmp_path}/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
    assert (found.jump, found.proxy_command, found.key_files, found.ignored) == ((), None, (), ())


@pytest.mark.parametrize(
    "text",
    [
        "-o UserKnownHostsFile=/k -o StrictHostKeyChecking=accept-new",
        "-oUserKnownHostsFile=/k -oStrictHostKeyChecking=accept-new",
        '-o "UserKnownHostsFile /k" -o "stricthostkeychecking accept-new"',
        "-4 -q -o UserKnownHostsFile=/k -Co StrictHostKeyChecking=accept-new",
    ],
)
def test_arguments_are_read_in_every_spelling(text: str) -> None:
    found = target(ssh_common_args=text)

    assert found.known_hosts[0] == "/k"
    assert found.strict == "accept-new"
    assert found.ignored == ()


def test_short_flags_mean_their_options() -> None:
    found = target(ssh_common_args="-i /key -p 2222 -l ubuntu -J eve@jump:2200,second")

    assert (found.key_files, found.port, found.user) == (("/key",), 2222, "ubuntu")
    assert found.jump == ("eve@jump:2200", "second")
    assert found.known_as == "[10.0.0.5]:2222"


def test_the_inventory_wins_over_arguments_and_those_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "Host web\n HostName 10.9.9.9\n Port 1\n User file\n IdentityFile /file\n ProxyCommand nc %h %p\n"
    )
    found = target("web", port=3, ssh_common_args=f"-F {config} -p 2 -l argument", key_file="/own")

    assert (found.address, found.port, found.user) == ("10.9.9.9", 3, "argument")
    assert found.key_files == ("/own", "/file")
    assert target("web", ssh_common_args=f"-F {config} -o 'ProxyCommand=x %h:%p %r %%'").proxy_command == (
        "x 10.9.9.9:1 file %"
    )


def test_a_jump_host_is_parsed() -> None:
    found = resolve_jump("eve@jump:2200", "/dev/null")

    assert (found.user, found.address, found.port) == ("eve", "jump", 2200)
    assert resolve_jump("jump", "/dev/null").port == 22


def test_what_only_openssh_follows_is_named() -> None:
    assert ignored_options("-o AddressFamily=inet -o IdentityAgent=/x -o ServerAliveInterval=5") == (
        "addressfamily",
        "identityagent",
    )
    assert ignored_options("-o 'unclosed") != ()
    assert ignored_options("stray") == ("stray",)


@given(st.text())
def test_any_arguments_can_be_read(text: str) -> None:
    options, unknown = parse_arguments(text)

    assert all(key == key.lower() or key.startswith("-") for key in options)
    assert all(isinstance(word, str) for word in unknown)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no OpenSSH client to compare with")
@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "-p 2222",
        "-o Port=2222 -o User=eve",
        "-l eve -i /tmp/key",
        "-o HostKeyAlias=alias -o StrictHostKeyChecking=no",
        "-o UserKnownHostsFile=/one",
        "-J jump",
        "-o 'ProxyCommand=nc %h %p'",
        "-o Port=1 -o Port=2",
    ],
)
def test_openssh_resolves_the_same(arguments: str, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host box\n HostName 10.9.9.9\n User file\n Port 77\n")
    import shlex

    argv = ["ssh", "-G", "-F", str(config), *shlex.split(arguments), "box"]
    out = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout
    theirs = dict(line.split(" ", 1) for line in out.splitlines() if " " in line)
    ours = target("box", ssh_common_args=f"-F {config} {arguments}")

    assert (ours.address, str(ours.port), ours.user) == (theirs["hostname"], theirs["port"], theirs["user"])
    assert ",".join(ours.jump) == theirs.get("proxyjump", "").replace("none", "")
    strict = {"false": "no", "true": "yes", "ask": "yes"}[theirs["stricthostkeychecking"]]
    assert ours.strict == strict
    if "userknownhostsfile" in arguments.lower():
        assert ours.known_hosts[0] == theirs["userknownhostsfile"]
    if "proxycommand" in arguments.lower():
        assert ours.proxy_command == theirs["proxycommand"].replace("%h", "10.9.9.9").replace("%p", "77")
