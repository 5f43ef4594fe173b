"""Means over rows with standard errors robust to dependence within clusters, from sums by part."""

import math
from typing import NamedTuple

import numpy as np

from training.fit.folds import Ints
from training.log.rounds import Floats


class ClusterSums(NamedTuple):
    """Of K values on rows in clusters, each cluster within one part: rows and clusters; Σ of the
    values (K,); over clusters of s values and n rows, Σ s² and Σ s·n (K,) and Σ n².
    """

    rows: float
    clusters: float
    total: Floats
    squares: Floats
    cross: Floats
    sizes: float

    @classmethod
    def of(cls, values: Floats, clusters: Ints) -> "ClusterSums":
        """Of values (n, K); clusters (n,) are equal for rows that aren't independent."""
        _, numbers = np.unique(clusters, return_inverse=True)
        sizes = np.bincount(numbers).astype(np.float64)
        alone = len(sizes) == len(values)
        sums = values if alone else _sums(numbers, values, len(sizes))
        weights = np.ones(len(sizes)) if alone else sizes
        return cls(
            float(len(values)),
            float(len(sizes)),
            values.sum(axis=0),
            (sums**2).sum(axis=0),
            weights @ sums,
            float(sizes @ sizes),
        )

    def plus(self, other: "ClusterSums") -> "ClusterSums":
        """Of both parts."""
        return ClusterSums(
            self.rows + other.rows,
            self.clusters + other.clusters,
            self.total + other.total,
            self.squares + other.squares,
            self.cross + other.cross,
            self.sizes + other.sizes,
        )

    @property
    def means(self) -> Floats:
        """(K,)."""
        return np.asarray(self.total / self.rows)

    @property
    def standard_errors(self) -> Floats:
        """(K,) of the means: Liang and Zeger's (1986) sandwich, as
        `training.judge.variance.standard_error`; infinite for fewer than two clusters.
        """
        if self.clusters < 2:
            return np.full(len(self.total), math.inf)
        mean = self.means
        spread = np.maximum(self.squares - 2.0 * mean * self.cross + mean**2 * self.sizes, 0.0)
        return np.asarray(np.sqrt(self.clusters / (self.clusters - 1.0) * spread) / self.rows)


def _sums(numbers: Ints, values: Floats, count: int) -> Floats:
    """(count, K) sums of values by number."""
    return np.column_stack(
        [np.bincount(numbers, weights=column, minlength=count) for column in values.T]
    )
