"""What of an all-reduce becomes the command's problem."""

from __future__ import annotations

from bootstrap.errors import Problem
from bootstrap.verify.collective import Collective
from bootstrap.verify.run import ring_problem


def test_a_failed_all_reduce_keeps_its_fix_and_last_lines() -> None:
    ring = Collective(("gpu1", "gpu2"), code="job-failed", error="rank 0 ended", fix="see below", details="Traceback")
    words = "all-reduce over 2 nodes: rank 0 ended"
    assert ring_problem(ring) == Problem("job-failed", words, "see below", details="Traceback")
