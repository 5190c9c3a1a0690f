"""The requests of W&B Launch in the words of the real client, for tests without it."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.doubles.conftest import PROJECT, Client

UPSERT_QUEUE = """mutation UpsertRunQueue($entityName: String!, $projectName: String!, $queueName: String!,
  $resourceType: String!, $resourceConfig: JSONString!, $templateVariables: JSONString,
  $prioritizationMode: RunQueuePrioritizationMode) {
  upsertRunQueue(input: {entityName:$entityName,projectName:$projectName,queueName:$queueName,
    resourceType:$resourceType,resourceConfig:$resourceConfig,templateVariables:$templateVariables,
    prioritizationMode:$prioritizationMode}) { success configSchemaValidationErrors } }"""
QUEUE = """query GetRunQueueMetadata($projectName: String!, $entityName: String!, $runQueue: String!) {
  project(name: $projectName, entityName: $entityName) { runQueue(name: $runQueue) {
    id access defaultResourceConfigID prioritizationMode externalLinks } } }"""
CONFIG = """query GetDefaultResourceConfig($entityName: String!, $id: ID!) { entity(name: $entityName) {
  defaultResourceConfig(id: $id) { config resource templateVariables { name schema } } } }"""
PUSH = """mutation pushToRunQueueByName($entityName: String!, $projectName: String!, $queueName: String!,
  $runSpec: JSONString!, $priority: Int, $templateVariableValues: JSONString) {
  pushToRunQueueByName(input: {entityName: $entityName, projectName: $projectName, queueName: $queueName,
    runSpec: $runSpec, priority: $priority, templateVariableValues: $templateVariableValues
  }) { runQueueItemId runSpec } }"""
POP = """mutation popFromRunQueue($entity: String!, $project: String!, $queueName: String!, $launchAgentId: ID) {
  popFromRunQueue(input: {entityName: $entity, projectName: $project, queueName: $queueName,
    launchAgentId: $launchAgentId}) { runQueueItemId runSpec } }"""
ACK = """mutation ackRunQueueItem($itemId: ID!, $runId: String!) {
  ackRunQueueItem(input: { runQueueItemId: $itemId, runName: $runId }) { success } }"""
FAIL = """mutation failRunQueueItem($runQueueItemId: ID!, $message: String!, $stage: String!, $filePaths: [String!]) {
  failRunQueueItem(input: {runQueueItemId: $runQueueItemId message: $message stage: $stage filePaths: $filePaths}) {
    success } }"""
WARN = """mutation updateRunQueueItemWarning($runQueueItemId: ID!, $message: String!, $stage: String!) {
  updateRunQueueItemWarning(input: {runQueueItemId: $runQueueItemId message: $message stage: $stage}) { success } }"""
ITEMS = """query GetRunQueueItems($entity: String!, $project: String!, $queue: String!, $first: Int, $after: String) {
  project(name: $project, entityName: $entity) { runQueue(name: $queue) {
    runQueueItems(first: $first, after: $after) {
      edges { node { id state associatedRunId } } pageInfo { hasNextPage endCursor } } } } }"""
AGENT = """mutation createLaunchAgent($entity: String!, $project: String!, $queues: [ID!]!, $hostname: String!,
  $agentConfig: JSONString, $version: String) { createLaunchAgent(input: {entityName: $entity, projectName: $project,
    runQueues: $queues, hostname: $hostname, agentConfig: $agentConfig, version: $version}) { launchAgentId } }"""
SEE_AGENT = """query LaunchAgent($agentId: ID!) { launchAgent(id: $agentId) {
  id name runQueues hostname agentStatus stopPolling heartbeatAt } }"""
UPDATE_AGENT = """mutation updateLaunchAgent($agentId: ID!, $agentStatus: String){
  updateLaunchAgent(input: {launchAgentId: $agentId agentStatus: $agentStatus}) { success } }"""
UPSERT_RUN = """mutation UpsertBucket($name: String, $project: String, $entity: String, $jobType: String,
  $state: String) { upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, jobType: $jobType,
    state: $state}) { bucket { id name displayName project { id name entity { id name } } historyLineCount } inserted
  } }"""
RUN_STATE = """query RunState($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { state stopped } } }"""

GPUS = {"gpus": {"schema": {"type": "integer", "default": 1, "minimum": 1, "maximum": 8}}}
JOB = {"spec": {"limits": {"nvidia.com/gpu": "{{gpus}}", "cpu": "{{gpus}}00m"}, "command": ["${image_uri}"]}}


def make_queue(client: Client, name: str = "q", *, variables: Any = None, job: Any = None, **more: Any) -> str:
    """Make or change a queue; its id."""
    config = json.dumps({"resource_args": {"kubernetes": JOB if job is None else job}})
    given = json.dumps(GPUS if variables is None else variables)
    names = {"entityName": "lab", "projectName": PROJECT, "queueName": name, "resourceType": "kubernetes"}
    made = client.data(UPSERT_QUEUE, **names, resourceConfig=config, templateVariables=given, **more)
    assert made["upsertRunQueue"]["success"] is True
    return str(see_queue(client, name)["id"])


def see_queue(client: Client, name: str = "q") -> Any:
    return client.data(QUEUE, projectName=PROJECT, entityName="lab", runQueue=name)["project"]["runQueue"]


def push_input(queue: str = "q", values: Any = None, **more: Any) -> dict[str, Any]:
    spec = {"entity": "lab", "project": "proj", "docker": {"docker_image": "busybox"}, "resource": None}
    names = {"entityName": "lab", "projectName": PROJECT, "queueName": queue, "runSpec": json.dumps(spec)}
    return {**names, **more, **({} if values is None else {"templateVariableValues": json.dumps(values)})}


def push(client: Client, queue: str = "q", values: Any = None, **more: Any) -> Any:
    """Put a job into the queue; (item's id, the job as the server made it)."""
    pushed = client.data(PUSH, **push_input(queue, values, **more))["pushToRunQueueByName"]
    return pushed["runQueueItemId"], json.loads(pushed["runSpec"])


def pop(client: Client, queue: str = "q", agent: str | None = None) -> Any:
    return client.data(POP, entity="lab", project=PROJECT, queueName=queue, launchAgentId=agent)["popFromRunQueue"]


def acknowledge(client: Client, item: str, run: str = "run1") -> bool:
    return bool(client.data(ACK, itemId=item, runId=run)["ackRunQueueItem"]["success"])


def states(client: Client, queue: str = "q") -> list[str]:
    page = client.data(ITEMS, entity="lab", project=PROJECT, queue=queue)["project"]["runQueue"]["runQueueItems"]
    return [edge["node"]["state"] for edge in page["edges"]]


def make_agent(client: Client, *queues: str) -> str:
    given = {
        "entity": "lab",
        "project": PROJECT,
        "queues": list(queues),
        "hostname": "host1",
        "version": "wandb@0.31.0",
    }
    made = client.data(AGENT, **given, agentConfig=json.dumps({"max_jobs": 1}))
    return str(made["createLaunchAgent"]["launchAgentId"])
