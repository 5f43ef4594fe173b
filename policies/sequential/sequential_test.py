"""A test that may be looked at after every observation: an e-process of bets, with Ville's bound.

A bet is a factor f ≥ 0 whose mean is at most 1 under the null, whatever came before. The wealth of
a bet that is placed from observation k on, Π_{i ≥ k} f_i, is then a nonnegative supermartingale,
and so is any average of such wealths, here over several bets and over every start:

    E_n = mean over bets of  Σ_{k ≤ n} π_k · Π_{i=k..n} f_i  +  Σ_{k > n} π_k

E starts at 1, so P(E ever reaches 1/α) ≤ α: the false-alarm rate holds over the whole stream, not
per look (Ville 1939; Ramdas, Grünwald, Vovk and Shafer 2023, "Game-theoretic statistics and safe
anytime-valid inference"). The average over starts is Shiryaev's: without it, a change after a long
quiet time would first have to win back what bets lost before it. π has a heavy tail, so that a
change after n quiet observations costs about log n + 2·log log n of log wealth.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Wealth beyond this is an alarm whatever the rate; capped, so that products stay finite.
_MOST = 1e200


class SequentialTest:
    """The wealth of `bets` bets against one null, on one stream."""

    def __init__(self, bets: int, false_alarm_rate: float) -> None:
        """Start with wealth 1.

        Args:
            bets: the number of factors in each observation.
            false_alarm_rate: 0 to 1, over the whole stream.
        """
        self.false_alarm_rate = false_alarm_rate
        self.observed = 0
        """Observations so far."""
        self.alarmed_at: int | None = None
        """The observation, counted from 1, at which the alarm was raised; it stays raised."""
        self._started = np.zeros(bets)
        self._unstarted = 1.0

    def observe(self, factors: Floats) -> None:
        """Take over observations, (n, bets) factors in order of time."""
        limit = len(self._started) / self.false_alarm_rate
        unstarted = np.log(2.0) / np.log(2.0 + self.observed + np.arange(len(factors) + 1))
        shares = (unstarted[:-1] - unstarted[1:]).tolist()
        started, sums = self._started, np.empty(len(factors))
        for index, (row, share) in enumerate(zip(factors, shares, strict=True)):
            started += share
            started *= row
            np.minimum(started, _MOST, out=started)
            sums[index] = started.sum()
        if self.alarmed_at is None:
            beyond = sums + len(started) * unstarted[1:] >= limit
            if beyond.any():
                self.alarmed_at = self.observed + int(beyond.argmax()) + 1
        self.observed += len(factors)
        self._unstarted = float(unstarted[-1])

    @property
    def value(self) -> float:
        """E, the evidence against the null."""
        return float(self._started.mean()) + self._unstarted

    @property
    def log_value(self) -> float:
        """log E; the alarm is raised at log(1 / false-alarm rate)."""
        return math.log(self.value)

    @property
    def wealth(self) -> Floats:
        """(bets,) what each bet has come to, to say which one found something."""
        return self._started
