"""Stacking finds how much of each member to take, apart for levels and differences."""

import numpy as np

from training.fit.stacking import Weights, stack, stacked_out_of_fold

RNG = np.random.default_rng(0)


def world(n: int = 4_000) -> tuple[np.ndarray, np.ndarray]:
    """Two members, and outcomes made of the whole of the first's level, half of its differences,
    and nothing of the second, with noise.
    """
    level = RNG.normal(size=(n, 1))
    apart = RNG.normal(size=(n, 3))
    apart -= apart.mean(axis=1, keepdims=True)
    idle = RNG.normal(size=(n, 3))
    outcomes = level + 0.5 * apart + 0.3 * RNG.normal(size=(n, 3))
    return np.stack([level + apart, idle]), outcomes


def test_level_and_differences_get_their_own_weights() -> None:
    predictions, outcomes = world()
    weights = stack(predictions, outcomes)
    np.testing.assert_allclose(weights.level, [1.0, 0.0], atol=0.03)
    np.testing.assert_allclose(weights.deviation, [0.5, 0.0], atol=0.03)


def test_weights_are_never_negative() -> None:
    predictions, outcomes = world()
    weights = stack(-predictions, outcomes)
    assert not weights.level[0]
    assert not weights.deviation[0]


def test_where_arms_are_mostly_missing_members_are_weighted_as_a_whole() -> None:
    predictions, outcomes = world()
    outcomes[RNG.random(outcomes.shape) < 0.6] = np.nan
    weights = stack(predictions, outcomes)
    np.testing.assert_array_equal(weights.level, weights.deviation)
    assert 0.6 < weights.level[0] < 0.9  # between the level's 1 and the differences' half


def test_mixing_and_applying_are_the_same() -> None:
    predictions, _ = world(50)
    weights = Weights(np.array([0.7, 0.1]), np.array([0.3, 0.2]))
    mixed = np.einsum("kab,knb->na", weights.mixing(3), predictions)
    np.testing.assert_allclose(weights.apply(predictions), mixed, atol=1e-12)


def test_a_fold_is_blended_by_weights_that_never_saw_it() -> None:
    """Of pure noise nothing can be predicted: in sample it seems so, out of fold it doesn't."""
    predictions = RNG.normal(size=(30, 60, 3))
    outcomes = RNG.normal(size=(60, 3))
    folds = np.arange(60) % 5
    blended = stacked_out_of_fold(predictions, outcomes, folds)
    assert ((blended - outcomes) ** 2).mean() > (outcomes**2).mean()
    seen = stack(predictions, outcomes).apply(predictions)
    assert ((seen - outcomes) ** 2).mean() < (outcomes**2).mean()
    changed = outcomes.copy()
    changed[folds == 2] += 5.0
    again = stacked_out_of_fold(predictions, changed, folds)
    np.testing.assert_array_equal(again[folds == 2], blended[folds == 2])
