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

Floats = NDArray[np.float64]
Z95 = 1.959963984540054


class Sample(NamedTuple):
    """Logged rounds, and the policy to be evaluated on them.

    action (n,): the drawn arm's index; reward (n,): what it earned; pscore (n,): the probability
    with which it was drawn; action_dist (n, A): the evaluated policy's probabilities;
    estimated_rewards (n, A): a reward model's predictions, made without the row's own reward;
    clusters (n,): rows with the same number aren't independent (near-duplicate queries).
    """

    action: NDArray[np.intp]
    reward: Floats
    pscore: Floats
    action_dist: Floats
    estimated_rewards: Floats
    clusters: NDArray[np.intp] | None = None

    @property
    def weights(self) -> Floats:
        """(n,) importance weights π(a|x) / pscore."""
        drawn = self.action_dist[np.arange(len(self.action)), self.action]
        return np.asarray(drawn / self.pscore)

    @property
    def residuals(self) -> Floats:
        """(n,) reward − the reward model's prediction for the drawn arm."""
        predicted = self.estimated_rewards[np.arange(len(self.action)), self.action]
        return self.reward - predicted

    @property
    def baseline(self) -> Floats:
        """(n,) Σ_a π(a|x) · predicted reward."""
        return np.asarray(np.einsum("na,na->n", self.action_dist, self.estimated_rewards))


class Estimate(msgspec.Struct, frozen=True):
    """A policy's value with its standard error and 95 % interval; without them for DM."""

    value: float
    standard_error: float | None = None
    lower: float | None = None
    upper: float | None = None


def ips(sample: Sample, clip: float = math.inf) -> Estimate:
    """mean(min(w, clip) · r); `clip` is the pipeline's lambda_."""
    rounds = np.minimum(sample.weights, clip) * sample.reward
    return _mean_estimate(rounds, sample.clusters)


def snips(sample: Sample) -> Estimate:
    """Σ w·r / Σ w; its interval by the delta method."""
    weights = sample.weights
    total = weights.mean()
    if total == 0.0:
        return Estimate(0.0)
    value = float((weights * sample.reward).mean() / total)
    return _estimate(value, weights * (sample.reward - value) / total, sample.clusters)


def dm(sample: Sample) -> Estimate:
    """mean(Σ_a π(a|x) · predicted reward), without an interval."""
    return Estimate(float(sample.baseline.mean()))


def dr(sample: Sample) -> Estimate:
    """mean(baseline + w · residual)."""
    return _mean_estimate(dr_rounds(sample), sample.clusters)


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
    return _estimate(value, influence, sample.clusters)


def switch_dr(sample: Sample, switch: float) -> Estimate:
    """DR where w ≤ switch, the reward model alone elsewhere; `switch` is the pipeline's lambda_."""
    weights = np.where(sample.weights <= switch, sample.weights, 0.0)
    return _mean_estimate(sample.baseline + weights * sample.residuals, sample.clusters)


def dr_os(sample: Sample, shrinkage: float) -> Estimate:
    """DR with w shrunk to λ·w / (w² + λ): optimistic shrinkage; λ is the pipeline's lambda_."""
    weights = sample.weights
    if math.isfinite(shrinkage):
        weights = shrinkage * weights / (weights**2 + shrinkage) if shrinkage else 0.0 * weights
    return _mean_estimate(sample.baseline + weights * sample.residuals, sample.clusters)


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
    return _mean_estimate(advantage_rounds(sample, incumbent_dist), sample.clusters)


def advantage_rounds(sample: Sample, incumbent_dist: Floats) -> Floats:
    """(n,) each round's DR value under the candidate minus that under the incumbent."""
    return dr_rounds(sample) - dr_rounds(sample._replace(action_dist=incumbent_dist))


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
    error = standard_error(weights, sample.clusters)
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


def standard_error(values: Floats, clusters: NDArray[np.intp] | None = None) -> float:
    """The standard error of the values' mean; robust to dependence within clusters where given.

    Liang and Zeger's (1986) sandwich with the small-sample factor G/(G−1) for G clusters; with
    every row its own cluster that is s/√n. Infinite for fewer than two clusters.
    """
    centred = values - values.mean()
    if clusters is not None:
        centred = np.bincount(clusters, weights=centred)
        centred = centred[np.bincount(clusters) > 0]
    groups = len(centred)
    if groups < 2:
        return math.inf
    return float(np.sqrt(groups / (groups - 1) * (centred**2).sum()) / len(values))


def _mean_estimate(rounds: Floats, clusters: NDArray[np.intp] | None) -> Estimate:
    value = float(rounds.mean())
    return _estimate(value, rounds - value, clusters)


def _estimate(value: float, influence: Floats, clusters: NDArray[np.intp] | None) -> Estimate:
    error = standard_error(influence, clusters)
    return Estimate(value, error, value - Z95 * error, value + Z95 * error)
