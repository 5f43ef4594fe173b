"""What is sampled: queries with all their rounds, rows alone, and more of the audits."""

import dataclasses

import numpy as np
import pytest

from tests.training.fit.fitting import passes_over
from tests.training.worlds import rounds_of
from training.fit import row_sample
from training.fit.folds import group_numbers
from training.log.rounds import LoggedRounds


def repeated(n: int = 4_000) -> LoggedRounds:
    """Every query twice, and one round in 50 audited."""
    rng = np.random.default_rng(0)
    rounds = rounds_of(n, rng)
    hashes = np.array([f"query {row // 2}" for row in range(n)], dtype=object)
    audited = np.arange(n) % 50 == 0
    groups = group_numbers(hashes.tolist())
    return dataclasses.replace(rounds, query_hashes=hashes, groups=groups, audited=audited)


def test_a_small_log_is_its_own_sample() -> None:
    rounds = repeated()
    _, first = passes_over(rounds)
    assert len(first.sample.rounds) == len(rounds)
    assert first.sample.by_query.all()
    assert first.sample.by_row.all()
    assert first.sample.for_reporting.all()


def test_a_query_is_sampled_with_all_its_rounds_and_a_row_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tenth of 4,000 rows each way: 400 ± 19 rows, 400 ± 27 in pairs; within 4.5 of these."""
    monkeypatch.setattr(row_sample, "SAMPLE_ROWS", 400)
    _, first = passes_over(repeated())
    sample = first.sample
    of_queries = sample.rounds.rows(sample.by_query)
    assert (np.bincount(np.unique(of_queries.groups, return_inverse=True)[1]) == 2).all()
    assert abs(len(of_queries) - 400) < 4.5 * 27
    alone = sample.rounds.rows(sample.by_row)
    assert abs(len(alone) - 400) < 4.5 * 19
    assert len(np.unique(alone.query_hashes.astype(str))) > 0.9 * len(alone)
    assert (np.diff(sample.rounds.at) >= 0.0).all()


def test_audits_are_sampled_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_sample, "SAMPLE_ROWS", 400)
    _, first = passes_over(repeated())
    chosen = first.sample.rounds.rows(first.sample.for_reporting)
    assert chosen.audited.sum() == 80
    assert 250 < (~chosen.audited).sum() < 550
