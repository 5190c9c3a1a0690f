from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from tests.doubles.wandb_api import Double, running
from tests.unit.doubles.conftest import PROJECT, Client
from tests.unit.doubles.requests_of_launch import (
    FAIL,
    ITEMS,
    POP,
    RUN_STATE,
    SEE_AGENT,
    UPDATE_AGENT,
    UPSERT_RUN,
    WARN,
    acknowledge,
    make_agent,
    make_queue,
    pop,
    push,
    states,
)


def test_a_job_passes_all_its_states(double: Double, client: Client) -> None:
    agent = make_agent(client, make_queue(client))
    item, _ = push(client)
    assert states(client) == ["PENDING"]
    assert pop(client, agent=agent)["runQueueItemId"] == item
    assert states(client) == ["LEASED"]
    assert pop(client, agent=agent) is None
    assert acknowledge(client, item) is True
    assert states(client) == ["CLAIMED"]
    assert acknowledge(client, item) is False
    names = {"entity": "lab", "project": "proj", "name": "run1"}
    assert client.data(RUN_STATE, **names)["project"] is None
    assert client.data(UPSERT_RUN, **names)["upsertBucket"]["inserted"] is True
    assert client.data(RUN_STATE, **names)["project"]["run"] == {"state": "running", "stopped": False}
    assert client.send("/files/lab/proj/run1/file_stream", {"complete": True, "exitcode": 0}) == (200, {})
    assert client.data(RUN_STATE, **names)["project"]["run"]["state"] == "finished"
    assert states(client) == ["FINISHED"]
    assert double.state()["items"][item]["associatedRunId"] == "run1"


def test_a_job_that_fails_keeps_what_the_agent_said(double: Double, client: Client) -> None:
    make_queue(client)
    item, _ = push(client)
    pop(client)
    client.data(WARN, runQueueItemId=item, message="no room", stage="Kubernetes")
    said = {"message": "Unsafe option", "stage": "agent", "filePaths": ["a/error.log"]}
    assert client.data(FAIL, runQueueItemId=item, **said)["failRunQueueItem"]["success"] is True
    kept = double.state()["items"][item]
    assert (kept["state"], kept["error"]) == ("FAILED", said)
    assert kept["warnings"] == [{"message": "no room", "stage": "Kubernetes", "filePaths": None}]


def test_a_run_that_ends_badly_closes_its_item_too(client: Client) -> None:
    make_queue(client)
    item, _ = push(client)
    pop(client)
    acknowledge(client, item, "bad")
    client.data(UPSERT_RUN, entity="lab", project="proj", name="bad")
    client.control("runs/end", run="bad", exitcode=1)
    assert client.data(RUN_STATE, entity="lab", project="proj", name="bad")["project"]["run"]["state"] == "failed"
    assert states(client) == ["FINISHED"]


def test_an_item_that_is_not_acknowledged_goes_back_to_the_queue(client: Client) -> None:
    make_queue(client)
    item, _ = push(client)
    pop(client)
    assert pop(client) is None
    client.control("lease", seconds=0)
    assert pop(client)["runQueueItemId"] == item
    assert acknowledge(client, item) is False  # its lease has run out again
    assert states(client) == ["PENDING"]


def test_a_lease_outlives_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with running(state=state) as double:
        client = Client(double.url, double.api_key)
        make_queue(client)
        push(client)
        pop(client)
    with running(state=state) as double:
        client = Client(double.url, double.api_key)
        assert pop(client) is None
        client.control("lease", seconds=0)
        assert pop(client) is not None


def test_an_agent_is_seen_and_told_to_stop(double: Double, client: Client) -> None:
    queue = make_queue(client)
    agent = make_agent(client, queue)
    seen = client.data(SEE_AGENT, agentId=agent)["launchAgent"]
    assert len(seen.pop("name")) == 8
    assert seen.pop("heartbeatAt").endswith("Z")
    assert seen == {
        "id": agent, "runQueues": [queue], "hostname": "host1", "agentStatus": "POLLING", "stopPolling": False,
    }  # fmt: skip
    double.stop_agents()
    assert client.data(SEE_AGENT, agentId=agent)["launchAgent"]["stopPolling"] is True
    client.data(UPDATE_AGENT, agentId=agent, agentStatus="KILLED")
    assert client.data(SEE_AGENT, agentId=agent)["launchAgent"]["agentStatus"] == "KILLED"


def test_an_agent_that_the_server_lost_is_not_known(client: Client) -> None:
    make_queue(client)
    agent = make_agent(client)
    client.control("agents/forget")
    assert client.data(SEE_AGENT, agentId=agent)["launchAgent"] is None
    names = {"entity": "lab", "project": PROJECT, "queueName": "q"}
    assert "not found" in client.refusal(POP, **names, launchAgentId=agent)


def test_a_run_is_told_to_stop(double: Double, client: Client) -> None:
    client.data(UPSERT_RUN, entity="lab", project="proj", name="run1")
    double.stop_run("run1")
    assert client.data(RUN_STATE, entity="lab", project="proj", name="run1")["project"]["run"]["stopped"] is True


def test_runs_are_listed_by_filter(client: Client) -> None:
    for name, kind in (("agent1", "sweep-controller"), ("train", "train")):
        client.data(UPSERT_RUN, entity="lab", project=PROJECT, name=name, jobType=kind)
    query = """query Runs($project: String!, $entity: String!, $filters: JSONString) {
      project(name: $project, entityName: $entity) { runCount(filters: $filters) runs(filters: $filters, first: 50) {
        edges { node { name state heartbeatAt } cursor } pageInfo { hasNextPage } } } }"""
    asked = {"project": PROJECT, "entity": "lab", "filters": json.dumps({"jobType": "sweep-controller"})}
    found = client.data(query, **asked)["project"]
    assert found["runCount"] == 1
    assert [edge["node"]["name"] for edge in found["runs"]["edges"]] == ["agent1"]


def test_files_of_a_run_are_uploaded_without_a_key(double: Double, client: Client) -> None:
    client.data(UPSERT_RUN, entity="lab", project="proj", name="run1")
    query = """mutation CreateRunFiles($files: [String!]!) { createRunFiles(input: {entityName: "lab",
      projectName: "proj", runName: "run1", files: $files}) { runID uploadHeaders files { name uploadUrl } } }"""
    (file,) = client.data(query, files=["7/error/error.log"])["createRunFiles"]["files"]
    status, _ = Client(double.url, "").send(file["uploadUrl"], b"no such image", "PUT")
    assert status == 200
    listing = """query RunFiles($names: [String], $pattern: String) { project(name: "proj", entityName: "lab") {
      run(name: "run1") { fileCount files(names: $names, pattern: $pattern) {
        edges { node { name directUrl url(upload: false) sizeBytes md5 } } } } } }"""
    found = client.data(listing, names=["7/error/error.log"])["project"]["run"]
    assert found["fileCount"] == 1
    (edge,) = found["files"]["edges"]
    assert edge["node"]["sizeBytes"] == 13
    with urllib.request.urlopen(edge["node"]["directUrl"], timeout=5) as answer:  # noqa: S310 - the double's own
        assert answer.read() == b"no such image"
    assert client.data(listing, pattern="%.json")["project"]["run"]["files"]["edges"] == []
    assert double.log("upload")[0]["variables"] == {"file": "lab/proj/run1/7/error/error.log", "size": 13}


def test_items_come_in_pages(client: Client) -> None:
    make_queue(client)
    items = [push(client)[0] for _ in range(3)]
    asked = {"entity": "lab", "project": PROJECT, "queue": "q", "first": 2}
    first = client.data(ITEMS, **asked)["project"]["runQueue"]["runQueueItems"]
    rest = client.data(ITEMS, **asked, after=first["pageInfo"]["endCursor"])["project"]["runQueue"]["runQueueItems"]
    assert (first["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (True, False)
    assert [edge["node"]["id"] for page in (first, rest) for edge in page["edges"]] == items


def test_a_job_is_pushed_raw_for_what_the_client_would_not_send(double: Double, client: Client) -> None:
    make_queue(client)
    spec = {"resource": "kubernetes", "resource_args": {"kubernetes": {"hostNetwork": True}}}
    item = double.push("q", spec)
    assert pop(client) == {"runQueueItemId": item, "runSpec": spec}
