"""What a failed task may say on the controller: codes of the catalogue, and remedies that our own files hold.

Modules run on hosts, so a code and a remedy in their answers are words of a host, which may be anybody's by now. Both
are looked up: the code in error_catalogue.yml, the remedy among the texts that our modules and roles have for it.
Where a text takes values, each is one word, or one of our texts again. What fits nothing is replaced by the
catalogue's remedy. So nothing that a value brings along ("; fix: curl ... | sh") is ever shown as ours.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from bootstrap.apply.module_code import files
from bootstrap.content import catalogue_path, playbooks_path, roles_path
from bootstrap.printable import one_line, printable

_CODE = re.compile(r"\[([a-z0-9-]{1,64})\]\s*")
_MARK = re.compile(r";\s*fix:\s*")
_JINJA = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_PERCENT = re.compile(r"%(?:[sdr]|\(\w+\)s)")
# One word: a path, a version, a URL, a name, an assignment. No blank, nothing that a shell or Markdown gives a meaning.
_WORD = re.compile(r"(?:[A-Za-z0-9/\[][A-Za-z0-9_./:@%+=,\[\]-]{0,253})?")
_LEAST = 8  # letters that a text must have of its own; one of fewer would fit almost anything
_DEEPEST = 3  # texts within texts
_LONGEST = 600  # characters of a remedy; the longest of ours has a third of it
_SENTENCE = 400  # characters of the sentence before it
_ANY = "*"
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Text = tuple[str, ...]  # a text's own parts; between them stand values


@dataclass(frozen=True, slots=True)
class Told:
    """A failure that was foreseen. `left` is what came with it as a remedy and is none of ours: words of the host."""

    code: str
    what: str
    fix: str
    left: str = ""

    def as_text(self) -> str:
        """The form in which a module's message has it."""
        return f"[{self.code}] {self.what}" + (f"; fix: {self.fix}" if self.fix else "")


def told(message: str) -> Told | None:
    """What a task's message says; None where it has no code of the catalogue."""
    message = printable(message)
    begin = _CODE.match(message)
    if begin is None or begin[1] not in catalogue():
        return None
    code, rest = begin[1], message[begin.end() :].strip()
    for mark in reversed(list(_MARK.finditer(rest))):
        if ours(code, rest[mark.end() :].strip()):
            return Told(code, rest[: mark.start()].strip(), rest[mark.end() :].strip())
    mark_or_none = _MARK.search(rest)
    what, left = (rest[: mark_or_none.start()], rest[mark_or_none.end() :]) if mark_or_none else (rest, "")
    return Told(code, what.strip(), catalogue()[code], left.strip())


def answered(found: dict[str, Any], module: str) -> dict[str, Any]:
    """A failed answer of a module, with a code and a remedy that are ours; else with the host's sentence as its."""
    message = str(found.get("msg") or "").strip() or "it gave no reason"
    if (known := told(message)) is not None:
        more = {"details": "\n".join(filter(None, (str(found.get("details") or ""), known.left)))} if known.left else {}
        return {**found, **more, "code": known.code, "msg": known.as_text()}
    found.pop("code", None)
    return {**found, "msg": f"{module} failed: {one_line(message, _SENTENCE)}"}


def ours(code: str, fix: str) -> bool:
    """Whether our own files have this remedy for the code."""
    if not fix or len(fix) > _LONGEST or "\n" in fix:
        return False
    known = texts()
    return fix == catalogue().get(code) or any(
        _fits(fix, text, 0) for text in (*known.get(code, ()), *known.get(_ANY, ()))
    )


@cache
def catalogue() -> Mapping[str, str]:
    """The remedy of each code, as docs/errors.md has it."""
    groups = yaml.load(catalogue_path().read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe loader
    return {code: str(entry["fix"]) for group in groups.values() for code, entry in group.items()}


@cache
def texts() -> Mapping[str, tuple[Text, ...]]:
    """Remedies by code, of all modules and roles; those whose code is worked out when they are needed under "*"."""
    found: dict[str, set[Text]] = {}
    for code, text in (*_of_modules(), *_of_tasks()):
        if sum(map(str.isalpha, "".join(text))) >= (_LEAST if len(text) > 1 else 1):
            found.setdefault(code, set()).add(text)
    return {code: tuple(sorted(group)) for code, group in found.items()}


@cache
def _parts() -> tuple[Text, ...]:
    """Texts of modules that have blanks: of such, remedies are put together."""
    every = {text for source in _sources().values() for text in source.every}
    return tuple(t for t in every if " " in "".join(t) and sum(map(str.isalpha, "".join(t))) >= _LEAST)


def _fits(said: str, text: Text, depth: int) -> bool:
    """Whether `said` is the text with one word, or one of our texts, in each place."""
    if not said.startswith(text[0]) or not said.endswith(text[-1]) or len(said) < sum(map(len, text)):
        return False
    if len(text) == 1:
        return said == text[0]
    at = len(text[0])
    values = []
    for part in text[1:-1]:
        end = said.find(part, at)
        if end < 0:
            return False
        values.append(said[at:end])
        at = end + len(part)
    values.append(said[at : len(said) - len(text[-1])])
    return at <= len(said) - len(text[-1]) and all(_value(value, depth) for value in values)


def _value(value: str, depth: int) -> bool:
    if _WORD.fullmatch(value):
        return True
    return depth < _DEEPEST and any(_fits(value, text, depth + 1) for text in _parts())


@dataclass(frozen=True, slots=True)
class _Source:
    tree: ast.Module
    names: Mapping[str, tuple[ast.expr, ...]]  # what is assigned to a name anywhere in the file
    every: tuple[Text, ...]


@cache
def _sources() -> Mapping[str, _Source]:
    return {name: _source(text) for name, text in files().items() if name.endswith(".py")}


def _source(code: str) -> _Source:
    tree = ast.parse(code)
    names: dict[str, tuple[ast.expr, ...]] = {}
    every: list[Text] = []
    for node in ast.walk(tree):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(value, ast.expr):
                names[target.id] = (*names.get(target.id, ()), value)
        if isinstance(node, ast.JoinedStr | ast.Constant):
            every += _literal(node, names)
    return _Source(tree, names, tuple(every))


def _of_modules() -> Iterator[tuple[str, Text]]:
    for source in _sources().values():
        for code, fix in _failures(source):
            yield from ((code, text) for text in _read(fix, source))


def _failures(source: _Source) -> Iterator[tuple[str, ast.expr]]:
    """(code, remedy) of every HostError of a file."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "HostError" or not node.args:
            continue
        fix = node.args[2] if len(node.args) > 2 else next((k.value for k in node.keywords if k.arg == "fix"), None)
        if fix is not None:
            code = node.args[0]
            yield (str(code.value) if isinstance(code, ast.Constant) else _ANY), fix


def _read(node: ast.expr, source: _Source) -> list[Text]:
    """The texts that an expression may come to; all of the file's where that cannot be seen."""
    if isinstance(node, ast.Constant | ast.JoinedStr):
        return _literal(node, source.names)
    if isinstance(node, ast.IfExp):
        return _read(node.body, source) + _read(node.orelse, source)
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in _read(value, source)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return [tuple(_PERCENT.split(text[0])) for text in _read(node.left, source) if len(text) == 1]
    if isinstance(node, ast.Name) and node.id in source.names:
        return [text for value in source.names[node.id] for text in _read(value, source)]
    if isinstance(node, ast.Dict):
        return [text for value in node.values for text in _read(value, source)]
    if isinstance(node, ast.Subscript):
        return _read(node.value, source)
    if isinstance(node, ast.Name):
        return _elsewhere(node.id) or list(source.every)
    if isinstance(node, ast.Attribute) and node.attr == "fix":  # of an error that is raised anew
        every = [(fix, other) for other in _sources().values() for _, fix in _failures(other)]
        return [text for fix, other in every if not isinstance(fix, ast.Attribute) for text in _read(fix, other)]
    return list(source.every)


def _elsewhere(name: str) -> list[Text]:
    """What other files assign to a name that this one imports."""
    return [
        text
        for source in _sources().values()
        for value in source.names.get(name, ())
        if name.isupper()
        for text in _read(value, source)
    ]


def _literal(node: ast.expr, names: Mapping[str, tuple[ast.expr, ...]]) -> list[Text]:
    """A string, or an f-string, in which constants of the file stand for themselves."""
    if isinstance(node, ast.Constant):
        return [(node.value,)] if isinstance(node.value, str) else []
    parts = [""]
    for value in getattr(node, "values", ()):
        inner = value.value if isinstance(value, ast.FormattedValue) else value
        if isinstance(inner, ast.Name) and inner.id.isupper() and len(names.get(inner.id, ())) == 1:
            inner = names[inner.id][0]
        if isinstance(inner, ast.Constant):
            parts[-1] += str(inner.value)
        else:
            parts.append("")
    return [tuple(parts)]


def _of_tasks() -> Iterator[tuple[str, Text]]:
    """Messages of tasks, and remedies that tasks hand to modules."""
    for path in sorted((*roles_path().glob("*/tasks/*.yml"), *playbooks_path().glob("*.yml"))):
        yield from _of_yaml(yaml.load(path.read_text(encoding="utf-8"), _Loader))  # noqa: S506 - a safe loader


def _of_yaml(node: Any) -> Iterator[tuple[str, Text]]:
    if isinstance(node, Mapping):
        if isinstance(node.get("code"), str) and isinstance(node.get("fix"), str):
            yield node["code"], tuple(_JINJA.split(node["fix"]))
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _of_yaml(item)
    elif isinstance(node, str) and (begin := _CODE.match(node)) and (marks := list(_MARK.finditer(node))):
        yield begin[1], tuple(_JINJA.split(node[marks[-1].end() :].strip()))
