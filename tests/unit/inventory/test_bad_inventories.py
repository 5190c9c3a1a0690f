from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import Problem
from bootstrap.inventory.validate import problems_of

GOOD = "[control_plane]\ncp1 ansible_host=192.0.2.1\n\n[workers]\ngpu1 ansible_host=192.0.2.2\n"


def ini(text: str) -> dict[str, str]:
    return {"lab.ini": text}


def yml(text: str) -> dict[str, str]:
    return {"lab.yml": text}


# name: (files, [(code, a part of the message, file:line, host)]): exactly these problems, no more.
BAD: dict[str, tuple[dict[str, str], list[tuple[str, str, str | None, str | None]]]] = {
    "group-dash": (
        ini("[control-plane]\ncp1\n[workers]\ngpu1\n"),
        [("group-unknown", "did you mean `control_plane`", "lab.ini:1", "cp1")],
    ),
    "group-master": (
        ini("[masters]\ncp1\n[nodes]\ngpu[1:2]\n"),
        [
            ("group-unknown", "`masters`, did you mean `control_plane`", "lab.ini:1", "cp1"),
            ("group-unknown", "`nodes`, did you mean `workers`? (hosts: gpu1, gpu2)", "lab.ini:3", None),
        ],
    ),
    "group-typo": (
        ini("[controlplane]\ncp1\n[worker]\ngpu1\n"),
        [
            ("group-unknown", "did you mean `control_plane`", "lab.ini:1", "cp1"),
            ("group-unknown", "did you mean `workers`", "lab.ini:3", "gpu1"),
        ],
    ),
    "two-nfs-servers": (
        ini(GOOD + "[nfs_server]\nnas1 ansible_host=192.0.2.8\nnas2 ansible_host=192.0.2.9\n"),
        [("group-conflict", "nfs_server holds nas1, nas2: one export has one server", "lab.ini:6", None)],
    ),
    "two-minikube-hosts": (
        ini("[minikube]\nbox1\nbox2\n"),
        [
            (
                "group-conflict",
                "minikube holds box1, box2: gpuctl makes a minikube cluster on one host",
                "lab.ini:1",
                None,
            )
        ],
    ),
    "minikube-beside-nodes": (
        ini(GOOD + "[minikube]\nbox1\n"),
        [("group-conflict", "minikube stands beside control_plane, workers", "lab.ini:6", None)],
    ),
    "minikube-and-control-plane": (
        ini("[minikube]\nbox1\n[control_plane]\nbox1\n"),
        [("group-conflict", "minikube stands beside control_plane", "lab.ini:1", None)],
    ),
    "minikube-and-its-server": (
        ini("[minikube]\nbox1\n[nfs_server]\nnas1\n"),
        [("group-conflict", "is in nfs_server: the API", "lab.ini:3", "nas1")],
    ),
    "minikube-typo": (
        ini("[mini-kube]\nbox1\n"),
        [("group-unknown", "did you mean `minikube`? (hosts: box1)", "lab.ini:1", "box1")],
    ),
    "launch-agent-typo": (
        ini(GOOD + "[launch_agents]\nbox1 ansible_host=192.0.2.8\n"),
        [("group-unknown", "did you mean `launch_agent`? (hosts: box1)", "lab.ini:6", "box1")],
    ),
    "only-ungrouped": (ini("gpu9\n"), [("control-plane-missing", "no host in the group", None, None)]),
    "no-control-plane": (ini("[workers]\ngpu1\n"), [("control-plane-missing", "no host in the group", None, None)]),
    "control-plane-empty": (
        ini("[control_plane]\n[workers]\ngpu1\n"),
        [("control-plane-missing", "no host in the group", "lab.ini:1", None)],
    ),
    "both-groups": (
        ini("[control_plane]\nbox1\n[workers]\nbox1\n"),
        [("group-conflict", "both control_plane and workers", "lab.ini:4", "box1")],
    ),
    "listed-twice": (
        ini(GOOD + "gpu1 ansible_host=192.0.2.2\n"),
        [("host-duplicate", "listed twice in group `workers` (first at line 5 of lab.ini)", "lab.ini:6", "gpu1")],
    ),
    "listed-twice-by-range": (
        ini("[control_plane]\ncp1\n[workers]\ngpu[1:3]\ngpu2\n"),
        [("host-duplicate", "listed twice", "lab.ini:5", "gpu2")],
    ),
    "two-values": (
        ini(GOOD + "[rack1]\ngpu1 ansible_host=192.0.2.7\n"),
        [("host-duplicate", "two values for `ansible_host`", "lab.ini:7", "gpu1")],
    ),
    "same-address": (
        ini("[control_plane]\ncp1 ansible_host=192.0.2.1\n[workers]\ngpu1 ansible_host=192.0.2.1\n"),
        [("host-duplicate", "same address as cp1: 192.0.2.1 port 22", "lab.ini:4", "gpu1")],
    ),
    "unknown-variable": (
        ini(GOOD + "[all:vars]\ncluster_endpont=api\n"),
        [("variable-unknown", "`cluster_endpont`, did you mean `cluster_endpoint`?", "lab.ini:7", None)],
    ),
    "unknown-variable-prefix-typo": (
        ini(GOOD + "[all:vars]\nclutser_pod_cidr=10.1.0.0/16\n"),
        [("variable-unknown", "did you mean `cluster_pod_cidr`?", "lab.ini:7", None)],
    ),
    "unknown-connection-variable": (
        ini("[control_plane]\ncp1 ansible_hots=192.0.2.1\n"),
        [("variable-unknown", "did you mean `ansible_host`?", "lab.ini:2", "cp1")],
    ),
    "derived": (
        ini(GOOD + "[all:vars]\ncluster_os=debian-12\n"),
        [("variable-invalid", "worked out by gpuctl", "lab.ini:7", None)],
    ),
    "type": (
        ini(GOOD + "[all:vars]\ncluster_endpoint_port=https\n"),
        [("variable-invalid", 'must be of type int, not "https"', "lab.ini:7", None)],
    ),
    "range": (
        ini(GOOD + "[all:vars]\ncluster_endpoint_port=70000\n"),
        [("variable-invalid", "between 1 and 65535, not 70000", "lab.ini:7", None)],
    ),
    "boolean-for-int": (
        ini(GOOD + "[all:vars]\ncluster_endpoint_port=True\n"),
        [("variable-invalid", "whole number, not true", "lab.ini:7", None)],
    ),
    "choice": (
        ini(GOOD + "[all:vars]\ncluster_gpu=yes\n"),
        [("variable-invalid", 'one of auto, required, none; not "yes"', "lab.ini:7", None)],
    ),
    "choice-yaml-boolean": (
        yml("control_plane:\n  hosts:\n    cp1:\nall:\n  vars:\n    cluster_gpu: no\n"),
        [("variable-invalid", "no is read as true or false (false): quote it", "lab.yml:6", "cp1")],
    ),
    "pattern-newline": (
        yml('control_plane: {hosts: {cp1: {}}, vars: {cluster_name: "lab\\n"}}\n'),
        [("variable-invalid", "`cluster_name` must match", "lab.yml:1", "cp1")],
    ),
    "pattern": (
        ini(GOOD + "[all:vars]\ncluster_name=My_Lab\n"),
        [("variable-invalid", "`cluster_name` must match", "lab.ini:7", None)],
    ),
    "network": (
        ini(GOOD + "[all:vars]\ncluster_pod_cidr=10.244.1.0/16\n"),
        [("variable-invalid", "has host bits set", "lab.ini:7", None)],
    ),
    "network-no-prefix": (
        ini(GOOD + "[all:vars]\ncluster_pod_cidr=10.244.0.0\n"),
        [("variable-invalid", "must name a prefix length", "lab.ini:7", None)],
    ),
    "networks-overlap": (
        ini(GOOD + "[all:vars]\ncluster_pod_cidr=10.96.0.0/16\n"),
        [("variable-invalid", "overlap", "lab.ini:7", None)],
    ),
    "float-ini-vars": (
        ini(GOOD + "[all:vars]\ncluster_name=1.40\n"),
        [("variable-invalid", "1.40 is read as a number (1.4): quote it", "lab.ini:7", None)],
    ),
    "float-host-line": (
        ini('[control_plane]\ncp1 cluster_name="1.40"\n'),
        [("variable-invalid", "1.40 is read as a number (1.4): quote it", "lab.ini:2", "cp1")],
    ),
    "float-yaml": (
        yml("control_plane:\n  hosts:\n    cp1:\n  vars:\n    cluster_name: 1.40\n"),
        [("variable-invalid", "1.40 is read as a number (1.4): quote it", "lab.yml:5", "cp1")],
    ),
    "integer-that-loses": (
        ini(GOOD + "[all:vars]\ncluster_name=1_000\n"),
        [("variable-invalid", "1_000 is read as a int (1000): quote it", "lab.ini:7", None)],
    ),
    "empty-value-yaml": (
        yml("control_plane:\n  hosts:\n    cp1:\n  vars:\n    cluster_name:\n"),
        [("variable-invalid", "`cluster_name` has no value", "lab.yml:5", "cp1")],
    ),
    "list-choices": (
        ini(GOOD + "[all:vars]\ncluster_addons=['kueue']\n"),
        [("variable-invalid", "must be one of csi-driver-nfs", "lab.ini:7", None)],
    ),
    "nfs-to-everybody": (
        ini(GOOD + "[all:vars]\nnfs_server_networks=['10.0.0.0/16', '*']\n"),
        [("variable-invalid", "'*' is no address or network", "lab.ini:7", None)],
    ),
    "nfs-to-the-internet": (
        ini(GOOD + "[all:vars]\nnfs_server_networks=['0.0.0.0/0']\n"),
        [("variable-invalid", "0.0.0.0/0 opens the export to the internet", "lab.ini:7", None)],
    ),
    "differs": (
        ini("[control_plane]\ncp1\n[workers]\ngpu1\ngpu2 cluster_name=other\n"),
        [("variable-invalid", '"lab" on cp1, gpu1; "other" on gpu2', "lab.ini:5", None)],
    ),
    "jinja-undefined": (
        ini(GOOD + '[all:vars]\ncluster_name="{{ site }}-lab"\n'),
        [("variable-invalid", "'site' is undefined", "lab.ini:7", None)],
    ),
    "jinja-syntax": (
        ini(GOOD + '[all:vars]\ncluster_name="{{ site"\n'),
        [("variable-invalid", "`cluster_name`", "lab.ini:7", None)],
    ),
    "local-connection-twice": (
        ini("[control_plane]\ncp1 ansible_connection=local\n[workers]\ngpu1 ansible_connection=local\n"),
        [("connection-local-twice", "it and cp1 both", "lab.ini:4", "gpu1")],
    ),
    "port": (
        ini("[control_plane]\ncp1 ansible_port=ssh\n"),
        [("variable-invalid", "must be a TCP port, not 'ssh'", "lab.ini:2", "cp1")],
    ),
    "become-user": (
        ini("[control_plane]\ncp1 ansible_become_user=admin\n"),
        [("connection-unsupported", "ansible_become_user is not root", "lab.ini:2", "cp1")],
    ),
    "syntax-ini": (
        ini("[control_plane]\ncp1 oops\n"),
        [("inventory-invalid", "key=value", "lab.ini:2", None)],
    ),
    "syntax-ini-vars-of-nothing": (
        ini(GOOD + "[wokers:vars]\ncluster_name=x\n"),
        [("inventory-invalid", "[wokers:vars] not valid for undefined group", "lab.ini:6", None)],
    ),
    "syntax-yaml": (
        yml("control_plane:\n  hosts:\n   cp1: {\n"),
        [("inventory-invalid", "", "lab.yml:4", None)],
    ),
    "yaml-key-twice": (
        yml("control_plane:\n  hosts:\n    cp1:\n    cp1:\n"),
        [("host-duplicate", "listed twice in group `control_plane`", "lab.yml:4", "cp1")],
    ),
    "empty": (ini("# nothing\n"), [("inventory-empty", "has no hosts", None, None)]),
    "group-vars": (
        {**ini(GOOD), "group_vars/all.yml": "cluster_nmae: x\ncluster_gpu: maybe\n"},
        [
            ("variable-invalid", "must be one of", "group_vars/all.yml:2", None),
            ("variable-unknown", "did you mean `cluster_name`?", "group_vars/all.yml:1", None),
        ],
    ),
    "host-vars": (
        {**ini(GOOD), "host_vars/gpu1/main.yml": "ansible_connection: docker\n"},
        [("connection-unsupported", "`docker`", "host_vars/gpu1/main.yml:1", "gpu1")],
    ),
    "group-vars-syntax": (
        {**ini(GOOD), "group_vars/all.yml": "a: [\n"},
        [("inventory-invalid", "", "group_vars/all.yml:2", None)],
    ),
    "several-at-once": (
        ini("[control_plane]\ncp1 cluster_endpoint_port=x\n[wrkers]\ngpu1\n[all:vars]\ncluster_nam=y\n"),
        [
            ("variable-invalid", "must be of type int", "lab.ini:2", "cp1"),
            ("group-unknown", "did you mean `workers`", "lab.ini:3", "gpu1"),
            ("variable-unknown", "did you mean `cluster_name`", "lab.ini:6", "cp1"),
        ],
    ),
}


@pytest.fixture(scope="module")
def answers(resolve_many: Any) -> dict[str, tuple[Path, Any]]:
    found: dict[str, tuple[Path, Any]] = resolve_many({name: files for name, (files, _) in BAD.items()})
    return found


@pytest.mark.parametrize("name", BAD)
def test_each_problem_once_with_its_place(name: str, answers: dict[str, tuple[Path, Any]]) -> None:
    path, answer = answers[name]
    found = problems_of(answer, path)
    expected = BAD[name][1]
    seen = [(p.code, p.message, place(p, path), p.host) for p in found]
    assert len(found) == len(expected), seen
    for problem, (code, words, at, host) in zip(found, expected, strict=True):
        assert problem.code == code
        assert words in problem.message
        assert place(problem, path) == at, seen
        assert problem.host == host
        assert problem.fix


def place(problem: Problem, path: Path) -> str | None:
    return problem.at and problem.at.replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("float-ini-vars", 'cluster_name="1.40"'),
        ("float-host-line", "cluster_name='\"1.40\"'"),
        ("float-yaml", 'cluster_name: "1.40"'),
    ],
)
def test_the_fix_for_a_number_is_right_where_it_stands(
    name: str, spelled: str, answers: dict[str, tuple[Path, Any]], resolve_many: Any
) -> None:
    path, answer = answers[name]
    [problem] = problems_of(answer, path)
    assert problem.fix == f"write {spelled}"
    wrong = {"float-ini-vars": "cluster_name=1.40", "float-host-line": 'cluster_name="1.40"'}
    fixed = path.read_text().replace(wrong.get(name, "cluster_name: 1.40"), spelled)
    _, mended = resolve_many({f"{name}-mended": {path.name: fixed}})[f"{name}-mended"]
    assert mended["hosts"][0]["settings"]["cluster_name"] == "1.40"
