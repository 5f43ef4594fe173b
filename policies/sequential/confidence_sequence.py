"""An interval for a mean that may be looked at after every value: a confidence sequence.

The predictable plug-in empirical Bernstein sequence of Waudby-Smith and Ramdas (2024), "Estimating
means of bounded random variables by betting", Theorem 2, with the compensator of Waudby-Smith et
al. (2022), "Anytime-valid off-policy inference for contextual bandits", which needs a value's least
possible amount for a lower bound, its largest for an upper one, and not both:

    L_t = (Σ λ_i x_i − log(1/α) − Σ ((x_i − m_i)/c_i)² ψ(λ_i c_i)) / Σ λ_i,   c_i = m_i − low

with ψ(u) = −log(1 − u) − u, m_i the mean of the values before i, and any λ_i < 1/c_i chosen before
x_i is seen. Since exp(λξ − (ξ/c)² ψ(λc)) ≤ 1 + λξ for ξ ≥ −c (Fan et al. 2015), the chance that L_t
exceeds the mean at any t whatever is at most α: no asymptotics, no fixed sample size, any
dependence of a value's distribution on what came before.

Where the mean drifts, what is covered is the λ-weighted average of each value's mean given the
past; for that reason bounds aren't intersected over time.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Sides = Literal["both", "lower", "upper"]

# No bet above this share of what a single value could lose: Waudby-Smith and Ramdas' advice.
_LARGEST_BET = 0.5
# The spread expected before the first value, as a share of the range. It only sets the first bets.
_PRIOR_SPREAD = 0.1
# The least c_i, as a share of the range.
_LEAST_ROOM = 1e-3


class Bounds(NamedTuple):
    """Lower and upper bounds after each value, in the shape of the values; ∓inf on an open side."""

    lower: Floats
    upper: Floats


class _Sums(NamedTuple):
    """All that a bound keeps of the values so far; each of shape (...) over parallel streams."""

    seen: int
    values: Floats
    squares: Floats
    bets: Floats
    bet_values: Floats
    compensation: Floats


class ConfidenceSequence:
    """The sequence for one stream of values, updated as they come; its state has a fixed size."""

    def __init__(
        self,
        low: float,
        high: float,
        *,
        alpha: float = 0.05,
        sides: Sides = "both",
        prior_mean: float | None = None,
        horizon: int | None = None,
    ) -> None:
        """Start with no value seen.

        Args:
            low: no value is below this.
            high: no value is above this.
            alpha: the chance that the mean is ever outside; a side alone gets all of it.
            sides: which bounds are wanted.
            prior_mean: the first guess of the mean, by default the middle of the range; a good one
                makes early bounds tighter, a bad one wider, never wrong.
            horizon: make the bounds tightest after so many values, instead of about as tight at
                every time; they hold at every time all the same.

        Raises:
            ValueError: the range is empty or not finite, or alpha or prior_mean is out of range.
        """
        _checked(low, high, alpha, prior_mean)
        level = alpha / 2.0 if sides == "both" else alpha
        middle = 0.5 * (low + high) if prior_mean is None else prior_mean
        self._lower = _Tail(low, high - low, level, middle, horizon) if sides != "upper" else None
        self._upper = None
        if sides != "lower":
            self._upper = _Tail(-high, high - low, level, -middle, horizon)
        self._values = (0, 0.0)
        self._low, self._high = low, high

    def update(self, values: ArrayLike) -> None:
        """Take in one value or several, in their order; a value out of the range: ValueError."""
        batch = _within(np.atleast_1d(np.asarray(values, dtype=np.float64)), self._low, self._high)
        for tail, sign in ((self._lower, 1.0), (self._upper, -1.0)):
            if tail is not None:
                tail.update(sign * batch)
        self._values = (self._values[0] + len(batch), self._values[1] + float(batch.sum()))

    @property
    def count(self) -> int:
        """How many values were seen."""
        return self._values[0]

    @property
    def mean(self) -> float:
        """Their plain mean, NaN before the first."""
        return self._values[1] / self._values[0] if self._values[0] else math.nan

    @property
    def lower(self) -> float:
        """The mean's lower bound now, at least `low`; −inf where only an upper one is wanted."""
        return -math.inf if self._lower is None else max(self._lower.bound(), self._low)

    @property
    def upper(self) -> float:
        """The mean's upper bound now, at most `high`; inf where only a lower one is wanted."""
        return math.inf if self._upper is None else min(-self._upper.bound(), self._high)


def confidence_sequence(
    values: ArrayLike,
    low: float,
    high: float,
    *,
    alpha: float = 0.05,
    sides: Sides = "both",
    prior_mean: float | None = None,
    horizon: int | None = None,
) -> Bounds:
    """The bounds after each value of one stream (n,), or of many parallel ones (..., n).

    The same numbers as `ConfidenceSequence` gives one after the other; raises as it does.
    """
    _checked(low, high, alpha, prior_mean)
    streams = _within(np.asarray(values, dtype=np.float64), low, high)
    level = alpha / 2.0 if sides == "both" else alpha
    middle = 0.5 * (low + high) if prior_mean is None else prior_mean
    lower, upper = np.full(streams.shape, -np.inf), np.full(streams.shape, np.inf)
    if sides != "upper":
        tail = _Tail(low, high - low, level, middle, horizon, streams.shape[:-1])
        lower = np.maximum(tail.update(streams), low)
    if sides != "lower":
        tail = _Tail(-high, high - low, level, -middle, horizon, streams.shape[:-1])
        upper = np.minimum(-tail.update(-streams), high)
    return Bounds(lower, upper)


class _Tail:
    """A lower bound at one level; an upper bound is that of the negated values."""

    def __init__(
        self,
        low: float,
        spread: float,
        alpha: float,
        mean: float,
        horizon: int | None,
        shape: tuple[int, ...] = (),
    ) -> None:
        self._low, self._log, self._horizon = low, math.log(1.0 / alpha), horizon
        self._least_room = _LEAST_ROOM * spread
        zero = np.zeros(shape)
        # The first guesses count as one value, so that nothing is divided by zero.
        self._sums = _Sums(0, zero + mean, zero + (_PRIOR_SPREAD * spread) ** 2, zero, zero, zero)

    def update(self, values: Floats) -> Floats:
        """Take in values (..., n) and return the bound after each."""
        if values.shape[-1] == 0:
            return values
        before = self._sums
        seen = before.seen + np.arange(1, values.shape[-1] + 1)
        means = _before(before.values, values) / seen
        squares = (values - means) ** 2
        variance = _before(before.squares, squares) / seen
        # More room than there is only makes the bound wider; none at all can't be divided by.
        room = np.maximum(means - self._low, self._least_room)
        times = seen * np.log1p(seen) if self._horizon is None else self._horizon
        wanted = np.sqrt(2.0 * self._log / (variance * times))
        bets = np.minimum(wanted, _LARGEST_BET / room)
        share = bets * room
        cost = squares / room**2 * (-np.log1p(-share) - share)
        totals = [
            np.cumsum(part, axis=-1) + start[..., None]
            for part, start in (
                (bets, before.bets),
                (bets * values, before.bet_values),
                (cost, before.compensation),
            )
        ]
        self._sums = _Sums(
            int(seen[-1]),
            before.values + values.sum(axis=-1),
            before.squares + squares.sum(axis=-1),
            *(total[..., -1] for total in totals),
        )
        return np.asarray((totals[1] - self._log - totals[2]) / totals[0])

    def bound(self) -> float:
        sums = self._sums
        if not sums.seen:
            return -math.inf
        return float((sums.bet_values - self._log - sums.compensation) / sums.bets)


def _before(start: Floats, values: Floats) -> Floats:
    """(..., n) the running total before each value."""
    total = np.cumsum(values, axis=-1) + start[..., None]
    return np.asarray(total - values)


def _checked(low: float, high: float, alpha: float, prior_mean: float | None) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low and high must be finite and low below high, not {low} and {high}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    if prior_mean is not None and not low <= prior_mean <= high:
        raise ValueError(f"prior_mean must lie within [{low}, {high}], not {prior_mean}")


def _within(values: Floats, low: float, high: float) -> Floats:
    wrong = ~((values >= low) & (values <= high))  # written so that NaN is refused as well
    if wrong.any():
        raise ValueError(
            f"a value of {values[wrong][0]} is out of the stated range [{low}, {high}]: state the "
            "range that values can have, or the bounds mean nothing"
        )
    return values
