"""The scale on which reward models see the features, and the way back."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.question import QUESTION_FEATURES

if TYPE_CHECKING:
    from training.fit.row_sums import RowSums

Floats = NDArray[np.float64]

# A standardised question feature counts a fifth of a unit-norm embedding. Cross-fitted on the four
# recorded tables' train rows, 0.1 to 1.0 are within noise in routing value and 0 is worse.
QUESTION_SHARE = 0.2
# Features that vary by less are constant.
_CONSTANT = 1e-6


class FeatureScale(NamedTuple):
    """scaled = (features − shift) · scale, with shift and scale of shape (d,)."""

    shift: Floats
    scale: Floats

    def apply(self, features: NDArray[np.float32]) -> Floats:
        """(n, d) scaled features."""
        # In place: on a million rows, fresh memory takes longer than the arithmetic.
        scaled = features.astype(np.float64)
        scaled -= self.shift
        scaled *= self.scale
        return scaled

    def fold_back(self, coefficients: Floats, intercepts: Floats) -> tuple[Floats, Floats]:
        """Coefficients (..., d) and intercepts (...) for the features as they are."""
        folded = coefficients * self.scale
        return folded, intercepts - folded @ self.shift


def fit_scale(features: NDArray[np.float32]) -> FeatureScale:
    """Centre the embedding; standardise the question features, which are the last columns."""
    questions = features.shape[1] - len(QUESTION_FEATURES)
    shift = features.mean(axis=0, dtype=np.float64)
    return _scale(shift, features[:, questions:].std(axis=0, dtype=np.float64))


def scale_of(rows: "RowSums") -> FeatureScale:
    """The same from sums over the rows."""
    shift = rows.x / max(rows.rows, 1.0)
    variance = np.maximum(np.diag(rows.centred), 0.0) / max(rows.rows, 1.0)
    spread = np.sqrt(variance[len(shift) - len(QUESTION_FEATURES) :])
    # The difference of two sums is rounded in proportion to them.
    rounding = _CONSTANT * np.abs(shift[len(shift) - len(QUESTION_FEATURES) :])
    return _scale(shift, np.where(spread < rounding, 0.0, spread))


def _scale(shift: Floats, spread: Floats) -> FeatureScale:
    constant = spread < _CONSTANT  # tells nothing here, and may take any value later
    scale = np.ones(len(shift))
    known = np.where(constant, 0.0, QUESTION_SHARE / np.where(constant, 1.0, spread))
    scale[len(shift) - len(spread) :] = known
    return FeatureScale(shift, scale)
