#!/usr/bin/env python3
"""Write bootstrap/launch/fields.json: the fields of a Job, a Volcano Job and a PyTorchJob, and what each may hold.

    tools/launch_fields.py VOLCANO PYTORCHJOB

The Job's are those of the kubernetes package that is installed, with all types below it; the others' come from their
custom resource definitions, as the roles volcano and kubeflow_training_operator install them (installer/
volcano-development.yaml, manifests/base/crds/kubeflow.org_pytorchjobs.yaml). Pods' templates in them are Kubernetes'.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FIELDS = Path(__file__).parents[1] / "bootstrap" / "launch" / "fields.json"
Types = dict[str, dict[str, str]]
_PLAIN = {"str": "text", "int": "integer", "float": "number", "bool": "truth", "object": "any", "datetime": "any"}
_OF_CRD = {"string": "text", "integer": "integer", "number": "number", "boolean": "truth"}
# The package takes a quantity for a text, which it need not be: 4 is one as well as "4" and "500m".
_QUANTITIES = frozenset({"limits", "requests", "overhead", "sizeLimit", "divisor", "minResources", "storage"})
_KUBERNETES = {
    "template": "V1PodTemplateSpec",
    "volumeClaim": "V1PersistentVolumeClaimSpec",
    "metadata": "V1ObjectMeta",
}


def of_kubernetes(root: str) -> Types:
    """The types that `root` leads to, each with its fields as they stand in a file."""
    from kubernetes.client import models

    found: Types = {}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        model = getattr(models, name)
        fields = {model.attribute_map[key]: kind for key, kind in model.openapi_types.items()}
        found[name] = {field: _kind(field, kind) for field, kind in sorted(fields.items())}
        waiting += [word for kind in fields.values() for word in re.findall(r"\w+", kind) if hasattr(models, word)]
    return dict(sorted(found.items()))


def _kind(field: str, kind: str) -> str:
    if inner := re.fullmatch(r"List\[(.+)\]", kind):
        return f"[{_kind('', inner[1])}]"
    if inner := re.fullmatch(r"Dict\[str, (.+)\]", kind):
        return f"{{{_kind(field, inner[1])}}}"
    return "quantity" if field in _QUANTITIES and kind == "str" else _PLAIN.get(kind, kind)


def of_definition(definition: Mapping[str, Any], name: str) -> Types:
    """The types of a custom resource definition's stored version; those below `name` are called after their place."""
    (version,) = [each for each in definition["spec"]["versions"] if each["storage"]]
    found: Types = {}
    found.update(_below(version["schema"]["openAPIV3Schema"], name))
    return dict(sorted(found.items()))


def _below(schema: Mapping[str, Any], name: str) -> Iterator[tuple[str, dict[str, str]]]:
    fields: dict[str, str] = {}
    for field, inner in sorted(schema["properties"].items()):
        if field == "status":
            fields[field] = "any"
            continue
        fields[field], below = _field(field, inner, f"{name}.{field}")
        if below is not None:
            yield from _below(below, f"{name}.{field}")
    yield name, fields


def _field(field: str, schema: Mapping[str, Any], name: str) -> tuple[str, Mapping[str, Any] | None]:
    """The kind of a field, and the schema of the type that it names, if that is the definition's own."""
    if field in _KUBERNETES:
        return _KUBERNETES[field], None
    if "properties" in schema:
        return name, schema
    for holder, form in (("items", "[{}]"), ("additionalProperties", "{{{}}}")):
        if isinstance(schema.get(holder), Mapping):
            kind, below = _field("" if holder == "items" else field, schema[holder], name)
            return form.format(kind), below
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity" if field in _QUANTITIES else "any", None
    return _OF_CRD.get(str(schema.get("type")), "any"), None


def document(volcano: Path, pytorchjob: Path) -> dict[str, Any]:
    """All of it: the kubernetes package's release, and type → field → kind."""
    import kubernetes
    import yaml

    documents = [each for path in (volcano, pytorchjob) for each in yaml.safe_load_all(path.read_text("utf-8")) if each]
    named = {str(each["metadata"]["name"]): each for each in documents if each["kind"] == "CustomResourceDefinition"}
    job = of_kubernetes("V1Job")
    claims = of_kubernetes("V1PersistentVolumeClaimSpec")
    return {
        "kubernetes": kubernetes.__version__.partition(".")[0],
        "types": {
            **job,
            **claims,
            **of_definition(named["jobs.batch.volcano.sh"], "VolcanoJob"),
            **of_definition(named["pytorchjobs.kubeflow.org"], "PyTorchJob"),
        },
    }


if __name__ == "__main__":
    found = document(Path(sys.argv[1]), Path(sys.argv[2]))
    lines = [f"  {json.dumps(name)}: {json.dumps(fields)}" for name, fields in found["types"].items()]
    head = f'{{"kubernetes": {json.dumps(found["kubernetes"])}, "types": {{'
    FIELDS.write_text(head + "\n" + ",\n".join(lines) + "\n}}\n", encoding="utf-8")
