"""Files that people take for a queue's configuration and that are something else, and what to do with each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.inventory.launch_schema import CHART, LAUNCH_CONFIG

_OTHER = (
    "only queues of the resource kubernetes are made here: `gpuctl launch queue apply QUEUE --preset job` begins one"
)
# Of `docker run`, as the client hands a Docker queue's keys on; those that are fields of a Job too are left out.
_DOCKER = frozenset({
    "add-host", "cap-add", "cpus", "cpuset-cpus", "detach", "device", "dns", "entrypoint", "env", "env-file", "gpus",
    "hostname", "init", "ipc", "label", "memory", "memory-swap", "mount", "name", "net", "network", "pid", "privileged",
    "publish", "pull", "restart", "rm", "runtime", "security-opt", "shm-size", "tmpfs", "tty", "ulimit", "user",
    "volume", "volumes", "workdir",
})  # fmt: skip
# Of CreateTrainingJob, whose request the client sends, and of Vertex' CustomJob.
_SAGEMAKER = frozenset({
    "AlgorithmSpecification", "CheckpointConfig", "EnableManagedSpotTraining", "EnableNetworkIsolation", "Environment",
    "HyperParameters", "InputDataConfig", "OutputDataConfig", "ResourceConfig", "RetryStrategy", "RoleArn",
    "StoppingCondition", "Tags", "TrainingJobName", "VpcConfig",
})  # fmt: skip
_POOLS = frozenset({"worker_pool_specs", "workerPoolSpecs"})
_VERTEX = _POOLS | {"staging_bucket"}
_RESOURCES = frozenset({"sagemaker", "vertex", "gcp-vertex", "local-container", "local-process", "docker"})
_COMPOSE = frozenset({"services", "networks", "configs", "x-common"})
_KUBECONFIG = frozenset({"clusters", "contexts", "users", "current-context"})
_LISTS = frozenset({"List", "JobList", "PodList"})


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a file is instead, and what to do with it."""

    what: str
    fix: str


def _any(keys: frozenset[str]) -> Callable[[Mapping[str, Any]], bool]:
    return lambda value: bool(keys & set(map(str, value)))


def _most(keys: frozenset[str]) -> Callable[[Mapping[str, Any]], bool]:
    return lambda value: len(keys & set(map(str, value))) * 2 > len(value)


def _is_values(value: Mapping[str, Any]) -> bool:
    own = {"launchConfig", "additionalTargetNamespaces", "additionalEnvVars", "additionalSecretEnvVars", "baseUrl"}
    agent = value.get("agent")
    return bool(own & set(value)) or (isinstance(agent, Mapping) and bool(set(agent) & set(CHART["agent"])))


def _is_agents(value: Mapping[str, Any]) -> bool:
    own = {"queues", "max_jobs", "max_schedulers", "secure_mode", "builder", "registry", "environment"}
    return bool(own & set(value)) and _most(frozenset(LAUNCH_CONFIG))(value)


def _is_vertex(value: Mapping[str, Any]) -> bool:
    spec = value.get("spec")
    return _any(_POOLS)(value) or (isinstance(spec, Mapping) and _any(_VERTEX)(spec))


_KINDS: tuple[tuple[Callable[[Mapping[str, Any]], bool], Foreign], ...] = (
    (_is_values, Foreign(
        "a values.yaml of the agent's chart", "name it in the inventory as launch_agent_values_file; " + _OTHER)),
    (_is_agents, Foreign(
        "an agent's configuration (launch-config.yaml)",
        "write it below `launchConfig: |` in the file that launch_agent_values_file names; " + _OTHER)),
    (_any(_KUBECONFIG), Foreign("a kubeconfig", _OTHER)),
    (_any(_RESOURCES), Foreign("a queue of another resource", _OTHER)),
    (_any(_SAGEMAKER), Foreign("a queue of the resource sagemaker", _OTHER)),
    (_is_vertex, Foreign("a queue of the resource gcp-vertex", _OTHER)),
    (_any(_COMPOSE), Foreign("a Compose file", _OTHER)),
    (lambda value: str(value.get("kind")) in _LISTS, Foreign(
        "a list of objects", "give the configuration of one Job; a queue makes one object for each run")),
    (_most(_DOCKER), Foreign("a queue of the resource local-container (flags of `docker run`)", _OTHER)),
)  # fmt: skip


def foreign_kind(value: Mapping[str, Any]) -> Foreign | None:
    """What the document is, if it is clearly no configuration of Kubernetes; `value` has the keys of its top."""
    if not value:
        return None
    return next((found for is_one, found in _KINDS if is_one(value)), None)
