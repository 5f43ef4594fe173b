"""The scale on which reward models see the features, and the way back."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.question import QUESTION_FEATURES

Floats = NDArray[np.float64]

# A standardised question feature counts a fifth of a unit-norm embedding. Cross-fitted on the four
# recorded tables' train rows, 0.1 to 1.0 are within noise in routing value and 0 is worse.
QUESTION_SHARE = 0.2


class FeatureScale(NamedTuple):
    """scaled = (features − shift) · scale, with shift and scale of shape (d,)."""

    shift: Floats
    scale: Floats

    def apply(self, features: NDArray[np.float32]) -> Floats:
        """(n, d) scaled features."""
        return np.asarray((features - self.shift) * self.scale, dtype=np.float64)

    def fold_back(self, coefficients: Floats, intercepts: Floats) -> tuple[Floats, Floats]:
        """Coefficients (..., d) and intercepts (...) for the features as they are."""
        folded = coefficients * self.scale
        return folded, intercepts - folded @ self.shift


def fit_scale(features: NDArray[np.float32]) -> FeatureScale:
    """Centre the embedding; standardise the question features, which are the last columns."""
    questions = features.shape[1] - len(QUESTION_FEATURES)
    shift = features.mean(axis=0, dtype=np.float64)
    scale = np.ones(features.shape[1])
    spread = features[:, questions:].std(axis=0, dtype=np.float64)
    constant = spread < 1e-6  # tells nothing here, and may take any value later
    scale[questions:] = np.where(constant, 0.0, QUESTION_SHARE / np.where(constant, 1.0, spread))
    return FeatureScale(shift, scale)
