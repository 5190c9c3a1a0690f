"""One component on one host: its receipt and evidence against what is wanted now, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bootstrap.hostside.gpuctl_evidence import UNVERIFIED
from bootstrap.hostside.gpuctl_url import has_login
from bootstrap.inventory.schema import Component, Revision, Variable, options_of
from bootstrap.plan.digests import plain, same
from bootstrap.probe.facts import Drift
from bootstrap.probe.receipt import DAMAGED

_WORDS = {
    "file": "{name} {change}",
    "package": "{name} {was} → {now}",
    "unit": "{name} is {now}, was {was}",
    "sysctl": "sysctl {name} is {now}, was {was}",
    "object": "{name} {change}",
}


def receipt_trouble(receipt: Mapping[str, Any], machine_id: str | None) -> str:
    """Why a receipt cannot vouch for the component at all; empty when it can."""
    if receipt.get("schema") != 1:
        return "its receipt is of a form that this version does not know"
    if receipt.get("state") == DAMAGED:
        return f"its receipt is damaged: {receipt.get('why') or 'it cannot be parsed'}"
    if receipt.get("machine_id") not in {None, machine_id}:
        return "its receipt is from another machine (cloned disk?)"
    return ""


def changed_arguments(component: Component, receipt: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of arguments whose value is not the one that the receipt has."""
    recorded = receipt.get("arguments", {})
    changed = []
    for option in options_of(component.name):
        if option.name not in values or option.name in component.transient:
            continue
        entry = recorded.get(option.name)
        if entry is None and plain(values[option.name]) == plain(option.default):
            continue  # an argument that the role did not have then, and that says what it did then
        if entry is None or not _recorded_is(option, str(entry["digest"]), values[option.name]):
            changed.append(option.name)
    return tuple(changed)


def _recorded_is(option: Variable, digest: str, value: Any) -> bool:
    """Whether that was the value. Only what is secret has a slow digest: a host must not make us work out others."""
    secret = option.no_log or has_login(plain(value))
    return (secret or not digest.startswith("scrypt:")) and same(digest, plain(value))


def describe_argument(receipt: Mapping[str, Any], name: str, value: Any, secret: bool) -> str:
    """`pod_cidr 10.244.0.0/16 → 10.42.0.0/16`; for secrets and long values only that it changed."""
    entry = receipt.get("arguments", {}).get(name)
    if entry is None:
        return f"{name} is new"
    was, now = _short(entry.get("value")), _short(value)
    if secret or "value" not in entry or has_login([entry["value"], value]) or was is None or now is None:
        return f"{name} changed"
    return f"{name} {was} → {now}"


def reasons_to_change(
    component: Component, receipt: Mapping[str, Any], values: Mapping[str, Any], drift: Sequence[Drift]
) -> tuple[str, ...]:
    """Everything but a raised revision that makes a complete receipt outdated, one sentence each."""
    secret = {option.name for option in options_of(component.name) if option.no_log}
    reasons = [
        describe_argument(receipt, name, values[name], name in secret)
        for name in changed_arguments(component, receipt, values)
    ]
    return (*reasons, *(describe_drift(item) for item in drift))


def unverified(drift: Drift) -> bool:
    """Whether a key file of apt's holds more than the keys that were verified; an older gpuctl wrote it as it came."""
    return drift.now.split(",")[0] == UNVERIFIED


def raises_since(component: Component, receipt: Mapping[str, Any], drift: Sequence[Drift]) -> tuple[Revision, ...]:
    """The raises of the role's revision that the receipt has not seen; one without a revision has the first.

    What an older gpuctl left open counts as such, on the hosts that have it: a login in the clear, which goes where
    root alone reads it, and a key file with more in it than the keys that were verified.
    """
    recorded = receipt.get("revision")
    known = recorded if isinstance(recorded, int) and not isinstance(recorded, bool) else 1
    raised = tuple(change for change in component.raises if change.number > known)
    arguments = receipt.get("arguments", {})
    clear = [name for name, entry in arguments.items() if isinstance(entry, Mapping) and has_login(entry.get("value"))]
    left = [f"the password in {' and '.join(sorted(clear))} can be read by others on the host"] if clear else []
    left += [f"{item.key.partition(':')[2]} holds more than verified keys" for item in drift if unverified(item)]
    return (*raised, *(Revision(component.revision, why, "none") for why in left))


def describe_drift(drift: Drift) -> str:
    """One sentence on one piece of evidence that is not as recorded."""
    kind, _, name = drift.key.partition(":")
    form = _WORDS.get(kind, "{name} {was} → {now}")
    if kind == "package" and drift.now == "absent":
        form = "package {name} {was} was removed on the host"
    elif kind == "package":
        form += _direction(drift.was, drift.now)
    return form.format(name=name, was=drift.was, now=drift.now, change=_change(kind, drift))


def _change(kind: str, drift: Drift) -> str:
    if drift.now == "absent":
        return "was deleted"
    if drift.now == "unknown":
        return "could not be read"
    if drift.was == "absent":
        return "appeared"
    if kind == "object":
        return f"was changed by {drift.now}" if drift.now and not drift.now.startswith("sha256:") else "was changed"
    attributes = [a != b for a, b in zip(drift.was.split(",")[1:], drift.now.split(",")[1:], strict=False)]
    if drift.was.split(",")[0] == drift.now.split(",")[0] and any(attributes):
        return f"has mode and owner {drift.now.split(',', 1)[1]}, was {drift.was.split(',', 1)[1]}"
    return f"edited on the host ({drift.when})" if drift.when else "edited on the host"


def _direction(was: str, now: str) -> str:
    """Whether a package went up or down, by the digits of its version: good enough to say, never to decide."""

    def digits(version: str) -> list[int]:
        return [int(part) for part in re.findall("[0-9]{1,18}", version)]

    return " (downgraded on the host)" if digits(now) < digits(was) else " (changed on the host)"


def _short(value: Any) -> str | None:
    if isinstance(value, (str, int, float, bool)) and len(str(value)) <= 60 and "\n" not in str(value):
        return str(value).lower() if isinstance(value, bool) else str(value) or '""'
    return None
