"""Inventories as people have them: good ones are read as Ansible reads them, bad ones get a remedy that works."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bootstrap.errors import GpuctlError, Problem
from bootstrap.exit_codes import ExitCode
from bootstrap.inventory import vault
from bootstrap.inventory.load import load_inventory
from bootstrap.inventory.model import Inventory

pytestmark = pytest.mark.usefixtures("quick")
_CASES = Path(__file__).with_name("people")
_CLUSTER = "[control_plane]\ncp1 ansible_host=192.0.2.10\n"


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cases, where remedies may be tried on them."""
    shutil.copytree(_CASES, tmp_path / "people")
    monkeypatch.chdir(tmp_path / "people")
    for name in ("ANSIBLE_VAULT_PASSWORD_FILE", "ANSIBLE_VAULT_IDENTITY_LIST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(vault, "_given", [vault.Passwords()])
    return tmp_path / "people"


def refusal(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(GpuctlError) as caught:
        load_inventory(path)
    assert caught.value.exit_code is ExitCode.SETTINGS
    for problem in caught.value.problems:
        assert problem.fix
        assert "<class" not in problem.message
    return caught.value.problems


def addresses(inventory: Inventory) -> dict[str, str]:
    return {host.name: host.connection.address for host in inventory.hosts}


def lab(tmp_path: Path, text: str, name: str = "lab.ini") -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_yaml_in_a_file_without_a_suffix(case: Path) -> None:
    found = load_inventory(case / "yaml-without-suffix/hosts")
    assert addresses(found) == {"192.0.2.10": "192.0.2.10", "192.0.2.11": "192.0.2.11"}
    assert [len(found.control_plane), len(found.group("workers"))] == [1, 1]


@pytest.mark.parametrize("name", ["byte-order-mark.ini", "byte-order-mark-comment.ini"])
def test_a_byte_order_mark_is_named_and_its_remedy_works(name: str, case: Path) -> None:
    (problem,) = refusal(Path(name))
    assert "byte order mark" in problem.message
    assert problem.fix == rf"sed -i '1s/^\xEF\xBB\xBF//' {name}"
    text = (case / name).read_bytes()
    (case / name).write_bytes(text[3:])
    assert addresses(load_inventory(Path(name))) == {"cp1": "192.0.2.10", "gpu1": "192.0.2.11"}


def test_yaml_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    text = "\ufeffcontrol_plane: {hosts: {cp1: {ansible_host: 192.0.2.10}}}\n"
    for name in ("lab.yml", "hosts"):
        assert addresses(load_inventory(lab(tmp_path, text, name))) == {"cp1": "192.0.2.10"}


def test_utf_16_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lab.ini"
    path.write_text(_CLUSTER, encoding="utf-16")
    (problem,) = refusal(path)
    assert "UTF-16" in problem.message
    assert problem.fix.startswith("iconv ")


@pytest.mark.parametrize(
    "text",
    [
        '{"_meta": {"hostvars": {}}, "control_plane": {"hosts": ["cp1"]}}',
        '{\n  "all": {"children": ["control_plane"]},\n  "control_plane": {"hosts": ["cp1"]}\n}',
        '{"control_plane": ["cp1"], "workers": {"hosts": ["gpu1"], "vars": {"a": 1}}}',
        "_meta:\n  hostvars: {}\ncontrol_plane:\n  hosts: [cp1]\n",
    ],
)
@pytest.mark.parametrize("name", ["list.json", "hosts", "list.yml"])
def test_what_a_script_prints_is_no_inventory(text: str, name: str, tmp_path: Path) -> None:
    (problem,) = refusal(lab(tmp_path, text, name))
    assert "`ansible-inventory --list`" in problem.message
    assert "--yaml" in problem.fix


def test_the_output_of_ansible_inventory_list(case: Path) -> None:
    (problem,) = refusal(case / "list-output.json")
    assert "--list --yaml" in problem.fix


def test_a_look_up_sees_the_callers_ansible_variables(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_BECOME_PASS", "secret")
    (host,) = load_inventory(case / "password-from-environment.yml").hosts
    assert host.connection_vars is not None
    assert host.connection_vars["ansible_become_password"] == "secret"


def test_scripts_and_plugins_in_folders_keep_their_own_words(case: Path) -> None:
    for name, word in (("script-in-folder", "script"), ("plugin-in-folder", "plugin")):
        (problem,) = refusal(case / name)
        assert word in problem.message


def test_lists_where_mappings_or_texts_belong(case: Path) -> None:
    (problem,) = refusal(case / "ssh-args-list.yml")
    assert (problem.code, problem.host) == ("variable-invalid", "cp1")
    (problem,) = refusal(case / "hosts-list.yml")
    assert problem.message == "`hosts` of the group `workers` is a list, and must be a mapping"
    assert problem.fix.startswith("write `hosts: {gpu1: {}, gpu2: {}}`")
    (case / "hosts-list.yml").write_text(
        "control_plane:\n  hosts: {cp1: {}}\nworkers:\n  hosts: {gpu1: {}, gpu2: {}}\n"
    )
    assert len(load_inventory(case / "hosts-list.yml").hosts) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("control_plane: {hosts: {cp1: {}}}\nworkers: [gpu1, gpu2]\n", "the group `workers` is a list"),
        (
            "control_plane: {hosts: {cp1: {}}}\nworkers:\n  children: [a]\n",
            "`children` of the group `workers` is a list",
        ),
        ("control_plane: {hosts: {cp1: {}}, vars: [a, b]}\n", "`vars` of the group `control_plane` is a list"),
        ("control_plane: {hosts: {cp1: [a]}}\n", "the variables of host `cp1` are a list"),
        ("control_plane: {hosts: {cp1: {}}}\nworkers: {gpu1: {ansible_host: x}}\n", "none of hosts, children and vars"),
        ("control_plane:\n  hosts:\n    cp1: {a: 1, a: 2}\n", "`a` stands twice"),
    ],
)
def test_shapes_that_ansible_refuses_or_passes_over(text: str, words: str, tmp_path: Path) -> None:
    (problem,) = refusal(lab(tmp_path, text, "lab.yml"))
    assert words in problem.message
    assert problem.at


def test_yaml_in_a_file_that_ansible_reads_as_ini(tmp_path: Path) -> None:
    path = lab(tmp_path, "control_plane: {hosts: {cp1: {}}}\n", "lab.inventory")
    (problem,) = refusal(path)
    assert "as INI" in problem.message
    assert problem.fix == f"mv {path} {path.with_suffix('.yml')}"
    path.rename(path.with_suffix(".yml"))
    assert load_inventory(path.with_suffix(".yml")).hosts


@pytest.mark.parametrize("name", ["hosts", "lab.yml"])
def test_anchors_and_merge_keys(name: str, tmp_path: Path) -> None:
    text = """
.defaults: &defaults {ansible_user: ubuntu, ansible_port: 22}
.other: &other {ansible_port: 2222, ansible_user: root}
control_plane:
  hosts:
    cp1: {<<: *defaults, ansible_port: 23}
workers:
  hosts:
    gpu1: {<<: [*defaults, *other]}
    gpu[2:3]:
      <<: *other
"""
    found = {h.name: (h.connection.user, h.connection.port) for h in load_inventory(lab(tmp_path, text, name)).hosts}
    root = ("root", 2222)
    assert found == {"cp1": ("ubuntu", 23), "gpu1": ("ubuntu", 22), "gpu2": root, "gpu3": root}


def test_of_two_spellings_ansibles_choice_counts(case: Path) -> None:
    (host,) = load_inventory(case / "two-spellings.ini").hosts
    assert (host.connection.address, host.connection.user, host.connection.port) == ("192.0.2.99", "y", 2222)


def test_a_user_before_the_address(case: Path) -> None:
    (host,) = load_inventory(case / "user-at-host.ini").hosts
    assert (host.connection.user, host.connection.address, host.connection.become) == ("ubuntu", "192.0.2.10", True)


def test_hosts_of_other_groups_are_left_alone_and_named(case: Path) -> None:
    found = load_inventory(case / "bastion-and-login.ini")
    assert list(addresses(found)) == ["n1"]
    (note,) = found.notes
    assert note.code == "hosts-left-alone"
    assert note.message.startswith("2 hosts are in no group of gpuctl's and left alone: bastion (bastion); login1 (")
    found = load_inventory(case / "localhost-line.ini")
    assert list(addresses(found)) == ["cp1"]
    assert found.notes[0].message.endswith("left alone: localhost")


@pytest.mark.parametrize(
    "more",
    [
        "[storage]\nnas1 ansible_host=192.0.2.9\n",
        "[nfs]\nnas1\n",
        "[monitoring]\np1 ansible_connection=docker ansible_become_method=su cluster_name=other\n",
        "[ntp_server]\nt1\n[file_server]\nf1\n[login_nodes]\nl1\n[slurm_controller]\ns1 ansible_host=192.0.2.10\n",
        "[windows]\nw1 ansible_connection=winrm x=\"{{ lookup('pipe', 'false') }}\"\n",
    ],
)
def test_what_is_left_alone_may_be_anything(more: str, tmp_path: Path) -> None:
    found = load_inventory(lab(tmp_path, _CLUSTER + more))
    assert list(addresses(found)) == ["cp1"]
    assert [note.code for note in found.notes] == ["hosts-left-alone"]


def test_a_group_of_another_tool_is_asked_about_only_where_ours_is_empty(tmp_path: Path) -> None:
    text = "[kube_control_plane]\ncp1\n[kube_node]\ngpu1\n"
    problems = refusal(lab(tmp_path, text))
    assert [problem.code for problem in problems] == ["group-unknown"] * 2
    found = load_inventory(lab(tmp_path, f"[control_plane]\ncp1\n[workers]\ngpu1\n[compute]\nc1\n{text}"))
    assert list(addresses(found)) == ["cp1", "gpu1"]


def test_own_variables_are_the_users(case: Path) -> None:
    assert load_inventory(case / "own-variable-twice.ini").hosts
    (host,) = load_inventory(case / "host-line-against-host_vars/hosts.ini").hosts
    assert host.connection.address == "192.0.2.10"


def test_several_sources_of_a_folder_add_up(tmp_path: Path) -> None:
    lab(tmp_path, "[control_plane]\ncp1 ansible_host=192.0.2.1\n[workers]\ngpu1 ansible_user=a\n", "site/01-static")
    lab(tmp_path, "workers: {hosts: {gpu1: {ansible_user: b}, gpu2: {}}}\n", "site/02-more.yml")
    lab(tmp_path, "ansible_port: 2222\n", "site/group_vars/workers")
    found = load_inventory(tmp_path / "site")
    assert [(h.name, h.connection.user, h.connection.port) for h in found.hosts] == [
        ("cp1", None, None),
        ("gpu1", "b", 2222),
        ("gpu2", None, 2222),
    ]


def test_a_way_to_become_root_other_than_sudo(case: Path) -> None:
    (problem,) = refusal(case / "become-su.yml")
    assert (problem.code, problem.host) == ("connection-unsupported", "cp1")


def test_a_python_by_env_and_arguments_of_ssh(case: Path) -> None:
    (host,) = load_inventory(case / "env-python.yml").hosts
    assert host.connection.python_words == ("/usr/bin/env", "python3")
    (host,) = load_inventory(case / "ssh-args.yml").hosts
    assert host.connection.ssh_words() == ("-F", "ssh.cfg")


def test_variables_of_other_tools_are_not_refused(case: Path) -> None:
    found = load_inventory(case / "other-tools-variables.ini")
    (note,) = found.notes
    assert note.code == "variable-unread"
    assert "cluster_network, cluster_nfs, docker_daemon_graph" in note.message


@pytest.mark.parametrize(
    "typo", ["cluster_nmae", "cluster_endpoit", "clustr_name", "nvidia_drivr_branch", "ansible_hots"]
)
def test_a_typing_error_is_refused_all_the_same(typo: str, tmp_path: Path) -> None:
    (problem,) = refusal(lab(tmp_path, f"{_CLUSTER}[all:vars]\n{typo}=x\n"))
    assert problem.code == "variable-unknown"


def test_a_range_in_a_value(case: Path) -> None:
    (problem,) = refusal(case / "range-in-a-value.ini")
    assert "holds a range, 192.0.2.[21:22]" in problem.message
    assert problem.at == f"{Path('range-in-a-value.ini')}:4"
