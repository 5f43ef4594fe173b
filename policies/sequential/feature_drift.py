"""Whether queries still come from where the training rows came from: a conformal test martingale.

Each channel (the distance to what is known, each question feature, the leading directions of the
embedding) is cut into fixed bins. A query's p-value in a channel is its rank among the calibration
rows and every query before it, ties broken at random. As long as all of them are exchangeable,
these p-values are independent and uniform, exactly and for any number of them (Vovk, Nouretdinov
and Gammerman 2003, "Testing exchangeability on-line"); ranks among the calibration rows alone
would not be, since those are finitely many. Bets against uniformity go into one SequentialTest.

What is tested is that traffic is exchangeable with the training rows. A daily rhythm breaks that
as a new topic does; so does a policy that was trained on something other than its traffic.
"""

import numpy as np
from numpy.typing import NDArray

from policies.novelty import KnownQueries
from policies.sequential.sequential_test import Floats, SequentialTest

# Bets 1 + s·(1 − 2p) gain where p-values lean to one side, ½·p^(−½) where some are very small.
SLOPES = (-0.8, -0.3, 0.3, 0.8)
BETS = len(SLOPES) + 2
# Rows whose ranks are computed at once: one-hot counts of so many stay in the cache.
_CHUNK = 64


def uniformity_bets(p_values: Floats) -> Floats:
    """(n, C, BETS) factors of p-values (n, C) in (0, 1); each has mean 1 under uniformity."""
    linear = [1.0 + slope * (1.0 - 2.0 * p_values) for slope in SLOPES]
    tails = [0.5 / np.sqrt(np.maximum(p, 1e-12)) for p in (p_values, 1.0 - p_values)]
    return np.stack([*linear, *tails], axis=2)


class FeatureDrift:
    """The test on one stream of queries against what one policy knows."""

    def __init__(self, known: KnownQueries, false_alarm_rate: float, seed: int = 0) -> None:
        """Begin a stream; `seed` is that of the ties."""
        self.channels = known.channels
        self.test = SequentialTest(len(self.channels) * BETS, false_alarm_rate)
        self._known = known
        self._ties = np.random.default_rng(seed)
        # (C, B + 1): how many have this bin or a later one; a last column of 0.
        from_above = known.counts[:, ::-1].cumsum(axis=1)[:, ::-1]
        self._at_least = np.pad(from_above, ((0, 0), (0, 1)))

    def observe(self, features: NDArray[np.float32]) -> None:
        """Take over queries, (n, d) features in order of time."""
        for start in range(0, len(features), _CHUNK):
            p_values = self._p_values(features[start : start + _CHUNK])
            bets = uniformity_bets(p_values)
            self.test.observe(bets.reshape(len(bets), -1))

    def leading(self, count: int = 3) -> list[str]:
        """The channels with the most evidence, strongest first."""
        wealth = self.test.wealth.reshape(len(self.channels), BETS).max(axis=1)
        return [self.channels[c] for c in np.argsort(-wealth)[:count]]

    def _p_values(self, features: NDArray[np.float32]) -> Floats:
        """(n, C) smoothed ranks from above, each among all before it and itself."""
        bins = self._known.bins(self._known.channel_values(features))
        counted = bins[:, :, None] >= np.arange(self._at_least.shape[1])
        after = self._at_least + counted.cumsum(axis=0)
        rows, channels = np.ogrid[: len(bins), : bins.shape[1]]
        equal_or_above = after[rows, channels, bins]
        above = after[rows, channels, bins + 1]
        self._at_least = after[-1]
        total = after[:, :, 0]
        share = self._ties.random(bins.shape)
        return np.asarray((above + share * (equal_or_above - above)) / total)
