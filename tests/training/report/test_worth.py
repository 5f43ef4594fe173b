"""What arms and routes are worth on a log, against the truth of a known world."""

import dataclasses

import numpy as np
import pytest

from tests.training.worlds import prefer, rounds_of
from training.errors import EmptyLogError
from training.log.rounds import LoggedRounds
from training.report.worth import (
    OBJECTIVE,
    Worth,
    arms_worth,
    incumbent_values,
    judgeable,
    routes_worth,
)

RATES = np.array([0.3, 0.5, 0.6])


def log(n: int = 4_000, seed: int = 0, **settings: object) -> LoggedRounds:
    return rounds_of(n, np.random.default_rng(seed), rates=np.tile(RATES, (n, 1)), **settings)  # type: ignore[arg-type]


def named(worths: list[Worth], name: str) -> Worth:
    [found] = [worth for worth in worths if worth.name == name]
    return found


def test_each_arm_is_worth_what_it_truly_earns() -> None:
    """Intervals at 95 %, three of them on one fixed log; all must be within twice their width."""
    judged = judgeable(log(), np.ones((4_000, 1)))
    for arm, truth in zip(("none", "single", "multi"), RATES, strict=True):
        estimate = named(arms_worth(judged), arm).values["quality"]
        assert estimate.standard_error is not None
        assert abs(estimate.value - truth) < 4 * estimate.standard_error
        assert estimate.standard_error < 0.03
    served = incumbent_values(judged)[OBJECTIVE]
    assert served.value == pytest.approx(RATES.mean(), abs=0.03)


def test_feedback_that_is_missing_more_for_one_arm_does_not_bias_it() -> None:
    rounds = log(6_000)
    values = rounds.values.copy()
    silent = np.random.default_rng(1).random(6_000) < np.array([0.1, 0.5, 0.8])[rounds.action]
    values[silent] = np.nan
    judged = judgeable(dataclasses.replace(rounds, values=values), np.ones((6_000, 1)))
    for arm, truth in zip(("none", "single", "multi"), RATES, strict=True):
        estimate = named(arms_worth(judged), arm).values["quality"]
        assert abs(estimate.value - truth) < 4 * (estimate.standard_error or 0.0)


def test_an_arm_counts_only_where_it_could_be_taken() -> None:
    rounds = log()
    probabilities, eligible = rounds.probabilities.copy(), rounds.eligible.copy()
    masked = (np.arange(4_000) % 2 == 0) & (rounds.action != 2)
    probabilities[masked] = [0.5, 0.5, 0.0]
    eligible[masked, 2] = False
    masked_rounds = dataclasses.replace(
        rounds,
        probabilities=probabilities,
        eligible=eligible,
        pscore=probabilities[np.arange(4_000), rounds.action],
    )
    judged = judgeable(masked_rounds, np.ones((4_000, 1)))
    assert named(arms_worth(judged), "multi").rows == 4_000 - masked.sum()
    assert named(arms_worth(judged), "none").rows == 4_000


def test_a_routes_arms_keep_their_proportions() -> None:
    judged = judgeable(log(probabilities=prefer(1, 4_000, 0.6)), np.ones((4_000, 1)))
    routes = {"none": "finetuned", "single": "retrieve", "multi": "retrieve"}
    retrieve = named(routes_worth(judged, routes), "retrieve")
    truth = (0.6 * 0.5 + 0.2 * 0.6) / 0.8
    assert retrieve.values["quality"].value == pytest.approx(truth, abs=0.03)
    assert retrieve.drawn == int((judged.rounds.action > 0).sum())


def test_a_value_that_nobody_measured_has_no_interval() -> None:
    silent = dataclasses.replace(
        log(500), values=np.full((500, 1), np.nan), expected=np.full((500, 3, 1), 0.5)
    )
    judged = judgeable(silent, np.ones((500, 1)))
    served = incumbent_values(judged)
    assert list(served) == [OBJECTIVE]
    assert (served[OBJECTIVE].value, served[OBJECTIVE].lower) == (0.5, None)
    assert named(arms_worth(judged), "multi").advantages[OBJECTIVE].lower is None


def test_too_few_queries_are_refused_with_the_cure() -> None:
    with pytest.raises(EmptyLogError, match="at least 20 are needed"):
        judgeable(log(10), np.ones((10, 1)))
