"""How sure a mean over logged rounds is: from the rounds' spread, and from the log's design."""

import math

import numpy as np
from numpy.typing import NDArray

from training.judge.sample import Floats, Sample

# Draws of an arm for which all arms' residuals together stand in, in the variance of its own.
PSEUDO_DRAWS = 20.0


def standard_error(values: Floats, clusters: NDArray[np.intp] | None = None) -> float:
    """The standard error of the values' mean; robust to dependence within clusters where given.

    Liang and Zeger's (1986) sandwich with the small-sample factor G/(G−1) for G clusters; with
    every row its own cluster that is s/√n. Infinite for fewer than two clusters.
    """
    centred = values - values.mean()
    if clusters is not None:
        sums = np.bincount(clusters, weights=centred)
        # An empty cluster adds nothing to the sum of squares, but isn't one of the groups.
        groups = int(np.count_nonzero(np.bincount(clusters)))
        centred = sums
    else:
        groups = len(centred)
    if groups < 2:
        return math.inf
    return float(np.sqrt(groups / (groups - 1) * (centred @ centred)) / len(values))


def design_error(sample: Sample, rounds: Floats) -> float:
    """The standard error of DR's mean that the log's propensities imply; 0 where they aren't known.

        Var = (Var(baseline) + mean_x Σ_a π(a|x)² / p(a|x) · σ_a²) / n

    the average over all draws the log could have made, with σ_a² the mean squared residual of arm
    a's draws, shrunk to that of all draws by PSEUDO_DRAWS. A rare arm's few draws at large weights
    make the sample's own variance noisy, and small in just those logs where the arm happened to do
    badly: DR's plain interval at 95 % held the truth in 87.6 % of logs of 300 decisions at ε = 0.1,
    the larger of the two errors does in at least 94.8 % (benchmarks/interval_coverage.py).
    What repeated queries add to the sample's variance is taken to add as much to this one.

    Args:
        sample: the rounds, with `logging`.
        rounds: (n,) their DR values.
    """
    if sample.logging is None:
        return 0.0
    n = len(sample)
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.where(sample.action_dist == 0.0, 0.0, sample.action_dist**2 / sample.logging)
    drawn = float(factors.mean(axis=0) @ _residual_variances(sample))
    alone = standard_error(rounds)
    effect = standard_error(rounds, sample.clusters) / alone if 0.0 < alone < math.inf else 1.0
    return max(effect, 1.0) * math.sqrt((float(sample.baseline.var()) + drawn) / n)


def _residual_variances(sample: Sample) -> Floats:
    """(A,) the shrunken mean squared residual of each arm's reported draws."""
    known = np.isfinite(sample.pscore)
    arms = sample.action_dist.shape[1]
    action, squares = sample.action[known], sample.residuals[known] ** 2
    counts = np.bincount(action, minlength=arms)
    pooled = squares.mean() if len(squares) else 0.0
    sums = np.bincount(action, weights=squares, minlength=arms)
    return np.asarray((sums + PSEUDO_DRAWS * pooled) / (counts + PSEUDO_DRAWS))
