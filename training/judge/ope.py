"""Off-policy evaluation: what a candidate would have earned on logged decisions.

Pure functions of arrays, equal to the Open Bandit Pipeline's estimators (Saito et al. 2021,
github.com/st-tech/zr-obp, `obp/ope/estimators.py`) to rounding, and intervals from their influence
values. Shapes throughout: n rounds, A arms.

IPS        Horvitz and Thompson (1952); clipped: Bottou et al. (2013)
SNIPS      Swaminathan and Joachims (2015)
DM         the reward model alone (Beygelzimer and Langford 2009); its error isn't in the data, so
           it never gets an interval
DR         Dudík et al. (2011)
SNDR       Thomas and Brunskill (2016)
Switch-DR  Wang et al. (2017), "Optimal and adaptive off-policy evaluation in contextual bandits"
DRos       Su et al. (2020), "Doubly robust off-policy evaluation with shrinkage"
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.judge.sample import Floats, Sample
from training.judge.variance import dr_error, sample_error, standard_error

__all__ = [
    "ESTIMATORS",
    "REPORT_LAMBDA",
    "Z95",
    "Estimate",
    "Overlap",
    "Sample",
    "advantage_sample",
    "dm",
    "dr",
    "dr_os",
    "dr_rounds",
    "ips",
    "overlap",
    "paired_advantage",
    "sndr",
    "snips",
    "standard_error",
    "switch_dr",
]

Z95 = 1.959963984540054
# Relative to the largest reward.
_ROUNDING = 1e-10


class Estimate(msgspec.Struct, frozen=True):
    """A policy's value with its standard error and 95 % interval; without them for DM."""

    value: float
    standard_error: float | None = None
    lower: float | None = None
    upper: float | None = None


def ips(sample: Sample, clip: float = math.inf) -> Estimate:
    """mean(min(w, clip) · r); `clip` is the pipeline's lambda_."""
    rounds = np.minimum(sample.weights, clip) * sample.reward
    return _mean_estimate(sample, rounds)


def snips(sample: Sample) -> Estimate:
    """Σ w·r / Σ w; its interval by the delta method."""
    weights = sample.weights
    total = weights.mean()
    if total == 0.0:
        return Estimate(0.0)
    value = float((weights * sample.reward).mean() / total)
    return _estimate(sample, value, weights * (sample.reward - value) / total)


def dm(sample: Sample) -> Estimate:
    """mean(Σ_a π(a|x) · predicted reward), without an interval."""
    return Estimate(float(sample.baseline.mean()))


def dr(sample: Sample) -> Estimate:
    """mean(baseline + w · residual).

    Its standard error draws on the log's propensities where every arm's is known; see
    `training.judge.variance.dr_error`. A value that rewards may have left by rounding is 0: where
    every arm earns the same, an advantage of 1e-17 would be ten of its standard errors.
    """
    rounds = dr_rounds(sample)
    value = float(rounds.mean())
    if abs(value) <= _ROUNDING * sample.magnitude:
        value = 0.0
    return _interval(value, dr_error(sample, rounds))


def dr_rounds(sample: Sample) -> Floats:
    """(n,) each round's doubly robust value; their mean is DR's."""
    return sample.baseline + sample.weights * sample.residuals


def sndr(sample: Sample) -> Estimate:
    """mean(baseline) + Σ w·residual / Σ w; its interval by the delta method."""
    weights, residuals, baseline = sample.weights, sample.residuals, sample.baseline
    total = weights.mean()
    if total == 0.0:
        return Estimate(float(baseline.mean()))
    correction = float((weights * residuals).mean() / total)
    value = float(baseline.mean()) + correction
    influence = baseline - baseline.mean() + weights * (residuals - correction) / total
    return _estimate(sample, value, influence)


def switch_dr(sample: Sample, switch: float) -> Estimate:
    """DR where w ≤ switch, the reward model alone elsewhere; `switch` is the pipeline's lambda_."""
    weights = np.where(sample.weights <= switch, sample.weights, 0.0)
    return _mean_estimate(sample, sample.baseline + weights * sample.residuals)


def dr_os(sample: Sample, shrinkage: float) -> Estimate:
    """DR with w shrunk to λ·w / (w² + λ): optimistic shrinkage; λ is the pipeline's lambda_."""
    weights = sample.weights
    if math.isfinite(shrinkage):
        weights = shrinkage * weights / (weights**2 + shrinkage) if shrinkage else 0.0 * weights
    return _mean_estimate(sample, sample.baseline + weights * sample.residuals)


# Clipping, switching and shrinkage point used in reports: a weight of 10 is what an arm gets whose
# propensity was a tenth of the candidate's probability.
REPORT_LAMBDA = 10.0

ESTIMATORS: dict[str, Callable[[Sample], Estimate]] = {
    "ips": ips,
    "ips_clipped": lambda sample: ips(sample, clip=REPORT_LAMBDA),
    "snips": snips,
    "dm": dm,
    "dr": dr,
    "sndr": sndr,
    "switch_dr": lambda sample: switch_dr(sample, REPORT_LAMBDA),
    "dr_os": lambda sample: dr_os(sample, REPORT_LAMBDA**2),
}


def paired_advantage(sample: Sample, incumbent_dist: Floats) -> Estimate:
    """Candidate's DR value minus the incumbent's, row by row, so that what they share cancels.

    `incumbent_dist` (n, A) are the incumbent's probabilities: the logged ones where it drew.
    """
    return dr(advantage_sample(sample, incumbent_dist))


def advantage_sample(sample: Sample, incumbent_dist: Floats) -> Sample:
    """The sample whose DR value is the advantage: DR is linear in the policy's probabilities."""
    return sample._replace(action_dist=sample.action_dist - incumbent_dist)


class Overlap(NamedTuple):
    """How far the log supports judging a policy.

    effective_sample_size is Kish's (Σw)²/Σw²; mean_weight should be 1, and mean_weight_z is its
    distance from 1 in standard errors (beyond ±3 the logged propensities are wrong, or the log
    never tried what the policy does); support (A,) counts the rounds that drew each arm.
    """

    effective_sample_size: float
    largest_weight: float
    mean_weight: float
    mean_weight_z: float
    support: NDArray[np.intp]


def overlap(sample: Sample) -> Overlap:
    """The overlap between the logged draws and the policy."""
    weights = sample.weights
    squares = float((weights**2).sum())
    error = sample_error(sample, weights)
    mean = float(weights.mean())
    if error > 1e-12:
        z = (mean - 1.0) / error
    else:
        z = 0.0 if abs(mean - 1.0) < 1e-9 else math.copysign(math.inf, mean - 1.0)
    return Overlap(
        effective_sample_size=float(weights.sum()) ** 2 / squares if squares else 0.0,
        largest_weight=float(weights.max(initial=0.0)),
        mean_weight=mean,
        mean_weight_z=z,
        support=np.bincount(sample.action, minlength=sample.action_dist.shape[1]),
    )


def _mean_estimate(sample: Sample, rounds: Floats) -> Estimate:
    value = float(rounds.mean())
    return _estimate(sample, value, rounds - value)


def _estimate(sample: Sample, value: float, influence: Floats) -> Estimate:
    return _interval(value, sample_error(sample, influence))


def _interval(value: float, error: float) -> Estimate:
    return Estimate(value, error, value - Z95 * error, value + Z95 * error)
