"""Whether arms are drawn with the logged probabilities: a sequential test of the log's foundation.

A bet names other probabilities q for a draw and pays q(arm) / p(arm), which has mean 1 if the arm
was drawn with p (Wald 1945; Shafer 2021, "Testing by betting"). Bets here: each arm drawn more or
less often than it should be (its odds changed by a fixed ratio), and the likeliest arm or any arm
drawn without regard to p. An arm drawn with probability 0 is an alarm at once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from policies.sequential.sequential_test import Floats, SequentialTest

ODDS = (0.5, 0.8, 1.25, 2.0)
# The part of a draw that another rule is bet to have made.
_MIXED = 0.2


def draw_bets(probabilities: Floats, action: NDArray[np.intp]) -> Floats:
    """(n, A · len(ODDS) + 2) factors of draws (n,) from probabilities (n, A)."""
    n, arms = probabilities.shape
    rows = np.arange(n)
    p = probabilities[rows, action]
    drawn = np.equal.outer(action, np.arange(arms))
    bets = [np.where(drawn, odds, 1.0) / (1.0 + (odds - 1.0) * probabilities) for odds in ODDS]
    possible = probabilities > 0.0
    best = probabilities == probabilities.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        for other in (best, possible):
            q = other[rows, action] / other.sum(axis=1)
            bets.append((1.0 - _MIXED + _MIXED * q / p)[:, None])
    factors = np.concatenate(bets, axis=1)
    factors[p <= 0.0] = np.inf
    return factors


class PropensityTest:
    """The test on one stream of decisions over the same arms."""

    def __init__(self, arms: Sequence[str], false_alarm_rate: float) -> None:
        self.arms = tuple(arms)
        self.test = SequentialTest(len(arms) * len(ODDS) + 2, false_alarm_rate)

    def observe(self, probabilities: Floats, action: NDArray[np.intp]) -> None:
        """Take over draws, (n, A) probabilities and (n,) drawn arms, in order of time."""
        self.test.observe(draw_bets(probabilities, action))

    def finding(self) -> str:
        """What the bet with the most evidence says, in words."""
        leading = int(self.test.wealth.argmax())
        if leading >= len(self.arms) * len(ODDS):
            return "draws don't follow their probabilities"
        odds, arm = ODDS[leading // len(self.arms)], self.arms[leading % len(self.arms)]
        return f"{arm} is drawn {'more' if odds > 1.0 else 'less'} often than logged"
