"""A confidence sequence for a running mean of values whose range is known value by value.

Importance-weighted values have a range that differs widely from round to round, and is known before
the draw. With x_i the values, m_i predictions of them and c_i = m_i − (least possible x_i),

    W_t(λ) = exp(λ Σ (x_i − μ_i) − Σ ((x_i − m_i)/c_i)² ψ(λ c_i)),   ψ(u) = −log(1 − u) − u,

is a nonnegative supermartingale for each λ that stays below every 1/c_i (Fan et al. 2015; Howard et
al. 2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences"), μ_i being x_i's mean
given everything before it, this round's query included. So is its average over a grid of λ (the
method of mixtures), and by Ville's inequality it ever exceeds 1/α with probability α at most.
Solved for Σμ_i/t it bounds the mean effect over the rounds that there were: at every look, whatever
the order of queries, without weighing a round by its range.

`confidence_sequence` is tighter where all values share one range; its bets may not look at a
round's own range, and one rare round with a wide one would slow all of them.
"""

import math

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# From quick answers on large effects to slow ones on small: every bet costs log(len) once.
_BETS = 0.5 ** np.arange(1, 14)
_ROUNDING = 1e-9
_BISECTIONS = 40
# Below this, ψ(u)/u² is its series: 1/2 + u/3.
_SMALL = 1e-4


class SequenceState(msgspec.Struct, kw_only=True):
    """All that is kept of the values: how many, their sum, and each bet's cost so far (the
    subtrahend in W_t; infinite for bets that a wide range has ended), by side.
    """

    count: int = 0
    total: float = 0.0
    below: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(_BETS))
    above: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(_BETS))


class MixtureSequence:
    """The sequence for one stream of values; each of its two bounds fails with probability α."""

    def __init__(self, alpha: float, state: SequenceState | None = None) -> None:
        """Start with no value, or where an earlier sequence was left.

        Raises:
            ValueError: alpha isn't between 0 and 1.
        """
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
        self._log = math.log(len(_BETS) / alpha)
        self.state = state or SequenceState()

    def update(self, value: float, prediction: float, below: float, above: float) -> None:
        """Take in one value.

        Args:
            value: x_i.
            prediction: m_i, made before the value was drawn.
            below: how far below its prediction the value could have fallen.
            above: how far above.

        Raises:
            ValueError: it lies further from its prediction than it could.
        """
        surprise = value - prediction
        if not -below - _ROUNDING <= surprise <= above + _ROUNDING:
            raise ValueError(
                f"a value {surprise:+g} from its prediction is out of its stated range, "
                f"-{below:g} to +{above:g}"
            )
        state = self.state
        state.count += 1
        state.total += value
        for costs, room in ((state.below, below), (state.above, above)):
            costs[:] = (np.array(costs) + _costs(surprise, room)).tolist()

    @property
    def mean(self) -> float:
        """The values' mean, NaN before the first."""
        return self.state.total / self.state.count if self.state.count else math.nan

    @property
    def lower(self) -> float:
        """The lower bound now, −inf while nothing can be said."""
        return -self._bound(-self.state.total, self.state.below)

    @property
    def upper(self) -> float:
        """The upper bound now, inf while nothing can be said."""
        return self._bound(self.state.total, self.state.above)

    def _bound(self, total: float, costs: ArrayLike) -> float:
        """The least μ that the mixture excludes from above: it grows with μ, so it is bisected."""
        spent = np.asarray(costs, dtype=np.float64)
        alive = np.isfinite(spent)
        count = self.state.count
        if not count or not alive.any():
            return math.inf
        bets, spent = _BETS[alive], spent[alive]

        def excluded(mean: float) -> bool:
            wealth = bets * (count * mean - total) - spent
            return float(np.logaddexp.reduce(wealth)) >= self._log

        inside, outside = total / count, (total + float(((self._log + spent) / bets).min())) / count
        for _ in range(_BISECTIONS):
            middle = 0.5 * (inside + outside)
            inside, outside = (inside, middle) if excluded(middle) else (middle, outside)
        return outside


def _costs(surprise: float, room: float) -> Floats:
    """(bets,) surprise² ψ(λ c)/c², infinite where λ c ≥ 1; λ²/2 · surprise² without any room."""
    share = _BETS * room
    within = np.clip(share, _SMALL, 0.999)
    exact = (-np.log1p(-within) - within) / within**2
    series = 0.5 + within / 3.0
    costs = surprise**2 * _BETS**2 * np.where(share <= _SMALL, series, exact)
    # A bet that could lose more than it has, or nearly, is over; to end one early is safe.
    return np.where(share > 0.999, np.inf, costs)
