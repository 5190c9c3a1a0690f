"""Look-ups: those that only read run, others run where somebody allowed them and a value that is used needs them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory import user_config
from bootstrap.inventory.load import load_inventory
from bootstrap.inventory.model import Inventory
from bootstrap.inventory.user_config import allow_lookups, allowed_lookups


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(user_config, "_given", [None])
    monkeypatch.delenv("GPUCTL_ALLOW_LOOKUPS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def write(tmp_path: Path, text: str, name: str = "lab.ini") -> Path:
    path = tmp_path / name
    path.write_text(text.replace("MARK", str(tmp_path / "mark")).replace("HERE", str(tmp_path)))
    return path


def named(tmp_path: Path, value: str) -> Path:
    """An inventory whose cluster has its name from a template."""
    return write(tmp_path, f"control_plane: {{hosts: {{cp1: {{}}}}, vars: {{cluster_name: {value!r}}}}}\n", "lab.yml")


def refused(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(GpuctlError) as caught:
        load_inventory(path)
    assert caught.value.exit_code is ExitCode.SETTINGS
    return caught.value.problems


def loaded(path: Path) -> Inventory:
    return load_inventory(path)


CALLS = [
    "lookup('pipe', 'touch MARK')",
    "lookup('ansible.builtin.pipe', 'touch MARK')",
    "lookup('ansible.legacy.pipe', 'touch MARK')",
    "query('pipe', 'touch MARK')[0]",
    "q('ansible.builtin.lines', 'touch MARK')[0]",
    "lookup('pipe', 'touch MARK', errors='ignore') | default('x', true)",
    "['touch MARK'] | map('upper') | list | length ~ lookup('pipe', 'touch MARK')",
    "lookup('template', 'HERE/nested.j2')",
    "lookup('vars', 'indirect')",
    "lookup('first_found', ['HERE/nested.j2']) and lookup('pipe', 'touch MARK')",
    "lookup('url', 'http://127.0.0.1:1/MARK')",
    "lookup('password', 'MARK')",
    "lookup('password', 'HERE/salted encrypt=sha512_crypt')",
    "lookup('community.hashi_vault.hashi_vault', 'secret=x')",
]


def test_what_does_more_than_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nested.j2").write_text(f"{{{{ lookup('pipe', 'touch {tmp_path}/mark') }}}}")
    (tmp_path / "salted").write_text("word\n")
    hosts = {f"h{n}": {"ansible_user": "{{ " + call + " }}"} for n, call in enumerate(CALLS)}
    addresses = {name: {**host, "ansible_host": f"192.0.2.{n}"} for n, (name, host) in enumerate(hosts.items())}
    shared = {"indirect": "{{ lookup('pipe', 'touch MARK') }}"}
    text = yaml.safe_dump({"control_plane": {"hosts": addresses, "vars": shared}})
    problems = refused(write(tmp_path, text, "lab.yml"))
    assert {problem.code for problem in problems} == {"lookup-refused"}
    assert {problem.host for problem in problems if problem.host} | {"h7", "h8"} == set(hosts)
    assert all("`ansible_user`" in p.message and "--allow-lookups" in p.fix and p.at for p in problems)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lab.yml", "nested.j2", "salted"]
    assert (tmp_path / "salted").read_text() == "word\n"


def test_the_refusal_names_lookup_variable_place_and_remedy(tmp_path: Path) -> None:
    path = write(tmp_path, "[control_plane]\ncp1\n[all:vars]\ncluster_name={{ lookup('pipe', 'hostname') }}\n")
    (problem,) = refused(path)
    assert problem.message == "`cluster_name` needs the look-up `pipe`, which is not run: it may do more than read"
    assert problem.at == f"{path}:4"
    assert "`--allow-lookups pipe`" in problem.fix


def test_what_only_reads_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB", "from-env")
    (tmp_path / "word").write_text("from-file\n")
    (tmp_path / "password").write_text("from-password\n")
    (tmp_path / "t.j2").write_text("{{ lookup('env', 'LAB') }}")
    (tmp_path / "x.csv").write_text("a,from-csv\n")
    (tmp_path / "x.ini").write_text("[s]\nkey=from-ini\n")
    calls = {
        "env": ("lookup('env', 'LAB')", "from-env"),
        "file": ("lookup('file', 'HERE/word')", "from-file"),
        "password": ("lookup('password', 'HERE/password')", "from-password"),
        "vars": ("lookup('vars', 'site')", "from-vars"),
        "varnames": ("lookup('varnames', '^site$')", "site"),
        "query": ("q('ansible.builtin.env', 'LAB')[0]", "from-env"),
        "first": ("lookup('first_found', ['HERE/none', 'HERE/word']) | basename", "word"),
        "template": ("lookup('template', 'HERE/t.j2')", "from-env"),
        "csv": ("lookup('csvfile', 'a file=HERE/x.csv delimiter=,')", "from-csv"),
        "ini": ("lookup('ini', 'key section=s file=HERE/x.ini')", "from-ini"),
    }
    hosts = {
        name: {"ansible_host": f"192.0.2.{number}", "ansible_user": "{{ " + call + " }}"}
        for number, (name, (call, _)) in enumerate(calls.items())
    }
    text = yaml.safe_dump({"control_plane": {"hosts": hosts, "vars": {"site": "from-vars"}}})
    found = {host.name: host.connection.user for host in loaded(write(tmp_path, text, "lab.yml")).hosts}
    assert found == {name: value for name, (_, value) in calls.items()}
    assert not (tmp_path / "mark").exists()


def test_lookups_see_the_callers_ansible_variables_which_set_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_BECOME_PASS", "s3cret")
    monkeypatch.setenv("ANSIBLE_INVENTORY_ENABLED", "script")
    monkeypatch.setenv("ANSIBLE_JINJA2_EXTENSIONS", "no.such.extension")
    path = write(
        tmp_path, "[control_plane]\ncp1 ansible_become_password=\"{{ lookup('env', 'ANSIBLE_BECOME_PASS') }}\"\n"
    )
    assert (loaded(path).hosts[0].connection_vars or {})["ansible_become_password"] == "s3cret"


def test_what_other_tools_need_does_not_run(tmp_path: Path) -> None:
    path = write(
        tmp_path, "[control_plane]\ncp1\n[all:vars]\nsite={{ lookup('pipe', 'touch MARK') }}\nmonitor_x={{ nope }}\n"
    )
    assert loaded(path).hosts[0].name == "cp1"
    assert not (tmp_path / "mark").exists()


def test_a_lookup_that_was_allowed_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = named(tmp_path, "{{ lookup('pipe', 'echo lab; touch MARK') }}")
    allow_lookups(["url,ansible.builtin.pipe"])
    assert allowed_lookups() == {"url", "ansible.builtin.pipe"}
    refused_still = refused(path)
    assert refused_still[0].code == "lookup-refused"
    monkeypatch.setenv("GPUCTL_ALLOW_LOOKUPS", "pipe")
    allow_lookups(None)
    assert loaded(path).cluster_name == "lab"
    assert (tmp_path / "mark").exists()


def configured(text: str, mode: int = 0o600) -> Path:
    path = user_config.config_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_users_own_settings_allow_it_too(tmp_path: Path) -> None:
    path = named(tmp_path, "{{ lookup('pipe', 'echo lab') }}")
    configured("allow_lookups: [pipe]\n")
    assert loaded(path).cluster_name == "lab"
    for text, names in (("", set()), ("allow_lookups:\n", set()), ("allow_lookups: a, b\n", {"a", "b"})):
        configured(text)
        assert allowed_lookups() == names


@pytest.mark.parametrize(
    ("text", "mode", "code"),
    [
        ("allow_lookups: [pipe]\n", 0o660, "user-settings-unsafe"),
        ("allow_lookups: [pipe]\n", 0o602, "user-settings-unsafe"),
        ("allow_lookups: [pipe\n", 0o600, "user-settings-invalid"),
        ("allow_lookups: [1]\n", 0o600, "user-settings-invalid"),
        ("allow_lookups: {pipe: true}\n", 0o600, "user-settings-invalid"),
        ("allow_lokups: [pipe]\n", 0o600, "user-settings-invalid"),
        ("- pipe\n", 0o600, "user-settings-invalid"),
        ("x" * 70_000, 0o600, "user-settings-invalid"),
        ("\x00", 0o600, "user-settings-invalid"),
        ("[" * 5000, 0o600, "user-settings-invalid"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(text: str, mode: int, code: str, tmp_path: Path) -> None:
    configured(text, mode)
    (problem,) = refused(named(tmp_path, "lab"))
    assert problem.code == code
    assert problem.fix


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_settings_of_another_user_are_refused(tmp_path: Path) -> None:
    os.chown(configured("allow_lookups: [pipe]\n"), 12345, -1)
    assert [problem.code for problem in refused(named(tmp_path, "lab"))] == ["user-settings-unsafe"]
