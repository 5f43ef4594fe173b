"""How sure a mean over logged rounds is: from the rounds' spread, and from the log's design."""

import math

import numpy as np
from numpy.typing import NDArray

from training.judge.sample import Floats, Sample

# How far the design's variance may be off, relatively, for what it assumes of the residuals.
DESIGN_CV = 0.1
# Draws of an arm for which all arms' residuals together stand in, in the variance of its own.
PSEUDO_DRAWS = 20.0
# Of the rewards' range: predictions nearer to its ends than this are taken to be this near.
_LEAST_MARGIN = 0.05


def standard_error(
    values: Floats, clusters: NDArray[np.intp] | None = None, groups: int | None = None
) -> float:
    """The standard error of the values' mean; robust to dependence within clusters where given.

    Liang and Zeger's (1986) sandwich with the small-sample factor G/(G−1) for G clusters; with
    every row its own cluster that is s/√n. Infinite for fewer than two clusters.

    Args:
        values: (n,).
        clusters: (n,) rows with the same number aren't independent.
        groups: how many different clusters there are, where that is known already.
    """
    centred = values - values.mean()
    if clusters is not None:
        centred = np.bincount(clusters, weights=centred)
        groups = groups or int(np.count_nonzero(np.bincount(clusters)))
    groups = groups or len(centred)
    if groups < 2:
        return math.inf
    return float(np.sqrt(groups / (groups - 1) * (centred @ centred)) / len(values))


def sample_error(sample: Sample, values: Floats) -> float:
    """The standard error of the mean of values (n,) on the sample's rounds."""
    return standard_error(values, sample.clusters, sample.groups)


def dr_error(sample: Sample, rounds: Floats) -> float:
    """The standard error of DR's mean, steadier than the sample's own where weights are large.

    A rare arm's few draws at large weights make the sample's variance noisy, and small in just
    those logs where the arm happened to do badly: the plain interval at 95 % held the truth in
    78 to 95 % of logs of 300 to 3,000 decisions of four recorded tables at ε of 0.1 and 0.3, this
    one in 93 to 97 % (benchmarks/interval_coverage.py). So the sample's variance v is shrunk to the
    one that the log's design implies (`design_variance`), as far as its own relative variance k
    (from the fourth moment) is beyond the square of how well the design's is known, DESIGN_CV:

        k / (k + DESIGN_CV²) · design + DESIGN_CV² / (k + DESIGN_CV²) · v

    As n grows k goes to 0, so the sample's variance decides in the end, right whatever the design's
    assumes. What repeated queries add to the one is taken to add as much to the other.

    Args:
        sample: the rounds; without `logging` the sample's own error is all there is.
        rounds: (n,) their DR values.
    """
    own = sample_error(sample, rounds)
    alone = standard_error(rounds)
    if sample.logging is None or not 0.0 < alone < math.inf or not own < math.inf:
        return own
    effect = max(own / alone, 1.0)
    design = effect * math.sqrt(design_variance(sample) / len(sample))
    noise = _relative_variance(sample, rounds)
    share = noise / (noise + DESIGN_CV**2)
    return math.sqrt(share * design**2 + (1.0 - share) * own**2)


def design_variance(sample: Sample) -> float:
    """The variance of a round's DR value, over rounds and all draws the log could have made:

        Var(baseline) + mean_x Σ_a f_a(x) · σ_a²(x),   f_a(x) = π(a|x)² / p(a|x)

    with σ_a²(x) an arm's residual variance. It differs between queries, and a policy departs from
    the incumbent on just those where answers are uncertain; so it is estimated in two ways, and the
    greater counts: from the residuals seen, those on rounds of a large f_a weighing as much more;
    and as (q − low)·(high − q), scaled to the arm's residuals, with q the predicted reward and low
    and high the rewards' range (for rewards of 0 and 1 that is their variance, if q is right). In
    both, all arms' draws together count as PSEUDO_DRAWS of each arm.
    """
    arms = range(sample.action_dist.shape[1])
    factors = [sample.action_dist[:, arm] * sample.factors(arm) for arm in arms]
    drawn = max(_seen_variance(sample, factors), _shaped_variance(sample, factors))
    return float(sample.baseline.var()) + drawn


def _seen_variance(sample: Sample, factors: list[Floats]) -> float:
    """The mean over rounds of Σ_a f_a · σ_a², from the squared residuals."""
    total = 0.0
    for arm, factor in enumerate(factors):
        mean = float(factor.mean())
        if mean > 0.0:
            weights = np.where(sample.known, factor / mean, 0.0)
            squares = weights * sample.squares
            everyone = _ratio(squares.sum(), weights.sum())
            own = sample.action == arm
            draws = float(weights[own].sum()) + PSEUDO_DRAWS
            total += mean * (float(squares[own].sum()) + PSEUDO_DRAWS * everyone) / draws
    return total


def _shaped_variance(sample: Sample, factors: list[Floats]) -> float:
    """The mean over rounds of Σ_a f_a · σ_a², with σ_a² from the predicted reward."""
    rewards = sample.reward[sample.known]
    if len(rewards) == 0 or np.ptp(rewards) == 0.0:
        return 0.0
    low, high = float(rewards.min()), float(rewards.max())
    shapes = _shape(sample.estimated_rewards.take(sample.drawn), low, high) * sample.known
    count = len(factors)
    squares = np.bincount(sample.action, weights=sample.squares, minlength=count)
    expected = np.bincount(sample.action, weights=shapes, minlength=count)
    pooled = PSEUDO_DRAWS / len(rewards)
    scales = (squares + pooled * squares.sum()) / (expected + pooled * expected.sum())
    return sum(
        float(scales[arm] * (factor @ _shape(sample.estimated_rewards[:, arm], low, high)))
        for arm, factor in enumerate(factors)
    ) / len(sample)


def _shape(predicted: Floats, low: float, high: float) -> Floats:
    """(q − low)·(high − q), q kept a little inside the range: no answer is ever certain."""
    margin = _LEAST_MARGIN * (high - low)
    inside = np.clip(predicted, low + margin, high - margin)
    return np.asarray((inside - low) * (high - inside))


def _ratio(over: float, under: float) -> float:
    return float(over / under) if under > 0.0 else 0.0


def _relative_variance(sample: Sample, rounds: Floats) -> float:
    """The squared coefficient of variation of the sample's variance."""
    centred = rounds - rounds.mean()
    if sample.clusters is not None:
        centred = np.bincount(sample.clusters, weights=centred)
    squares = centred**2
    groups = sample.groups or len(rounds)
    total = float(squares.sum())
    found = float(squares @ squares) / total**2 - 1.0 / groups if total else 0.0
    return max(found, 0.0)
