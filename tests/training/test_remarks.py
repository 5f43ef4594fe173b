"""What a person is told of a log."""

import dataclasses

import msgspec
import numpy as np

from tests.training.worlds import rounds_of
from training.remarks import remarks
from training.reporting.probabilities import ReportingCounts


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


def test_audits_that_a_sample_has_more_of_are_no_alarm() -> None:
    """Null: one tenant reports half as often as the other, whatever the outcome, and has better
    ones. A sample of a log of 20 times as many volunteers warns once in 100.
    """
    rng = np.random.default_rng(1)
    rounds = rounds_of(40_000, rng, rates=np.full((40_000, 3), 0.3), tenants=["few", "many"])
    better = rounds.tenants == "few"
    values = np.where(better[:, None], rng.random((40_000, 1)) < 0.9, rounds.values)
    audited = rng.random(40_000) < 0.04
    told = audited | (rng.random(40_000) < np.where(better, 0.2, 0.5))
    values = np.where(told[:, None], values, np.nan)
    log = dataclasses.replace(rounds, audited=audited, values=values)
    sample = log.rows(audited | (rng.random(40_000) < 0.05))
    counts = ReportingCounts.of(log, ~np.isnan(values[:, 0]))
    assert not any("warning" in line for line in remarks(sample, [counts]))
