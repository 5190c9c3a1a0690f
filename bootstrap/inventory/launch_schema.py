"""The keys of the values.yaml of W&B's chart for the Launch agent, and what each may hold.

The keys are those of chart launch-agent 0.13.12, the keys of its `launchConfig` those that client 0.31.0 takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

# A kind of value: what it is called, and whether a parsed value is of it.
Kind = tuple[str, Callable[[Any], bool]]

_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The client's own rule (wandb 0.31): what follows the first dash, or all of it.
_API_KEY = re.compile(r"(?:[^-]*-)?[A-Za-z0-9_-]{40,}")


def _is_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _one_of(*words: str) -> Kind:
    return f"one of {', '.join(words)}", lambda value: value in words


_TEXT: Kind = ("text (in quotes where YAML reads something else)", lambda value: isinstance(value, str))
_FLAG: Kind = ("true or false", lambda value: isinstance(value, bool))
_NUMBER: Kind = ("a whole number", _is_number)
_SHARE: Kind = ("a whole number or a percentage", lambda value: _is_number(value) or isinstance(value, str))
_MAP: Kind = ("a mapping", _is_map)
_LIST: Kind = ("a list of mappings", lambda value: isinstance(value, list) and all(map(_is_map, value)))
_TEXTS: Kind = ("a list of texts", lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value))
_NAMES: Kind = (
    "a list of names of namespaces (a-z, 0-9, -)",
    lambda value: isinstance(value, list) and all(isinstance(v, str) and _DNS_LABEL.fullmatch(v) for v in value),
)
_NAME: Kind = ("the name of a namespace (a-z, 0-9, -)", lambda v: isinstance(v, str) and bool(_DNS_LABEL.fullmatch(v)))
_URL: Kind = (
    "an http or https address",
    lambda value: isinstance(value, str) and value.startswith(("https://", "http://")),
)
_KEY: Kind = (
    "a W&B API key: 40 or more of A-Z a-z 0-9 _ -",
    lambda value: value == "" or (isinstance(value, str) and bool(_API_KEY.fullmatch(value.strip()))),
)
SCALARS: Kind = (
    "a mapping of names to texts",
    lambda value: _is_map(value) and not any(isinstance(item, dict | list) for item in value.values()),
)
VARIABLES: Kind = (
    "a mapping of environment variables to texts",
    lambda value: SCALARS[1](value) and all(map(_VARIABLE_NAME.fullmatch, value)),
)
_SSH: Kind = (
    "a list of mappings with `name` (a Secret of type ssh-auth) and `host`",
    lambda value: (
        isinstance(value, list)
        and all(
            _is_map(v) and {"name", "host"} == set(v) and all(isinstance(i, str) for i in v.values()) for v in value
        )
    ),
)
MAPPINGS = (_MAP, SCALARS, VARIABLES)  # of which gpuctl knows no keys
CONFIG: Kind = ("", lambda _value: True)  # text with YAML in it: has its own keys

# A tree of keys: a kind, or the keys below. `CONFIG` is followed by LAUNCH_CONFIG.
CHART: Mapping[str, Any] = {
    "agent": {
        "labels": SCALARS,
        "podAnnotations": SCALARS,
        "apiKey": _KEY,
        "useExternalWandbSecret": _FLAG,
        "image": _TEXT,
        "imagePullPolicy": _one_of("Always", "IfNotPresent", "Never"),
        "resources": _MAP,
        "nodeSelector": SCALARS,
        "startTimeout": _NUMBER,
        "minAvailable": _SHARE,
        "tolerations": _LIST,
        "affinity": _MAP,
    },
    "namespace": _NAME,
    "baseUrl": _URL,
    "additionalTargetNamespaces": _NAMES,
    "launchConfig": CONFIG,
    "additionalEnvVars": VARIABLES,
    "additionalSecretEnvVars": VARIABLES,
    "gitCreds": _TEXT,
    "sshAuthSecrets": _SSH,
    "serviceAccount": {"annotations": SCALARS},
    "azureStorageAccessKey": _TEXT,
    "customCABundle": {"configMap": {"name": _TEXT, "key": _TEXT}},
    "kanikoPvcName": _TEXT,
    "kanikoDockerConfigSecret": _TEXT,
    "volcano": _FLAG,
}
LAUNCH_CONFIG: Mapping[str, Any] = {
    "entity": _TEXT,
    "queues": _TEXTS,
    "max_jobs": _NUMBER,
    "max_schedulers": _NUMBER,
    "secure_mode": _FLAG,
    "registry": _MAP,
    "environment": _MAP,
    "builder": _MAP,
    "verbosity": _NUMBER,
    "stopped_run_timeout": _NUMBER,
}
# Below these the client ignores what it does not know; a wrong type it refuses.
TYPES = {
    "registry": _one_of("ecr", "acr", "gcr"),
    "environment": _one_of("aws", "gcp", "azure"),
    "builder": _one_of("docker", "kaniko", "noop"),
}
BUILDER_KEYS = (
    "type",
    "destination",
    "platform",
    "build-context-store",
    "build-job-name",
    "secret-name",
    "secret-key",
    "kaniko-image",
    "kaniko-config",
)
# What other versions of the chart and of the client took, and where it belongs now.
MOVED = {
    "launchConfig.base_url": "write it at the top of the file, as `baseUrl`",
    "launchConfig.queue": "write `queues` with a list",
    "launchConfig.project": "remove it: queues of an entity are in one project",
}
# Where placeholders of the chart and of tutorials are looked for: the rest may hold any text.
NAMED = frozenset(
    {"agent.image", "agent.apiKey", "namespace", "baseUrl", "additionalTargetNamespaces", "kanikoPvcName",
     "kanikoDockerConfigSecret", "sshAuthSecrets", "serviceAccount.annotations", "customCABundle.configMap.name",
     "customCABundle.configMap.key", "launchConfig.entity", "launchConfig.queues", "launchConfig.registry",
     "launchConfig.environment", "launchConfig.builder"}
)  # fmt: skip
# Environment variables of the agent that come from other keys; those that `additionalEnvVars` may replace.
OURS = frozenset({"WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_LAUNCH_SERVICE_ACCOUNT_NAME", "WANDB_RELEASE_NAME"})
OURS_BY_DEFAULT = frozenset(
    {
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_FILE",
        "WANDB_LAUNCH_KANIKO_AUTH_SECRET",
        "WANDB_LAUNCH_KANIKO_PVC_NAME",
        "WANDB_LAUNCH_START_TIMEOUT",
    }
)
