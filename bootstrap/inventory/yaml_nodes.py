"""Of a YAML document before its values are made: how much it comes to, and keys that stand twice. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

# What a file of either kind comes to with its anchors written out; the longest that people have is some hundred.
MOST_NODES = 50_000
MERGE = "tag:yaml.org,2002:merge"


def too_much(node: yaml.Node) -> bool:
    """Whether the document is larger than MOST_NODES once its anchors are written out.

    A few lines of anchors can come to more than any memory holds. What holds itself is left to the parser to refuse.
    """
    sizes: dict[int, int] = {}

    def size(each: yaml.Node) -> int:
        if id(each) not in sizes:
            sizes[id(each)] = 1  # while it is counted
            sizes[id(each)] = 1 + sum(size(child) for child in _children(each))
        return sizes[id(each)]

    return size(node) > MOST_NODES


def doubled(node: yaml.Node) -> Iterator[tuple[str, yaml.Mark, yaml.Mark]]:
    """Each key that stands twice in one mapping, with the marks of both; the last one would win without a word.

    A key that overrides one of a merge (`<<`) is none of them: it is what merges are for.
    """
    done: set[int] = set()
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if id(each) in done:
            continue
        done.add(id(each))
        waiting += reversed(_children(each))  # in the order of the document
        if not isinstance(each, yaml.MappingNode):
            continue
        seen: dict[str, yaml.Mark] = {}
        for key, _ in each.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            if key.value in seen:
                yield str(key.value), seen[key.value], key.start_mark
            seen.setdefault(key.value, key.start_mark)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
