"""Intervals for a doubly robust value or advantage, beside the one that decides.

- `dr_normal` is what the gate reads: see `training.judge.variance.dr_error`.
- `bootstrap_t` studentises (Efron and Tibshirani 1993, chapter 12; Hall 1992) and draws whole
  clusters, so repeated queries count once.
- `empirical_bernstein` holds at every sample size, given the range of the values, and is tightest
  at this one; `anytime` is about as tight at every time, so a log may be looked at again and again
  (both `policies.sequential.confidence_sequence`). Their reward model is each arm's mean so far,
  since it must not know the future (Waudby-Smith et al. 2022, "Anytime-valid off-policy inference
  for contextual bandits"). Queries may repeat, as long as each is a fresh draw from the same
  traffic.
"""

import math
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from policies.sequential.confidence_sequence import ConfidenceSequence
from training.judge.ope import dr, dr_rounds
from training.judge.sample import Floats, Sample

REPLICATES = 1_000
# Relative to the mean, a standard error that is none.
_ROUNDING = 1e-12
# More clusters than this are merged at random: a thousand independent sums are enough to draw from.
_MOST_BLOCKS = 1_000
# Values given to the sequence at once: few enough to stay in the processor's cache.
_BATCH = 16_384
# Pseudo-draws of the middle of the reward's range, in an arm's mean so far.
_PRIOR_DRAWS = 10.0


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A two-sided interval; `range` is that of the values, where the method needs one stated."""

    lower: float
    upper: float
    range: tuple[float, float] | None = None


class RewardRange(NamedTuple):
    """No reward lies outside it."""

    low: float
    high: float


def intervals(
    sample: Sample,
    rewards: RewardRange,
    *,
    alpha: float = 0.05,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Every interval of the sample's DR value, by its method's name.

    Args:
        sample: the rounds, in order of time; its `action_dist` may be a difference of policies.
        rewards: what a reward can be.
        alpha: the chance of missing the value.
        replicates: of the bootstrap.
        seed: of the bootstrap.
    """
    estimate = dr(sample)
    values = dr_rounds(sample)
    found = {
        "dr_normal": Interval(
            lower=-math.inf if estimate.lower is None else estimate.lower,
            upper=math.inf if estimate.upper is None else estimate.upper,
        ),
        "bootstrap_t": bootstrap_t(
            values, sample.clusters, alpha=alpha, replicates=replicates, seed=seed
        ),
    }
    if sample.logging is not None:
        running = predictable(sample, rewards)
        reach = value_range(running, rewards)
        found["empirical_bernstein"] = bounded(running, reach, alpha, horizon=len(sample))
        found["anytime"] = bounded(running, reach, alpha)
    return found


def bootstrap_t(
    values: Floats,
    clusters: NDArray[np.intp] | None = None,
    *,
    alpha: float = 0.05,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Interval:
    """The studentised cluster bootstrap of the values' mean."""
    rng = np.random.default_rng(seed)
    mean = float(values.mean())
    sums, sizes = _blocks(values - mean, clusters, rng)
    blocks = len(sums)
    if blocks < 2:
        return Interval(lower=-math.inf, upper=math.inf)
    error = math.sqrt(blocks / (blocks - 1) * float(sums @ sums)) / len(values)
    if error <= _ROUNDING * max(abs(mean), 1.0):
        return Interval(lower=mean, upper=mean)
    parts = np.column_stack([sums, sizes, sums**2, sums * sizes, sizes**2])
    drawn = _draw_counts(blocks, replicates, rng) @ parts
    means = drawn[:, 0] / drawn[:, 1]
    squares = drawn[:, 2] - 2.0 * means * drawn[:, 3] + means**2 * drawn[:, 4]
    errors = np.sqrt(np.maximum(squares, 0.0) * blocks / (blocks - 1)) / drawn[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        studentised = np.where(errors > 0.0, means / errors, np.copysign(np.inf, means))
    low, high = np.quantile(
        studentised, [alpha / 2.0, 1.0 - alpha / 2.0], method="inverted_cdf"
    ).tolist()
    return Interval(lower=mean - high * error, upper=mean - low * error)


def _blocks(
    values: Floats, clusters: NDArray[np.intp] | None, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Each cluster's sum and size, clusters merged at random into at most _MOST_BLOCKS."""
    labels = np.arange(len(values)) if clusters is None else clusters
    names = int(labels.max(initial=-1)) + 1
    sums = np.bincount(labels, weights=values, minlength=names).astype(np.float64)
    sizes = np.bincount(labels, minlength=names).astype(np.float64)
    sums, sizes = sums[sizes > 0.0], sizes[sizes > 0.0]
    if len(sums) <= _MOST_BLOCKS:
        return sums, sizes
    block = rng.permutation(len(sums)) % _MOST_BLOCKS
    merged = [np.bincount(block, weights=part).astype(np.float64) for part in (sums, sizes)]
    return merged[0], merged[1]


def _draw_counts(blocks: int, replicates: int, rng: np.random.Generator) -> Floats:
    """(replicates, blocks) how often each block is drawn, with replacement."""
    drawn = rng.integers(0, blocks, (replicates, blocks))
    flat = (drawn + np.arange(replicates)[:, None] * blocks).ravel()
    counts = np.bincount(flat, minlength=replicates * blocks)
    return counts.reshape(replicates, blocks).astype(np.float64)


def bounded(
    sample: Sample, reach: RewardRange, alpha: float = 0.05, *, horizon: int | None = None
) -> Interval:
    """The bounds of a confidence sequence of the sample's DR values, after the last of them.

    Args:
        sample: the rounds in order of time, with predictions that don't know the future.
        reach: the range of their DR values.
        alpha: the chance of missing the value.
        horizon: see `policies.sequential.confidence_sequence`; without it the bounds are for any
            time.
    """
    low, high = reach
    if not low < high:
        return Interval(lower=low, upper=high, range=(low, high))
    values = np.clip(dr_rounds(sample), low, high)  # within it already, but for rounding
    start = min(max(0.0, low), high)
    sequence = ConfidenceSequence(low, high, alpha=alpha, prior_mean=start, horizon=horizon)
    for first in range(0, len(values), _BATCH):
        sequence.update(values[first : first + _BATCH])
    return Interval(lower=sequence.lower, upper=sequence.upper, range=(low, high))


def predictable(sample: Sample, rewards: RewardRange) -> Sample:
    """The sample with each arm's mean reward so far in place of its reward model's predictions."""
    return sample._replace(estimated_rewards=_means_so_far(sample, rewards))


def _means_so_far(sample: Sample, rewards: RewardRange) -> Floats:
    """(n, A) each arm's mean reward before the row, shrunk to the middle of the range."""
    known = np.isfinite(sample.pscore)
    middle = 0.5 * (rewards.low + rewards.high)
    n, arms = sample.action_dist.shape
    means = np.empty((n, arms))
    for arm in range(arms):
        drawn = (known & (sample.action == arm)).astype(np.float64)
        earned = drawn * sample.reward
        counts, sums = drawn.cumsum() - drawn, earned.cumsum() - earned
        means[:, arm] = (sums + _PRIOR_DRAWS * middle) / (counts + _PRIOR_DRAWS)
    return np.clip(means, rewards.low, rewards.high)


def value_range(sample: Sample, rewards: RewardRange) -> RewardRange:
    """What a DR value on these rounds can be, whichever arm was drawn and whatever it earned."""
    low = high = np.zeros(len(sample))  # an unreported draw adds nothing to the baseline
    for arm in range(sample.action_dist.shape[1]):
        factors = _most_unlikely(sample, arm) * sample.factors(arm)
        predicted = sample.estimated_rewards[:, arm]
        one, other = factors * (rewards.low - predicted), factors * (rewards.high - predicted)
        low = np.minimum(low, np.minimum(one, other))
        high = np.maximum(high, np.maximum(one, other))
    return RewardRange(
        float((low + sample.baseline).min(initial=0.0)),
        float((high + sample.baseline).max(initial=0.0)),
    )


def _most_unlikely(sample: Sample, arm: int) -> float:
    """How many times the weight that `factors` has for it a draw of the arm came to, at the most:
    how often a round is reported may depend on more than `logging` knows.
    """
    drew = (sample.action == arm) & np.isfinite(sample.pscore)
    if sample.logging is None or not drew.any():
        return 1.0
    return max(float((sample.logging[drew, arm] / sample.pscore[drew]).max()), 1.0)
