"""One value by its argument spec: Ansible's own validator, and the losses that it does not notice.

Imported by resolve_child only (it loads Ansible).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import ArgumentTypeError, ArgumentValueError

from bootstrap.hostside.gpuctl_url import without_logins
from bootstrap.inventory.scan import Definition
from bootstrap.inventory.schema import Variable


class RejectedError(ValueError):
    """A value does not fit; the text continues a sentence that starts with the variable's name."""

    def __init__(self, message: str, fix: str = "") -> None:
        self.fix = fix
        super().__init__(message)


class Coercer:
    """Validators of all variables, made when first needed."""

    def __init__(self, known: Mapping[str, Variable]) -> None:
        self._known = known
        self._validators: dict[str, ArgumentSpecValidator] = {}

    def coerce(self, name: str, value: Any, written: Definition | None = None) -> Any:
        """The value as the spec's type; `written` tells how the file spells it.

        Raises:
            RejectedError: it does not fit, or would silently become something else than what is written.
        """
        variable = self._known[name]
        _refuse_losses(variable.spec, value, name, written)
        if name not in self._validators:
            spec = {key: item for key, item in variable.spec.items() if key not in {"required", "default"}}
            self._validators[name] = ArgumentSpecValidator({name: spec})
        result = self._validators[name].validate({name: value}, validate_role_argument_spec=True)
        for error in result.errors.errors:
            raise RejectedError(_words(variable, value, error))
        return result.validated_parameters[name]


def _refuse_losses(spec: Mapping[str, Any], value: Any, name: str, written: Definition | None) -> None:
    """Ansible turns anything into a string; what YAML or INI took for something else is not what was written."""
    kind = spec.get("type", "str")
    if value is None:
        raise RejectedError("has no value", f'remove `{name}`, or write {name}: "" for an empty one')
    if kind == "str" and not isinstance(value, str):
        raw = written.raw if written and written.raw else _show(value)
        lossless = isinstance(value, int) and not isinstance(value, bool) and raw.strip("'\"") == str(value)
        if not lossless:
            what = {bool: "true or false", float: "a number"}.get(type(value), f"a {type(value).__name__}")
            raise RejectedError(
                f"must be text, but {raw} is read as {what} ({_show(value)}): quote it", _quote(name, raw, written)
            )
    if kind == "int" and isinstance(value, bool):
        raise RejectedError(f"must be a whole number, not {_show(value)}")
    if kind == "dict" and isinstance(value, Mapping):
        for key, sub in (spec.get("options") or {}).items():
            if key in value:
                _refuse_losses(sub or {}, value[key], f"{name}.{key}", None)
    if kind == "list" and isinstance(value, list) and spec.get("elements"):
        for item in value:
            _refuse_losses({"type": spec["elements"], "options": spec.get("options")}, item, name, None)


def _quote(name: str, raw: str, written: Definition | None) -> str:
    """How to quote depends on where it stands: a host line loses one pair of quotes to the shell-like splitting."""
    form = written.form if written else "yaml"
    bare = raw.strip("'\"")
    spelled = {"host-line": f"{name}='\"{bare}\"'", "ini-vars": f'{name}="{bare}"'}.get(form, f'{name}: "{bare}"')
    return f"write {spelled}"


def _words(variable: Variable, value: Any, error: Exception) -> str:
    """Our sentence for the common cases, Ansible's for the others; a secret's value is never in it."""
    shown = "that" if variable.no_log else _show(value)
    text = str(error)
    if isinstance(error, ArgumentTypeError) and f"argument '{variable.name}'" in text:
        return f"must be of type {variable.type}, not {shown}"
    if isinstance(error, ArgumentValueError) and variable.choices and variable.name in text:
        return f"must be one of {', '.join(map(str, variable.choices))}; not {shown}"
    return "does not fit its spec" if variable.no_log else f"does not fit: {without_logins(text)}"


def _show(value: Any) -> str:
    text = without_logins(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 80 else text[:77] + "..."
