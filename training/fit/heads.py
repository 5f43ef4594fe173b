"""Fitted heads: one linear reward model per arm and metric, and the policy they make."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Manifest
from policies.linear_policy import LOGISTIC, LinearPolicy
from policies.posterior import Posterior
from training.fit.feature_scale import FeatureScale

Floats = NDArray[np.float64]


class Heads(NamedTuple):
    """coefficients (A, M, d) on scaled features, intercepts (A, M), links (M,)."""

    coefficients: Floats
    intercepts: Floats
    links: NDArray[np.int8]

    def scores(self, scaled: Floats) -> Floats:
        """(n, A, M) what stands under the links, for scaled features (n, d)."""
        arms, metrics, dimension = self.coefficients.shape
        flat = scaled @ self.coefficients.reshape(arms * metrics, dimension).T
        return np.asarray(flat.reshape(len(scaled), arms, metrics) + self.intercepts)

    def expected(self, scaled: Floats) -> Floats:
        """(n, A, M) expected metrics for scaled features (n, d)."""
        scores = self.scores(scaled)
        bounded = 1.0 / (1.0 + np.exp(-np.clip(scores, -30.0, 30.0)))
        return np.where(self.links == LOGISTIC, bounded, scores)


def linear_policy(
    heads: Heads, scale: FeatureScale, manifest: Manifest, posterior: Posterior | None = None
) -> LinearPolicy:
    """The policy that serves these heads on the features as they are."""
    coefficients, intercepts = scale.fold_back(heads.coefficients, heads.intercepts)
    return LinearPolicy(
        manifest,
        coefficients.astype(np.float32),
        intercepts,
        heads.links,
        carried={} if posterior is None else posterior.tensors,
    )


def arm_means(values: Floats, fallback: Sequence[float] | Floats) -> Floats:
    """(A, M) mean of each arm's metric over the rows that have it; the fallback (M,) elsewhere."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    sums = np.where(known, values, 0.0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.asarray(fallback)[None, :])
