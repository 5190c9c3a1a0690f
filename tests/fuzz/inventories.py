"""Inventories that mutations begin with, and the process that reads many of their mutations.

Run as `python -m tests.fuzz.inventories` with a JSON object on stdin; see `Order`. A process of its own, since Ansible
changes the interpreter that it is imported into; one for many, since importing it takes longer than reading a hundred.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypedDict

import yaml

from bootstrap.content import inventories_path
from tests.fuzz.mutate import document_mutations, text_mutations

LIMIT_S = 60  # for one inventory, on a busy machine; the median takes 0.03 s
Tree = dict[str, str]  # file → text; the first is the inventory itself, or lies in the folder that is

SITE = {
    "site/10-hosts.ini": """\
[control_plane]
cp1 ansible_host=192.0.2.1 ansible_port=2222
[workers]
gpu[1:2] ansible_host="192.0.2.{{ 10 + inventory_hostname[-1] | int }}"
[fast]
gpu2
[fast:vars]
ansible_ssh_common_args=-o ProxyJump=bastion
[all:vars]
ansible_user=ops
site=lab
cluster_name="{{ site }}-{{ 1 + 1 }}"
cluster_endpoint_port="8443"
""",
    "site/group_vars/all/main.yml": "cluster_gpu: required\ncluster_pod_cidr: 10.42.0.0/16\n",
    "site/host_vars/gpu1.yml": "ansible_become: no\nansible_python_interpreter: /usr/bin/python3.9\n",
}
DOCUMENT: dict[str, Any] = {
    "all": {
        "children": {
            "control_plane": {"hosts": {"cp1": {"ansible_host": "192.0.2.10", "ansible_port": 22}}},
            "workers": {
                "hosts": {
                    "gpu1": {"ansible_host": "192.0.2.11", "ansible_ssh_common_args": "-o ProxyJump=bastion"},
                    "gpu[2:4]": {"ansible_user": "{{ lookup('env', 'USER') | default('ops', true) }}"},
                },
            },
            "nfs_server": {"hosts": {"cp1": None}},
        },
        "vars": {
            "ansible_user": "ops",
            "ansible_become_password": "{{ lookup('env', 'ANSIBLE_BECOME_PASS') }}",
            "cluster_name": "lab",
            "cluster_addons": ["jobset"],
            "cluster_pod_cidr": "10.244.0.0/16",
            "containerd_registry_mirrors": {"docker.io": "https://mirror.example"},
            "launch_agent_queues": ["gpus"],
            "kube_host_sysctls": {"vm.max_map_count": "262144"},
            "other": {"a": [1, 2, {"b": "{{ groups.all }}"}]},
        },
    }
}
VAULT = {
    "lab.yml": "control_plane: {hosts: {cp1: {ansible_host: 192.0.2.1}}}\n",
    "group_vars/all.yml": "ansible_password: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  31\ncluster_name: &n lab\nx: *n",
}
SEEDS: tuple[Tree, ...] = (
    *({path.name: path.read_text(encoding="utf-8")} for path in sorted(inventories_path().glob("*.ini"))),
    SITE,
    VAULT,
    {"lab.yml": yaml.safe_dump(DOCUMENT, sort_keys=False)},
    {"lab.json": json.dumps(DOCUMENT)},
    {"hosts": yaml.safe_dump(DOCUMENT, sort_keys=False)},  # YAML without a suffix
    {"lab.ini": "\ufeff# by hand\n[control_plane]\nubuntu@192.0.2.10\n[bastion]\njump ansible_host=192.0.2.[1:9]\n"},
    {"lab.ini": "localhost ansible_connection=local\n[control_plane]\ncp1 ansible_host=192.0.2.1 ansible_ssh_host=a\n"},
    {"lab.yml": "control_plane: {hosts: {cp1: {}}}\nworkers: {hosts: [gpu1, gpu2]}\n"},
    {"lab.yml": "control_plane:\n  hosts:\n    cp1: {ansible_become_method: su, ansible_ssh_args: [-F, ssh.cfg]}\n"},
    {"lab.yml": "minikube: {hosts: {box: {ansible_connection: local, ansible_python_interpreter: /usr/bin/env x}}}\n"},
)  # fmt: skip


class Order(TypedDict):
    """What one process reads: `count` inventories of a seed, in a folder that may be filled."""

    seed: int
    count: int
    folder: str


class Outcome(TypedDict):
    """How it went: how many were good or refused, and each that ended otherwise."""

    good: int
    refused: int
    codes: dict[str, int]
    broken: list[str]


def mutations(seed: int, count: int) -> Iterator[Tree]:
    """`count` inventories: half of them a document with one value changed, half a tree with one text changed."""
    chance = random.Random(seed)  # noqa: S311 - a corpus, not a secret
    documents = document_mutations(DOCUMENT, seed, count)
    for _ in range(count):
        if chance.random() < 0.5:
            _, document = next(documents)
            try:
                yield {"lab.yml": yaml.safe_dump(document, allow_unicode=True, sort_keys=False)}
                continue
            except (yaml.YAMLError, UnicodeError, ValueError):  # what no file can hold
                pass
        tree = dict(chance.choice(SEEDS))
        name = chance.choice(list(tree))
        yield {**tree, name: next(text_mutations(tree[name], chance.randrange(2**32), 1))}


class HangError(BaseException):
    """An inventory took longer than LIMIT_S. No Exception: what reads inventories would take it for one of theirs."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise HangError


def read(path: Path) -> str:
    """The code of the first problem, or "" for a good inventory."""
    from bootstrap.errors import GpuctlError
    from bootstrap.exit_codes import ExitCode
    from bootstrap.inventory.load import inventory_of
    from bootstrap.inventory.lookups import Gate
    from bootstrap.inventory.resolve_child import resolve
    from bootstrap.inventory.sources import refuse_sources

    try:
        refuse_sources(path)
        inventory_of(json.loads(resolve(path, Gate((), {})).encode("utf-8", "replace")), path)
    except GpuctlError as error:
        if error.exit_code is not ExitCode.SETTINGS or not all(p.message and p.fix for p in error.problems):
            raise AssertionError(str(error)) from error
        return error.problems[0].code
    return ""


def main(order: Order) -> Outcome:
    """Read them all."""
    signal.signal(signal.SIGALRM, _stop)
    resource.setrlimit(resource.RLIMIT_AS, (3 * 1024**3, 3 * 1024**3))
    codes: Counter[str] = Counter()
    broken: list[str] = []
    for number, tree in enumerate(mutations(order["seed"], order["count"])):
        root = Path(tempfile.mkdtemp(dir=order["folder"]))
        for name, text in tree.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        path = root / next(iter(tree)).partition("/")[0]
        signal.alarm(LIMIT_S)
        try:
            codes[read(path)] += 1
        except (Exception, HangError):  # noqa: BLE001 - each is counted, with its traceback
            broken.append(f"seed {order['seed']} number {number}: {tree}\n{traceback.format_exc()[-1500:]}")
        finally:
            signal.alarm(0)
        shutil.rmtree(root)
    good = codes.pop("", 0)
    return {"good": good, "refused": sum(codes.values()), "codes": dict(codes), "broken": broken}


if __name__ == "__main__":
    json.dump(main(json.load(sys.stdin)), sys.stdout)
