"""What an answer of a host may decide on the controller: nothing."""

from __future__ import annotations

import json

from bootstrap.apply.host_action import _result


def test_a_host_adds_no_hosts_groups_or_variables() -> None:
    evil = {
        "changed": True,
        "state": "complete",
        "add_host": {"host_name": "seed", "host_vars": {"ansible_ssh_common_args": "-o ProxyCommand=x"}},
        "add_group": "g",
        "ansible_facts": {"ansible_host": "elsewhere"},
        "_ansible_delegated_vars": {},
    }
    found = _result("gpuctl_receipt", {"stdout": "welcome\n" + json.dumps(evil) + "\n"})
    assert found == {"changed": True, "state": "complete"}


def test_its_answer_may_have_any_shape() -> None:
    strange = {
        "ansible_facts": [1],
        "ansible_stats": {"data": {"x": 1}},
        "exception": "{{ x }}",
        "deprecations": 5,
        "a": 1,
    }
    assert _result("gpuctl_files", {"stdout": json.dumps(strange)}) == {"a": 1}


def test_what_is_no_answer_is_a_failure() -> None:
    for said in ("", "[]", "Traceback", "3"):
        found = _result("gpuctl_files", {"stdout": said, "stderr": "line\nlast line"})
        assert found["failed"]
        assert found["msg"] == "gpuctl_files gave no answer: last line"
