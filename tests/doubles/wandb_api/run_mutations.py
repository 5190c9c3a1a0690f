"""Runs: they are registered, streamed to, and they end; with them ends the queue item that they came from."""

from __future__ import annotations

import json
from typing import Any

from tests.doubles.wandb_api import run_files
from tests.doubles.wandb_api.execution import GraphQLError, Node
from tests.doubles.wandb_api.objects import Caller, run
from tests.doubles.wandb_api.store import CLAIMED, DONE, Record, Store, now, short_name

_LINES_LIMIT = 1000  # of a run's output
_KEPT = {"displayName": "displayName", "config": "config", "summaryMetrics": "summaryMetrics", "groupName": "group",
         "jobType": "jobType", "description": "description", "notes": "notes", "tags": "tags", "commit": "commit",
         "host": "host"}  # fmt: skip


def root(caller: Caller) -> Node:
    """The fields of the root of mutations that this module answers."""
    return {
        "upsertBucket": lambda a: upsert(caller, a["input"]),
        "stopRun": lambda a: stop(caller, a["input"]),
        "createRunFiles": lambda a: create_files(caller, a["input"]),
        "markRunFilesUploaded": lambda _: {"__typename": "MarkRunFilesUploadedPayload", "success": True},
    }


def upsert(caller: Caller, given: Record) -> Node:
    store = caller.store
    record, new = _of_id(store, given.get("id")), False
    if record is None:
        owner = caller.need_entity(given.get("entityName"))["name"]
        where = (owner, given.get("modelName") or "uncategorized", given.get("name") or short_name())
        record = store.run(*where)
        if record is None:
            record, new = _fresh(caller, *where), True
    record.update({kept: given[name] for name, kept in _KEPT.items() if given.get(name) is not None})
    if given.get("state"):
        record["state"] = given["state"]
    elif record["state"] == "pending":
        record["state"] = "running"
    record["heartbeatAt"] = now()
    return {"__typename": "UpsertBucketPayload", "bucket": run(caller, record), "inserted": new}


def _fresh(caller: Caller, owner: str, project: str, name: str) -> Record:
    store = caller.store
    store.project(owner, project)
    record = {
        "id": store.identity("Run"), "entity": owner, "project": project, "name": name, "displayName": name,
        "state": "running", "stopped": False, "config": "{}", "summaryMetrics": "{}", "group": None, "jobType": None,
        "description": None, "notes": None, "tags": [], "commit": None, "host": None, "sweepName": None,
        "createdAt": now(), "heartbeatAt": now(), "user": caller.user["name"], "exitcode": None, "output": [],
        "historyLineCount": 0, "logLineCount": 0, "eventsLineCount": 0,
    }  # fmt: skip
    store.data["runs"][f"{owner}/{project}/{name}"] = record
    return record


def _of_id(store: Store, identity: Any) -> Record | None:
    return next((r for r in store.data["runs"].values() if identity and r["id"] == identity), None)


def stop(caller: Caller, given: Record) -> Node:
    record = _of_id(caller.store, given.get("id"))
    if record is None or caller.entity(record["entity"]) is None:
        raise GraphQLError(f"run {given.get('id')} not found")
    record["stopped"] = True
    return {"__typename": "StopRunPayload", "success": True}


def create_files(caller: Caller, given: Record) -> Node:
    owner = caller.need_entity(given["entityName"])["name"]
    record = caller.store.run(owner, given["projectName"], given["runName"])
    if record is None:
        raise GraphQLError(f"run {given['runName']} not found")
    urls = {name: run_files.address(caller.base_url, record, name) for name in given["files"]}
    files = [{"__typename": "File", "name": name, "uploadUrl": url} for name, url in urls.items()]
    return {"__typename": "CreateRunFilesPayload", "runID": record["id"], "uploadHeaders": [], "files": files}


def stream(store: Store, owner: str, project: str, name: str, body: Record) -> bool:
    """One post of a run's stream. False where the run is not known."""
    record = store.run(owner, project, name)
    if record is None:
        return False
    record["heartbeatAt"] = now()
    files = body.get("files") or {}
    record["historyLineCount"] += len(files.get("wandb-history.jsonl", {}).get("content", []))
    record["eventsLineCount"] += len(files.get("wandb-events.jsonl", {}).get("content", []))
    summary = files.get("wandb-summary.json", {}).get("content", [])
    if summary and isinstance(summary[-1], str):
        record["summaryMetrics"] = summary[-1]
    lines = files.get("output.log", {}).get("content", [])
    record["logLineCount"] += len(lines)
    record["output"] = [*record["output"], *lines][-_LINES_LIMIT:]
    if body.get("complete"):
        end(store, record, int(body.get("exitcode") or 0))
    return True


def end(store: Store, record: Record, exitcode: int) -> None:
    """The run has ended, and with it the item that it came from: an agent sends nothing when all went well."""
    record.update(state="finished" if exitcode == 0 else "failed", exitcode=exitcode)
    for item in store.data["items"].values():
        if item["state"] == CLAIMED and item["associatedRunId"] == record["name"]:
            item["state"] = DONE


def brief(body: Any) -> Record:
    """What the log tells of a post to a stream."""
    files = body.get("files") or {} if isinstance(body, dict) else {}
    told = {name: body[name] for name in ("complete", "exitcode") if isinstance(body, dict) and name in body}
    return {**told, "files": {name: len(json.dumps(content)) for name, content in files.items()}}
