"""How sure a mean over logged rounds is: from the rounds' spread, and from the log's design."""

import math

import numpy as np
from numpy.typing import NDArray

from training.judge.sample import Floats, Sample


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


def design_error(sample: Sample, rounds: Floats) -> float:
    """The standard error of DR's mean that the log's propensities imply; 0 where they aren't known.

        Var = (Var(baseline) + mean_x Σ_a π(a|x)² / p(a|x) · σ_a²) / n

    the average over all draws the log could have made, with σ_a² the mean squared residual of arm
    a's draws, a little shrunk to that of all draws (`Sample.arm_variances`). A rare arm's few draws
    at large weights make the sample's own variance noisy, and small in just those logs where the
    arm happened to do badly: DR's plain interval at 95 % held the truth in as few as 87.6 % of logs
    of 300 decisions at ε = 0.1, with the larger of the two errors in at least 94.8 %
    (benchmarks/interval_coverage.py).
    What repeated queries add to the sample's variance is taken to add as much to this one.

    Args:
        sample: the rounds, with `logging`.
        rounds: (n,) their DR values.
    """
    if sample.logging is None:
        return 0.0
    n, arms = sample.action_dist.shape
    drawn = 0.0
    for arm in range(arms):
        wanted = sample.action_dist[:, arm]
        drawn += float(sample.arm_variances[arm] * (wanted @ sample.factors(arm))) / n
    alone = standard_error(rounds)
    effect = sample_error(sample, rounds) / alone if 0.0 < alone < math.inf else 1.0
    return max(effect, 1.0) * math.sqrt((float(sample.baseline.var()) + drawn) / n)
