"""Bases: maps of the features in which reward models are linear. None of them sees an outcome.

- `LinearBasis`: the scaled features.
- `LandmarkBasis`: radial basis functions on landmark queries, whitened so that ridge regression in
  it is kernel ridge regression with the kernel's Nyström approximation (Williams and Seeger 2001).
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from sklearn.cluster import MiniBatchKMeans

from policies.reward_model import Landmarks
from training.fit.feature_scale import FeatureScale, fit_scale

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

# Landmarks, and γ in units of 1 / the median squared distance between queries. Cross-fitted on the
# train rows of the recorded tables, 256 centres, 384 and 512 drawn rows are within noise of each
# other and of all rows, 128 drawn rows lose a tenth of the gain over linear heads; γ of 2 and 4 are
# within noise and above 1 and 8.
LANDMARKS = 256
GAMMA = 2.0
# Rows a landmark at least stands for on average, and different queries it must stand for: a query's
# own vector has no place in an artifact.
_ROWS_A_LANDMARK, _MIN_CLUSTER = 8, 3
# Rows from which the median distance is taken.
_DISTANCE_ROWS = 400
# Directions of the landmarks' kernel below this share of the largest are rounding.
_RANK_TOLERANCE = 1e-5


class Basis(Protocol):
    """A map of features (n, d) to (n, p)."""

    def apply(self, features: Singles) -> Floats:
        """(n, p)."""


class LinearBasis(NamedTuple):
    """The scaled features."""

    scale: FeatureScale

    def apply(self, features: Singles) -> Floats:
        return self.scale.apply(features)


class LandmarkBasis(NamedTuple):
    """whitening (m, p): similarities @ whitening is the basis."""

    scale: FeatureScale
    landmarks: Landmarks
    whitening: Floats

    def apply(self, features: Singles) -> Floats:
        scaled = self.scale.apply(features).astype(np.float32)
        return np.asarray(self.landmarks.similarities(scaled) @ self.whitening, dtype=np.float64)


def fit_landmarks(features: Singles, seed: int, count: int = LANDMARKS) -> LandmarkBasis:
    """Landmarks at the centres of clusters of different queries, as wide as their distances."""
    scale = fit_scale(features)
    scaled = scale.apply(np.unique(features, axis=0))
    rng = np.random.default_rng(seed)
    some = scaled[rng.choice(len(scaled), min(_DISTANCE_ROWS, len(scaled)), replace=False)]
    median = float(np.median(pdist(some, "sqeuclidean"))) if len(some) > 1 else 0.0
    points = _centres(scaled, min(count, max(len(scaled) // _ROWS_A_LANDMARK, 1)), seed)
    landmarks = Landmarks(points.astype(np.float32), GAMMA / median if median > 0.0 else 1.0)
    kernel = landmarks.similarities(landmarks.points).astype(np.float64)
    values, vectors = np.linalg.eigh(kernel)
    kept = values > _RANK_TOLERANCE * values[-1]
    return LandmarkBasis(scale, landmarks, vectors[:, kept] / np.sqrt(values[kept]))


def _centres(scaled: Floats, count: int, seed: int) -> Floats:
    """(m, d) centres of the clusters that are large enough; at least the largest one's."""
    clusters: Any = MiniBatchKMeans(
        count, n_init=1, max_iter=20, batch_size=1024, random_state=seed
    ).fit(scaled)
    sizes = np.bincount(clusters.labels_, minlength=count)
    return np.asarray(clusters.cluster_centers_[(sizes >= _MIN_CLUSTER) | (sizes == sizes.max())])
