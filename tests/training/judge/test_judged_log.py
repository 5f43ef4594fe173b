"""A policy is judged on a log in parts as on one in memory."""

import math
from pathlib import Path

import numpy as np
import pytest

from policies.exploration import Exploration
from policies.linear_policy import LinearPolicy
from tests.large_world import write_world
from training.engines.local import LocalEngine
from training.errors import EmptyLogError
from training.fit.feature_scale import fit_scale
from training.fit.folds import grouped_folds
from training.fit.pseudo_outcomes import OneDraw
from training.fit.row_sums import HeadSums, head_sums
from training.fit.trained_policy import train_on_parts
from training.judge.cross_fit import cross_fit
from training.judge.fold_models import fold_models
from training.judge.judged_log import opened_log
from training.judge.log_evaluation import evaluate_log
from training.judge.log_report import LogReport
from training.log.join import join_rounds
from training.log.log_files import read_log
from training.log.partitions import log_in_parts
from training.log.rounds import LoggedRounds

ROWS = 6_000


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("log")
    write_world(directory, rows=ROWS, seed=2)
    return directory


@pytest.fixture(scope="module")
def policy(log: Path) -> LinearPolicy:
    with log_in_parts(log, LocalEngine()) as parts:
        return train_on_parts(
            parts, engine=LocalEngine(), holdout=0.4, objective=None, seed=1, source={}
        )


def evaluated(
    log: Path, policy: LinearPolicy, in_memory: int, tenant: str | None = None
) -> LogReport:
    opened = opened_log(log, policy, LocalEngine(), tenant=tenant, in_memory=in_memory)
    with opened as (parts, found):
        return evaluate_log(
            policy, found, parts.counts, objectives=[None], exploration=Exploration(), tenant=tenant
        )


@pytest.mark.parametrize("tenant", [None, "tenant-0"])
def test_estimates_are_those_in_memory_but_for_the_folds(
    log: Path, policy: LinearPolicy, tenant: str | None
) -> None:
    whole = evaluated(log, policy, ROWS, tenant)
    pieces = evaluated(log, policy, 0, tenant)
    assert (pieces.rows, pieces.left_out, pieces.counts) == (
        whole.rows,
        whole.left_out,
        whole.counts,
    )
    assert pieces.window == whole.window
    one, other = pieces.objectives[0], whole.objectives[0]
    # What takes no reward model is the same but for how reports are modelled on a sample.
    assert one.share == pytest.approx(other.share)
    assert one.overlap.support == other.overlap.support
    # Another dealing of folds moves DR by a fraction of its standard error.
    for found, expected in ((one.advantage, other.advantage), (one.greedy, other.greedy)):
        assert expected.standard_error is not None
        assert abs(found.value - expected.value) < expected.standard_error
        assert found.standard_error == pytest.approx(expected.standard_error, rel=0.1)


def test_reward_models_from_sums_are_those_from_rows(log: Path) -> None:
    rounds = join_rounds(read_log(log), source=log)
    rounds = rounds.rows(np.arange(1_500))
    scaled = fit_scale(rounds.features).apply(rounds.features)
    folds = grouped_folds(rounds.groups, 5, 0)
    values = np.full((len(rounds), len(rounds.arms), len(rounds.metrics)), np.nan)
    values[np.arange(len(rounds)), rounds.action] = rounds.values
    expected = cross_fit(OneDraw(scaled, values, values, values), folds)
    models = fold_models(sums_of(rounds, scaled, folds), rounds)
    np.testing.assert_array_equal(models.alphas, expected.alphas)
    for fold in range(5):
        test = folds == fold
        found = models.predict(scaled[test], fold)
        np.testing.assert_allclose(found, expected.predictions[test], atol=1e-9)


def sums_of(
    rounds: LoggedRounds, scaled: np.ndarray, folds: np.ndarray
) -> dict[tuple[int, int, int], HeadSums]:
    sums = {}
    for fold in range(5):
        for arm in range(len(rounds.arms)):
            rows = np.flatnonzero((folds == fold) & (rounds.action == arm))
            for m, head in enumerate(head_sums(scaled[rows], rounds.values[rows])):
                sums[fold, arm, m] = head
    return sums


def test_a_policy_trained_on_all_rounds_is_shown_on_them_and_refused(
    log: Path, policy: LinearPolicy
) -> None:
    with log_in_parts(log, LocalEngine()) as parts:
        everything = train_on_parts(
            parts, engine=LocalEngine(), holdout=0.0, objective=None, seed=1, source={}
        )
    for in_memory in (0, ROWS):
        report = evaluated(log, everything, in_memory)
        assert report.in_sample
        assert not report.objectives[0].gate.promote
        assert report.rows > ROWS * 0.8
        with opened_log(log, everything, LocalEngine(), in_memory=in_memory) as (_, found):
            assert len(found.unseen.rounds) == 0


@pytest.mark.parametrize("in_memory", [0, ROWS])
def test_a_tenant_that_the_log_lacks_is_refused(
    log: Path, policy: LinearPolicy, in_memory: int
) -> None:
    with pytest.raises(EmptyLogError, match="no decision of the log is for tenant"):
        evaluated(log, policy, in_memory, "nobody")


def test_features_are_read_of_later_rounds_alone(log: Path, policy: LinearPolicy) -> None:
    window = policy.artifact().manifest.training["window"][1]
    with opened_log(log, policy, LocalEngine()) as (parts, found):
        assert parts.rows < ROWS * 0.5
        assert found.mine.rounds.at.min() > window > -math.inf


@pytest.mark.parametrize("in_memory", [0, ROWS])
def test_a_log_without_explored_rounds_is_refused(
    log: Path, policy: LinearPolicy, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoggedRounds, "explored", property(lambda self: np.zeros(len(self), bool)))
    with pytest.raises(EmptyLogError, match="0 logged decisions on 0 distinct queries"):
        evaluated(log, policy, in_memory)
