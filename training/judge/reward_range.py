"""What a reward under an objective can be, which finite-sample intervals need to be told."""

import numpy as np

from training.amounts import is_amount
from training.judge.intervals import RewardRange
from training.log.rounds import Floats, LoggedRounds


def reward_range(rounds: LoggedRounds, weights: Floats) -> RewardRange:
    """The least and the greatest reward that any round could have had.

    A share lies within 0..1. An amount (a cost, a latency, a count) is taken to lie within the
    range it was seen in: no log can tell its true bounds.

    Args:
        rounds: n rounds of M metrics.
        weights: (n, M).
    """
    low, high = np.zeros(len(rounds)), np.zeros(len(rounds))
    for m, metric in enumerate(rounds.metrics):
        least, most = _metric_range(metric, rounds, m)
        low += np.minimum(weights[:, m] * least, weights[:, m] * most)
        high += np.maximum(weights[:, m] * least, weights[:, m] * most)
    return RewardRange(float(low.min(initial=0.0)), float(high.max(initial=0.0)))


def _metric_range(metric: str, rounds: LoggedRounds, m: int) -> tuple[float, float]:
    """A metric's range; of one that was never reported, that of what was expected, or 0."""
    values = rounds.values[:, m]
    if np.isnan(values).all():
        values = np.append(rounds.expected[:, :, m].ravel(), 0.0)
    elif not is_amount(metric, values):
        return 0.0, 1.0
    return float(np.nanmin(values)), float(np.nanmax(values))
