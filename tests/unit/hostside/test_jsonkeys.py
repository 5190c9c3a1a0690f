"""Keys of ours in a JSON file of others: set, followed, refused, and taken out again without a trace."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.hostside import gpuctl_jsonkeys as jsonkeys
from bootstrap.hostside.gpuctl_jsonkeys import MISSING, ConflictError, leaves, load, lookup, merge, without

NAMES = st.sampled_from(["a", "b", "runtimes", "nvidia", "log-opts", "ü"])
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
TREES = st.dictionaries(NAMES, VALUES, max_size=4)


@given(TREES, TREES, TREES)
def test_what_is_merged_can_be_taken_out_again(
    tree: dict[str, Any], keys: dict[str, Any], soft: dict[str, Any]
) -> None:
    """And every key of others keeps its value meanwhile."""
    before = copy.deepcopy(tree)
    try:
        merged = merge(tree, keys, [soft], {})
    except ConflictError:
        return
    assert tree == before
    for path, value in leaves(before).items():
        assert value == {} or jsonkeys.same(lookup(merged.tree, path), value)
    for path, value in leaves(keys).items():
        assert value == {} or jsonkeys.same(lookup(merged.tree, path), value)
    assert without(merged.tree, merged.owned)[0] == before
    again = merge(merged.tree, keys, [soft], merged.owned)
    assert (again.tree, again.changed, again.owned) == (merged.tree, [], merged.owned)


@given(TREES, TREES, TREES)
def test_other_keys_replace_ours_as_if_these_had_never_been(
    tree: dict[str, Any], first: dict[str, Any], second: dict[str, Any]
) -> None:
    try:
        merged = merge(tree, first, [], {})
        fresh = merge(tree, second, [], {})
    except ConflictError:
        return
    assert merge(merged.tree, second, [], merged.owned).tree == fresh.tree


@given(TREES, st.text(max_size=3))
def test_what_others_add_meanwhile_stays(tree: dict[str, Any], value: str) -> None:
    keys = {"ours": {"deep": {"key": 1}}}
    merged = merge(tree, keys, [], {})
    merged.tree["theirs"] = value
    merged.tree["ours"]["theirs"] = value
    assert without(merged.tree, merged.owned)[0] == {**tree, "theirs": value, "ours": {"theirs": value}}


@given(TREES)
def test_text_and_back(tree: dict[str, Any]) -> None:
    assert load(jsonkeys.dump(tree, '{\n\t"a": 1\n}')) == tree


def test_a_needed_key_with_another_value_is_refused() -> None:
    with pytest.raises(ConflictError, match=r'default-runtime is "crun", needed is "nvidia"'):
        merge({"default-runtime": "crun"}, {"default-runtime": "nvidia"}, [], {})
    with pytest.raises(ConflictError, match=r'runtimes is \[\], needed is \{"nvidia": \{"path": "x"\}\}'):
        merge({"runtimes": []}, {"runtimes": {"nvidia": {"path": "x"}}}, [], {})
    with pytest.raises(ConflictError):  # true is no number
        merge({"a": 1}, {"a": True}, [], {})


def test_a_key_of_ours_that_was_edited_is_set_again() -> None:
    first = merge({}, {"a": {"b": 1}}, [], {})
    assert merge({"a": {"b": 2}}, {"a": {"b": 1}}, [], first.owned).changed == [("a", "b")]
    assert merge({}, {"a": {"b": 3}}, [], first.owned).tree == {"a": {"b": 3}}


def test_defaults_give_way_as_a_group() -> None:
    logs = {"log-driver": "json-file", "log-opts": {"max-size": "100m"}}
    assert merge({"log-driver": "journald"}, {}, [logs], {}).tree == {"log-driver": "journald"}
    assert merge({"log-opts": {"max-file": "3"}}, {}, [logs], {}).tree == {
        "log-opts": {"max-file": "3", "max-size": "100m"},
        "log-driver": "json-file",
    }
    assert merge({}, {"log-driver": "local"}, [logs], {}).tree == {"log-driver": "local"}
    ours = merge({}, {}, [logs], {})
    assert merge(ours.tree, {"log-driver": "local"}, [logs], ours.owned).tree == {"log-driver": "local"}


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "[]", "{", '{"a": 1}}', '"x"'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        load(text)


def test_an_empty_file_is_an_empty_object() -> None:
    assert load(" \n") == {}


def test_the_layout_is_kept() -> None:
    tree = {"a": {"b": 1}}
    for text in (json.dumps(tree, indent=4) + "\n", json.dumps(tree, indent="\t") + "\n"):
        assert jsonkeys.dump(load(text), text) == text


def test_what_is_missing_is_nothing_else() -> None:
    assert lookup({"a": None}, ("a",)) is None
    assert lookup({"a": None}, ("a", "b")) is MISSING
