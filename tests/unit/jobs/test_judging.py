"""Whatever the pods of a job look like, somebody is named, and nobody who ended well."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bootstrap.jobs.ranks import Rank, culprit, first_failed, why_failed
from bootstrap.jobs.waiting import why_waiting
from tests.unit.jobs.test_render import spec

TIMES = st.sampled_from(["", "2026-11-23T10:00:01Z", "2026-11-23T10:00:02Z"])
WORDS = st.one_of(st.text(max_size=40), st.sampled_from(["ErrImagePull", 'exec: "x"', "Insufficient nvidia.com/gpu"]))
RANKS = st.lists(
    st.builds(
        Rank,
        rank=st.integers(0, 9),
        pod=st.just("train-x"),
        node=st.sampled_from(["", "gpu1"]),
        phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
        exit_code=st.one_of(st.none(), st.sampled_from([0, 1, 137, 143])),
        reason=st.sampled_from(["", "Error", "OOMKilled", "Evicted"]),
        words=WORDS,
        ended_at=TIMES,
        waiting=WORDS,
        started=st.booleans(),
        taken=st.sampled_from(["", "its node is drained"]),
        delete_at=TIMES,
    ),
    max_size=5,
    unique_by=lambda rank: rank.rank,
)


@given(RANKS, st.lists(WORDS, max_size=3))
def test_the_culprit_is_one_that_did_not_end_well(ranks: list[Rank], tail: list[str]) -> None:
    lost = [rank for rank in ranks if rank.phase == "Unknown" and rank.exit_code is None]
    seen = [rank for rank in ranks if rank not in lost]
    found = culprit(seen, lost)
    assert (found is None) == (not lost and not any(rank.failed for rank in seen))
    if found is not None:
        assert found in lost or found.failed or found.taken
        what, fix = why_failed(found, tail)
        assert what.startswith(f"rank {found.rank}")
        assert fix


@given(RANKS)
def test_nobody_failed_before_the_first(ranks: list[Rank]) -> None:
    first = first_failed(ranks)
    if first is not None and first.ended_at:
        assert not [rank for rank in ranks if rank.failed and rank.ended_at and rank.ended_at < first.ended_at]


@given(RANKS, st.lists(st.builds(lambda text: {"type": "Warning", "message": text}, WORDS), max_size=3))
def test_why_it_waits_is_one_sentence_about_one_job(ranks: list[Rank], events: list[dict[str, str]]) -> None:
    said = why_waiting(spec(nodes=9), ranks, events)
    if any(rank.waiting.startswith("ErrImage") for rank in ranks):
        assert said.startswith("the image cannot be pulled")
    if not any(rank.waiting for rank in ranks) and not events:
        assert said == ""
