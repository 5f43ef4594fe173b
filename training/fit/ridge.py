"""Ridge regression from sums of squares and products: scikit-learn's solution, without its rows."""

from typing import NamedTuple

import numpy as np

from training.fit.row_sums import RowSums
from training.log.rounds import Floats


class _Spectrum(NamedTuple):
    """Eigenvalues (d,) and eigenvectors in columns (d, d) of the centred sums of squares."""

    values: Floats
    vectors: Floats


class Ridges:
    """Regressions of several arms' metrics at any penalty, from one eigendecomposition an arm, or
    one for all where they are usable on the same rows. Intercepts aren't penalised.
    """

    def __init__(self, arms: list[RowSums]) -> None:
        """Take the sums of the rows (scaled, d features) where each arm is usable; arms with the
        same rows share one object.
        """
        self._arms = arms
        self._spectra: dict[int, _Spectrum] = {}

    @property
    def rows(self) -> Floats:
        """(A,) how many rows each arm has."""
        return np.array([sums.rows for sums in self._arms])

    def solve(self, xy: Floats, y: Floats, penalty: float) -> tuple[Floats, Floats]:
        """Coefficients (A, M, d) and intercepts (A, M), zeros for an arm without rows.

        Args:
            xy: (d, A, M) Σ x·y over the arm's rows.
            y: (A, M) Σ y.
            penalty: on the squared coefficients.
        """
        coefficients, intercepts = np.zeros((*y.shape, len(xy))), np.zeros(y.shape)
        for arm, sums in enumerate(self._arms):
            if sums.rows > 0.0:
                spectrum, mean = self._spectrum(sums), sums.x / sums.rows
                target = xy[:, arm] - np.outer(mean, y[arm])
                projected = spectrum.vectors.T @ target
                slopes = spectrum.vectors @ (projected / (spectrum.values + penalty)[:, None])
                coefficients[arm] = slopes.T
                intercepts[arm] = y[arm] / sums.rows - mean @ slopes
        return coefficients, intercepts

    def products(self, coefficients: Floats, intercepts: Floats) -> tuple[Floats, Floats]:
        """(d, A, M) Σ x·(coefficients·x + intercept) and (A, M) its sum without x."""
        xy = np.zeros((coefficients.shape[2], *intercepts.shape))
        y = np.zeros(intercepts.shape)
        for arm, sums in enumerate(self._arms):
            slopes = coefficients[arm].T
            xy[:, arm] = sums.xx @ slopes + np.outer(sums.x, intercepts[arm])
            y[arm] = sums.x @ slopes + sums.rows * intercepts[arm]
        return xy, y

    def _spectrum(self, sums: RowSums) -> _Spectrum:
        key = id(sums)
        if key not in self._spectra:
            values, vectors = np.linalg.eigh(sums.centred)
            self._spectra[key] = _Spectrum(np.maximum(values, 0.0), vectors)
        return self._spectra[key]
