"""Audits correct a log that is judged in passes as they correct one in memory."""

import dataclasses

import numpy as np
import pytest

from policies.exploration import Exploration
from tests.training.fit.fitting import passes_over
from tests.training.worlds import knowing, rounds_of
from training.engines.local import LocalEngine
from training.fit import row_sample
from training.judge import judged_log
from training.log.partitions import one_part
from training.log.rounds import LoggedRounds
from training.reporting.probabilities import reporting_probabilities

ROWS, TENANTS = 12_000, 60


def silent_tenants() -> LoggedRounds:
    """Tenants who report differently, all of them successes rather than failures."""
    rng = np.random.default_rng(0)
    rounds = rounds_of(ROWS, rng, tenants=[f"tenant {number}" for number in range(TENANTS)])
    hashes = np.array([f"query {row}" for row in range(ROWS)], dtype=object)
    audited = rng.random(ROWS) < 0.05
    rate = np.where(rounds.values[:, 0] == 1.0, 0.4, 0.15)
    told = audited | (rng.random(ROWS) < rate)
    values = np.where(told[:, None], rounds.values, np.nan)
    return dataclasses.replace(rounds, query_hashes=hashes, audited=audited, values=values)


def in_memory(rounds: LoggedRounds) -> np.ndarray:
    known = ~np.isnan(rounds.values[:, 0])
    return reporting_probabilities(rounds, known, np.nan_to_num(rounds.values[:, 0]))


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two or three rounds of a tenant and arm are sampled."""
    monkeypatch.setattr(row_sample, "SAMPLE_ROWS", 500)
    monkeypatch.setattr(judged_log, "SMALL", 500)


@pytest.mark.usefixtures("small_samples")
def test_probabilities_in_passes_are_those_in_memory() -> None:
    rounds = silent_tenants()
    policy = knowing()
    found = judged_log.judged_log(one_part(rounds), policy, LocalEngine())
    [read] = found.read([None], Exploration())
    assert read is not None
    np.testing.assert_allclose(read.reporting, in_memory(rounds), rtol=1e-6)


@pytest.mark.usefixtures("small_samples")
def test_training_on_a_sample_weighs_reports_as_in_memory() -> None:
    rounds = silent_tenants()
    passes, first = passes_over(rounds)
    assert len(first.sample.rounds) < 0.5 * ROWS
    [reporting] = passes.second(first).nuisance.reading.reporting
    known = ~np.isnan(rounds.values[:, 0])
    weighed = reporting.probabilities(rounds, known, np.nan_to_num(rounds.values[:, 0]))
    np.testing.assert_allclose(weighed, in_memory(rounds), rtol=1e-6)
