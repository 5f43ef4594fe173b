"""What a policy would spend at each cost weight: the curve on which budgets are met.

A query's expected spend never rises with the cost weight, with or without exploration: arms that
cost less than the best one gain probability, those that cost more lose it, and where the best arm
changes it does so for a cheaper one. So the mean over queries falls, and can be solved.
"""

from bisect import bisect_left
from typing import NamedTuple

import numpy as np

from policies.exploration import Bools, Exploration, Floats, arm_probabilities
from policies.objective import MAX_WEIGHT

# Above the greatest weight at which two arms change places: exploration needs more to be held down.
_BEYOND = (1.01, 4.0, 32.0, 256.0)


class Queries(NamedTuple):
    """What is expected of queries: utilities (n, A) under the objective without any cost weight,
    costs (n, A) in the metric that the weight is on, eligible (n, A).
    """

    utilities: Floats
    costs: Floats
    eligible: Bools

    def probabilities(self, weight: float, exploration: Exploration) -> Floats:
        """(n, A) each arm's probability at a cost weight.

        Raises:
            ArmError: a row has no eligible arm.
            ExpectationError: an eligible arm's utility isn't finite.
        """
        utilities = self.utilities - weight * self.costs
        return arm_probabilities(utilities, self.eligible, exploration)


def weight_grid(queries: Queries, points: int) -> Floats:
    """(G,) rising cost weights from 0 on, dense where arms change places.

    Two arms change places at the weight that makes up for their difference in utility; the grid has
    quantiles of those, and weights far beyond the greatest.
    """
    first, second = np.triu_indices(queries.costs.shape[1], 1)
    both = queries.eligible[:, first] & queries.eligible[:, second]
    dearer = (queries.costs[:, first] - queries.costs[:, second])[both]
    better = (queries.utilities[:, first] - queries.utilities[:, second])[both]
    differ = dearer != 0.0
    if not differ.any():
        return np.zeros(1)
    weights = np.clip(better[differ] / dearer[differ], -MAX_WEIGHT, MAX_WEIGHT)
    # Arms of equal utility change places at 0: a hundredth of utility stands in for the scale.
    scale = max(float(np.abs(weights).max()), 0.01 / float(np.abs(dearer).max()))
    trades = np.sort(weights[weights > 0.0])
    # Order statistics: np.quantile takes a hundred times as long on a few of them.
    quantiles = trades[np.linspace(0, len(trades) - 1, min(points, len(trades))).astype(np.intp)]
    beyond = np.minimum(scale * np.array(_BEYOND), MAX_WEIGHT)
    return np.unique(np.concatenate([[0.0], quantiles, beyond]))


class SpendCurve(NamedTuple):
    """Mean spends at rising cost weights; both lists have one length, and the spends fall."""

    weights: list[float]
    spends: list[float]

    def weight_for(self, target: float) -> float:
        """The least weight with which no more than the target is spent; the greatest if none."""
        # Negated, the spends rise: the first that is at most the target.
        index = bisect_left(self.spends, -target, key=lambda spend: -spend)
        if index == 0:
            return self.weights[0]
        if index == len(self.spends):
            return self.weights[-1]
        above, below = self.spends[index - 1], self.spends[index]
        share = (above - target) / (above - below)
        return self.weights[index - 1] + share * (self.weights[index] - self.weights[index - 1])


def spend_curve(
    queries: Queries, exploration: Exploration, *, points: int, prices: Floats | None = None
) -> SpendCurve:
    """The curve on these queries.

    Args:
        queries: n of them.
        exploration: with which they are served.
        points: quantiles in the grid.
        prices: (n, A) what the arms really cost, where that isn't what the policy expects.
    """
    grid = weight_grid(queries, points)
    n, arms = queries.costs.shape
    utilities = queries.utilities[None] - grid[:, None, None] * queries.costs[None]
    eligible = np.broadcast_to(queries.eligible, utilities.shape).reshape(-1, arms)
    probabilities = arm_probabilities(utilities.reshape(-1, arms), eligible, exploration)
    paid = np.where(queries.eligible, queries.costs if prices is None else prices, 0.0)
    spends = (probabilities.reshape(-1, n, arms) * paid).sum(axis=2).mean(axis=1)
    # Prices may rank the arms differently from the costs that steer; what is solved must fall.
    return SpendCurve(grid.tolist(), np.minimum.accumulate(spends).tolist())
