"""One trained policy serves every weighting: refitting at a weighting gives the same choices.

Expected utility is linear in the weights, and so is least squares in its targets: heads per metric,
weighed afterwards, are the heads of the weighed metrics. Where quality has a logistic head, the two
are different estimators of one thing: they may part where two arms are nearly level, so what is
asked there is nine choices in ten and the same true utility.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from policies.artifact import Manifest
from policies.linear_policy import IDENTITY, LinearPolicy
from policies.policy import utilities
from tests.training.worlds import ARMS, DIMENSION, features_of, rounds_of, success_rates
from training.fit.trained_policy import train_on_outcomes, train_on_rounds
from training.log.rounds import LoggedRounds
from training.tables.outcomes import read_outcomes
from training.tables.query_features import query_features
from training.tables.warm_start import warm_start_of

METRICS = ("quality", "steps", "latency_s")
WEIGHTINGS = [
    {"quality": 1.0},
    {"quality": 1.0, "steps": -0.02},
    {"quality": 1.0, "steps": -0.1},
    {"quality": 1.0, "steps": -0.03, "latency_s": -0.2},
    {"quality": 0.2, "latency_s": -1.0},
]


def vector(weights: Mapping[str, float], metrics: tuple[str, ...]) -> np.ndarray:
    return np.array([weights.get(metric, 0.0) for metric in metrics])


@pytest.mark.parametrize("weights", WEIGHTINGS)
def test_least_squares_refitted_on_the_utility_chooses_the_same_for_every_query(
    weights: dict[str, float],
) -> None:
    rng = np.random.default_rng(0)
    features = features_of(1_000, rng)
    values = rng.normal(size=(1_000, 3, 3)) + features[:, :1, None] * rng.normal(size=(1, 3, 3))
    coefficients = np.zeros((3, 3, DIMENSION), dtype=np.float32)
    intercepts, refitted = np.zeros((3, 3)), []
    for arm in range(3):
        heads = Ridge(alpha=30.0).fit(features, values[:, arm])
        coefficients[arm], intercepts[arm] = heads.coef_, heads.intercept_
        refitted.append(Ridge(alpha=30.0).fit(features, values[:, arm] @ vector(weights, METRICS)))
    manifest = Manifest(
        kind="linear",
        name="test",
        arms=list(ARMS),
        metrics=list(METRICS),
        feature_version="test-1",
        created_at="",
    )
    policy = LinearPolicy(manifest, coefficients, intercepts, np.full(3, IDENTITY, dtype=np.int8))
    unseen = features_of(5_000, rng)
    served = utilities(policy.expected(unseen), policy.metrics, weights)
    again = np.column_stack([model.predict(unseen) for model in refitted])
    assert served == pytest.approx(again, abs=1e-5)
    level = np.partition(again, 1, axis=1)
    apart = level[:, 2] - level[:, 1] > 1e-4
    assert apart.mean() > 0.99
    assert (served.argmax(axis=1) == again.argmax(axis=1))[apart].all()


def log_of(seed: int) -> LoggedRounds:
    """2,000 rounds of a world that queries tell a little of, with steps and seconds measured."""
    n, rng = 2_000, np.random.default_rng(seed)
    rates = 0.5 + 0.5 * (success_rates(features_of(n, np.random.default_rng(seed))) - 0.5)
    rounds = rounds_of(n, rng, rates=rates)
    steps = np.array([0.0, 1.0, 3.0])[rounds.action]
    seconds = rng.gamma(4.0, (0.5 + steps) / 16.0)
    return replace(
        rounds,
        metrics=METRICS,
        values=np.column_stack([rounds.values, steps, seconds]),
        expected=np.full((n, 3, 3), np.nan),
        weights=np.tile([1.0, 0.0, 0.0], (n, 1)),
    )


@pytest.mark.parametrize("weights", WEIGHTINGS)
def test_a_policy_trained_for_a_weighting_chooses_as_one_trained_for_another(
    weights: dict[str, float],
) -> None:
    """The objective of training only compares candidates; what they expect doesn't depend on it."""
    rounds, unseen = log_of(1), features_of(2_000, np.random.default_rng(2))
    one = train_on_rounds(rounds, seed=0)
    own = train_on_rounds(rounds, objective=weights, seed=0)
    assert own.name == one.name
    liked, likes = (
        utilities(policy.expected(unseen), policy.metrics, weights) for policy in (one, own)
    )
    assert (liked.argmax(axis=1) == likes.argmax(axis=1)).all()


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_a_logistic_head_weighed_later_earns_what_a_refit_on_the_utility_earns(
    weight: float, recorded: Path
) -> None:
    """On the test rows of a recorded table: nine choices in ten alike, and the true utilities
    within two standard errors of their paired difference.
    """
    table = recorded / "outcomes_llama31_8b.jsonl.gz"
    weights = {"quality": 1.0, "steps": -weight}
    train, test = (read_outcomes([table], split=split) for split in ("train", "test"))
    rows = warm_start_of(train, query_features(train.queries, "static"))
    unseen = query_features(test.queries, "static").matrix
    one = train_on_outcomes(rows, seed=0, source={})
    scalar = rows.values @ vector(weights, rows.metrics)
    refit = train_on_outcomes(
        rows._replace(metrics=("utility",), values=scalar[:, :, None]), seed=0, source={}
    )
    served = utilities(one.expected(unseen), one.metrics, weights).argmax(axis=1)
    again = refit.expected(unseen)[:, :, 0].argmax(axis=1)
    truth = test.values @ vector(weights, test.metrics)
    index = np.arange(len(served))
    ahead = truth[index, served] - truth[index, again]
    assert (served == again).mean() >= 0.9
    assert abs(ahead.mean()) <= 2.0 * ahead.std() / np.sqrt(len(ahead)) + 1e-12
