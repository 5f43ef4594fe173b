"""Learning online: exploring learners earn more than those that don't learn, or don't look."""

import numpy as np
import pytest

from policies.exploration import Exploration
from tests.training.worlds import ARMS, features_of, success_rates
from training.simulation.online import OnlineRun, learn_online, train_fully, train_posterior
from training.tables.warm_start import WarmStart

WEIGHTS = {"quality": 1.0}
TRAININGS = (60, 120, 240, 480)
LEARNERS = {
    "thompson": Exploration(kind="thompson", floor=0.02),
    "squarecb": Exploration(kind="squarecb", floor=0.02),
    "epsilon": Exploration(kind="epsilon", epsilon=0.1, floor=0.02),
}


def world(seed: int, n: int = 1000) -> WarmStart:
    rng = np.random.default_rng(seed)
    features = features_of(n, rng)
    features[:, 0] = np.sign(features[:, 0])  # no arm is best on the whole: .5 each
    outcomes = (rng.random((n, 3)) < success_rates(features)).astype(np.float64)
    hashes = [f"hash-{row}" for row in range(n)]
    return WarmStart(features, "test-1", hashes, ARMS, ("quality",), outcomes[:, :, None], "")


def run(exploration: Exploration, seed: int, **options: object) -> OnlineRun:
    return learn_online(
        world(seed),
        exploration,
        WEIGHTS,
        trainings=TRAININGS,
        seed=seed,
        **{"train": train_posterior, **options},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("kind", LEARNERS)
def test_an_exploring_learner_beats_uniform_and_any_learner_that_ignores_the_query(
    kind: str,
) -> None:
    """Ten worlds. Whoever ignores the query can't expect more than the best arm's mean in that
    world, which is given it here without any learning. Null: the gain is 0; asked is a mean gain of
    3.69 standard errors over seeds (t with 9 degrees of freedom, one-sided: an error rate of .0025
    a comparison).
    """
    gains: dict[str, list[float]] = {"uniform": [], "context-free": []}
    for seed in range(10):
        earned = run(LEARNERS[kind], seed).earned.mean()
        uniform = run(Exploration(kind="uniform"), seed).earned.mean()
        gains["uniform"].append(earned - uniform)
        gains["context-free"].append(earned - world(seed).values[:, :, 0].mean(axis=0).max())
    for over, gain in gains.items():
        error = np.std(gain, ddof=1) / np.sqrt(len(gain))
        assert np.mean(gain) > 3.69 * error, (over, np.mean(gain), error)


def test_thompson_sampling_of_the_posterior_alone_draws_as_of_the_whole_policy() -> None:
    exploration = LEARNERS["thompson"]
    alone = run(exploration, 3, train=train_posterior)
    whole = run(exploration, 3, train=train_fully)
    np.testing.assert_allclose(alone.propensities, whole.propensities, rtol=1e-12)
    np.testing.assert_array_equal(alone.earned, whole.earned)


def test_before_the_first_training_arms_are_drawn_alike() -> None:
    first = run(LEARNERS["thompson"], 0).propensities[: TRAININGS[0]]
    np.testing.assert_allclose(first, 1 / 3)


def test_propensities_keep_masks_floors_and_sums() -> None:
    start = world(1)
    start.values[:, 2] = np.nan
    result = learn_online(
        start, LEARNERS["thompson"], WEIGHTS, trainings=(100,), seed=1, train=train_posterior
    )
    np.testing.assert_allclose(result.propensities.sum(axis=1), 1.0)
    assert (result.propensities[:, 2] == 0.0).all()
    assert (result.propensities[:, :2] >= 0.02 - 1e-12).all()


def test_the_same_seed_gives_the_same_run_and_another_doesnt() -> None:
    first, again, other = (run(LEARNERS["thompson"], seed).earned for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
