"""Thompson sampling's probabilities without sampling: how likely each arm is the best.

Given independent normal posteriors of the arms' utilities,

    P(a is best) = ∫ φ(z) Π_{b≠a} Φ((u_a + s_a z − u_b) / s_b) dz

(Thompson 1933), by Gauss-Hermite quadrature at fixed nodes: a function of the utilities, their
deviations and the mask alone, so the logged propensity is exactly the one that was drawn with.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
# Deviations below this share of a row's largest number are taken as that: a quotient stays finite.
_LEAST = 1e-9
# Beyond eight deviations the normal distribution function is 0 or 1 to fifteen digits.
_FAR = 8.0
# Rows at a time: a logged million would take gigabytes at once.
_CHUNK = 4096


def best_arm_probabilities(utilities: Floats, deviations: Floats, eligible: Bools) -> Floats:
    """(n, A) how likely each eligible arm is best; rows sum to 1, masked arms have 0.

    Args:
        utilities: (n, A) posterior means; those of masked arms are ignored.
        deviations: (n, A) posterior standard deviations, at least 0.
        eligible: (n, A), at least one a row.
    """
    if len(utilities) <= _CHUNK:
        return _of_rows(utilities, deviations, eligible)
    cuts = range(0, len(utilities), _CHUNK)
    parts = [(utilities[c : c + _CHUNK], deviations[c : c + _CHUNK]) for c in cuts]
    masks = [eligible[c : c + _CHUNK] for c in cuts]
    return np.concatenate([_of_rows(*part, mask) for part, mask in zip(parts, masks, strict=True)])


def _of_rows(utilities: Floats, deviations: Floats, eligible: Bools) -> Floats:
    means = np.where(eligible, utilities, 0.0)
    spread = np.where(eligible, deviations, 0.0)
    largest = np.maximum(np.abs(means), spread).max(axis=1, keepdims=True)
    spread = np.maximum(spread, _LEAST * np.maximum(largest, 1e-30))
    # (n, A, K): where arm a would lie, at each node of its own posterior; (n, A, K, A) beside all.
    places = means[:, :, None] + spread[:, :, None] * _NODES
    ahead = (places[..., None] - means[:, None, None]) / spread[:, None, None]
    rival = eligible[:, None] & ~np.eye(means.shape[1], dtype=np.bool_)
    beaten = np.where(rival[:, :, None], normal_cdf(ahead), 1.0).prod(axis=3)
    probabilities = np.where(eligible, beaten @ _WEIGHTS, 0.0)
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))


def normal_cdf(x: Floats) -> Floats:
    """Φ to 2e-4, monotone: the logistic of a cubic (Bowling et al. 2009). numpy has no erf."""
    x = np.minimum(np.maximum(x, -_FAR), _FAR)
    return np.asarray(1.0 / (1.0 + np.exp(-x * (1.5976 + 0.07056 * (x * x)))))
