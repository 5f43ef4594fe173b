"""What a person is told of a log."""

import dataclasses

import msgspec
import numpy as np

from tests.training.worlds import rounds_of
from training.remarks import remarks


def test_a_complete_log_needs_no_remark() -> None:
    rounds = rounds_of(10, np.random.default_rng(0))
    counts = msgspec.structs.replace(rounds.counts, decisions=10, with_feedback=10)
    assert list(remarks(dataclasses.replace(rounds, counts=counts))) == []


def test_what_is_missing_or_left_out_is_said() -> None:
    rounds = rounds_of(10, np.random.default_rng(0))
    counts = msgspec.structs.replace(
        rounds.counts,
        decisions=10,
        with_feedback=7,
        unexplored=1,
        fallbacks=2,
        other_features=4,
        orphan_feedback=5,
    )
    expected = dataclasses.replace(
        rounds, counts=counts, values=np.full((10, 1), np.nan), expected=np.ones((10, 3, 1))
    )
    lines = list(remarks(expected))
    assert len(lines) == 6
    assert lines[0].startswith("note: 3 of 10 decisions have no feedback yet")
    assert "'quality' is weighed but was never reported" in lines[-1]
