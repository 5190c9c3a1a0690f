from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles.wandb_api.execution import execute
from tests.doubles.wandb_api.language import GraphQLSyntaxError, parse
from tests.doubles.wandb_api.templates import fill

QUERY = """# as the real client writes them
query Q($n: Int = 2, $ids: [ID!]!, $deep: Boolean!) {
  renamed: echo(value: {n: $n, ids: $ids, kind: PROJECT, text: "a\\"b", missing: $missing, list: [1, -2.5, null]})
  ...Rest @include(if: $deep)
  ... on Query { skipped: one @skip(if: true) }
  things { __typename name }
}
fragment Rest on Query { one }"""


def test_aliases_variables_fragments_and_directives() -> None:
    root: dict[str, Any] = {
        "echo": lambda arguments: arguments["value"],
        "one": 1,
        "things": [{"__typename": "T", "name": "x"}, {"__typename": "T", "name": "y"}],
    }
    document = parse(QUERY)
    answer = execute(document, document.operation("Q"), {"ids": ["a"], "deep": True}, root)
    assert answer == {
        "renamed": {"n": 2, "ids": ["a"], "kind": "PROJECT", "text": 'a"b', "list": [1, -2.5, None]},
        "one": 1,
        "things": [{"__typename": "T", "name": "x"}, {"__typename": "T", "name": "y"}],
    }
    assert "one" not in execute(document, document.operation(None), {"ids": [], "deep": False}, root)


@given(st.text(alphabet='{}()[]:$!@."\\#0123-abq \n', max_size=60) | st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(GraphQLSyntaxError):
        assert parse(text) == parse(text + " # said twice")


@pytest.mark.parametrize("text", ["{a(x: 01)}", '{a(x: "\\q")}', '{a(x: "open)}', "{", "query {a} }", "{a(x: )}"])
def test_what_is_no_graphql_is_named_so(text: str) -> None:
    with pytest.raises(GraphQLSyntaxError):
        parse(text)


_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet="ab${} "),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet="ab", max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(_TREES)
def test_only_the_variables_of_the_queue_are_filled_in(tree: Any) -> None:
    assert fill(tree, {"gpus": 2}) == tree


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{gpus}}", 2),
        ("{{ gpus }}", 2),
        ("{{gpus}}{{gpus}}", "22"),
        ("x-{{gpus}}", "x-2"),
        ("{{other}}", "{{other}}"),
        ("${gpus}", "${gpus}"),
    ],
)
def test_places_alone_are_typed_and_others_are_text(text: str, filled: object) -> None:
    assert fill({"k": [text]}, {"gpus": 2}) == {"k": [filled]}
