"""YAML of a host's, of which nothing is interpreted: texts, null, booleans, lists and mappings."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.composer import ComposerError

_PLAIN: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}


class _Loader(yaml.BaseLoader):
    """No tags, numbers or dates, whose constructors raise what they like, and no aliases.

    Merge keys of aliases (`<<: [*a, *a]`) double a document with every line. The parser is the one in Python, not
    libyaml's: what is nested too deep is an error there, and no crash.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """A node of the document; an alias is an error."""
        if self.check_event(yaml.AliasEvent):
            raise ComposerError(problem="an alias")
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        """Its text; null or a boolean where that stands there without quotes."""
        text = super().construct_scalar(node)
        return _PLAIN.get(text, text) if node.style is None else text


def parse_plain(text: str, max_bytes: int = 1 << 19) -> Any:
    """The document of a text. The default is a kubeconfig with a hundred clusters.

    Raises:
        ValueError: it is too long, no YAML, or has aliases.
    """
    if len(text.encode("utf-8", "replace")) > max_bytes:
        raise ValueError(f"it has more than {max_bytes >> 10} KiB")
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - it constructs less than a SafeLoader
    except (yaml.YAMLError, RecursionError, OverflowError, ValueError):
        # Besides YAML's own: what is nested too deep, and escapes of characters that there are not.
        raise ValueError("it is no YAML") from None
