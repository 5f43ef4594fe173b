"""The posterior that Thompson sampling draws from: `policies.posterior`, fitted on the draws.

Each arm's metric is regressed on the draws of that arm that reported it, not on doubly robust
pseudo-outcomes: while exploring, an arm that looks bad is drawn with a small probability, and the
inverse of that is noise in its pseudo-outcomes. On the train rows of flan_t5_xxl, each served once,
Thompson sampling earned .375 ± .006 by ridge on pseudo-outcomes and .383 ± .002 by ridge on the
draws (16 seeds): less on average, though not clearly, and far less in its bad runs.
The price is a bias where the linear model is wrong, since an arm's draws are of queries that seemed
to suit it: what the policy is judged and reported by stays doubly robust.
"""

from typing import NamedTuple

import numpy as np

from policies.posterior import Posterior, PosteriorTensors
from training.fit.feature_scale import FeatureScale
from training.fit.row_sums import HeadSums, head_sums
from training.fit.threads import one_thread
from training.log.rounds import Floats

# Ridge penalties, of which each metric has the one with the greatest marginal likelihood. Lighter
# ones, from 10 on, earned less on the train rows of flan_t5_xxl (.377 against .385, 20 seeds); from
# 100 on, .383 there and slightly more on 3,000 rows of mmlu_2models (.704 against .703).
PENALTIES = (300.0, 1_000.0, 3_000.0, 10_000.0)
# Eigenvectors kept an arm: under these penalties the others are all but isotropic.
DIRECTIONS = 16
# Pseudo-rounds of the metric's overall mean, and of the noise over all arms.
_PRIOR_ROWS, _NOISE_ROWS = 1.0, 10.0
_LEAST_NOISE = 1e-12


class _Spectrum(NamedTuple):
    """Of an arm's n rows: how many, their centre (d,), eigenvalues (d,) of ZᵀZ, largest first, and
    its eigenvectors in columns (d, d).
    """

    rows: float
    centre: Floats
    values: Floats
    vectors: Floats


class _Regression(NamedTuple):
    """An arm's n reports of a metric: vᵢᵀZᵀy (d,) and yᵀy, where y is centred."""

    spectrum: _Spectrum
    projected: Floats
    square: float

    def left(self, penalty: float) -> float:
        """What remains of yᵀy: Σ (y − ŷ)² + penalty · |slopes|²."""
        explained = (self.projected**2 / (self.spectrum.values + penalty)).sum()
        return max(self.square - float(explained), 0.0)

    def evidence(self, penalty: float) -> float:
        """Log marginal likelihood at the noise that suits it best, but for a constant."""
        n = self.spectrum.rows
        noise = max(self.left(penalty) / max(n, 1), _LEAST_NOISE)
        volume = np.log1p(self.spectrum.values / penalty).sum()
        return float(-0.5 * (volume + n * np.log(noise)))


@one_thread()
def fit_posterior(
    scaled: Floats, values: Floats, scale: FeatureScale, unreported: Floats | None = None
) -> Posterior:
    """The posterior of every arm and metric, from rows.

    Args:
        scaled: (n, d) scaled features.
        values: (n, A, M), NaN where not drawn or not reported.
        scale: that made `scaled`.
        unreported: (A, M) what to believe of a metric without a single value; zero by default.
    """
    rows = [head_sums(scaled, values[:, a]) for a in range(values.shape[1])]
    return posterior_of(rows, scale, unreported)


def posterior_of(
    sums: list[list[HeadSums]], scale: FeatureScale, unreported: Floats | None = None
) -> Posterior:
    """The posterior, from sums over scaled rows by arm and metric; the rest as above."""
    regressions = [_regressions(arm) for arm in sums]
    arms, metrics = len(sums), len(sums[0])
    by_metric = [[regressions[a][m] for a in range(arms)] for m in range(metrics)]
    penalties = np.array([_penalty(rows) for rows in by_metric])
    noise = np.column_stack([_noise(rows, penalties[m]) for m, rows in enumerate(by_metric)])
    counts = np.array([[one.of.rows for one in arm] for arm in sums])
    slopes = np.array([_slopes(rows, penalties) for rows in regressions])
    centres = np.array([[row.spectrum.centre for row in rows] for rows in regressions])
    means = _means(sums)
    if unreported is not None:
        means = np.where(counts.any(axis=0), means, unreported)
    coefficients, intercepts = scale.fold_back(slopes, means - (slopes * centres).sum(axis=2))
    fullest = [rows[int(counts[a].argmax())].spectrum for a, rows in enumerate(regressions)]
    gains, remainder = _compressed(fullest, counts, penalties)
    return Posterior(
        PosteriorTensors(
            coefficients=coefficients.astype(np.float32),
            intercepts=intercepts,
            scale=scale.scale.astype(np.float32),
            # z = features · scale − (shift · scale + the arm's own centre)
            centres=np.array(
                [row.centre + scale.shift * scale.scale for row in fullest], dtype=np.float32
            ),
            directions=np.array(
                [row.vectors[:, : gains.shape[2]].T for row in fullest], dtype=np.float32
            ),
            gains=gains,
            remainder=remainder,
            rows=counts + _PRIOR_ROWS,
            noise=noise,
        )
    )


def _regressions(sums: list[HeadSums]) -> list[_Regression]:
    """One arm's; metrics that are known on the same rows share a spectrum."""
    spectra: list[tuple[HeadSums, _Spectrum]] = []
    fitted = []
    for one in sums:
        like = (known for other, known in spectra if _same_rows(one, other))
        spectrum = next(like, None) or _spectrum(one)
        spectra.append((one, spectrum))
        mean = one.y / max(one.of.rows, 1.0)
        projected = spectrum.vectors.T @ (one.xy - mean * one.of.x)
        square = max(one.yy - mean * one.y, 0.0)
        fitted.append(_Regression(spectrum, projected, square))
    return fitted


def _same_rows(one: HeadSums, other: HeadSums) -> bool:
    return one.of.rows == other.of.rows and np.array_equal(one.of.xx, other.of.xx)


def _spectrum(sums: HeadSums) -> _Spectrum:
    values, vectors = np.linalg.eigh(sums.of.centred)
    centre = sums.of.x / max(sums.of.rows, 1.0)
    return _Spectrum(sums.of.rows, centre, np.maximum(values[::-1], 0.0), vectors[:, ::-1])


def _penalty(arms: list[_Regression]) -> float:
    """The most likely one, for all arms together."""
    likely = [sum(row.evidence(penalty) for row in arms) for penalty in PENALTIES]
    return PENALTIES[int(np.argmax(likely))]


def _noise(arms: list[_Regression], penalty: float) -> Floats:
    """(A,) variance of a metric about its regression, shrunk to that over all arms."""
    left = np.array([row.left(penalty) for row in arms])
    counts = np.array([row.spectrum.rows for row in arms])
    pooled = left.sum() / max(counts.sum(), 1)
    shrunk = (left + _NOISE_ROWS * pooled) / (counts + _NOISE_ROWS)
    return np.asarray(np.maximum(shrunk, _LEAST_NOISE))


def _slopes(metrics: list[_Regression], penalties: Floats) -> Floats:
    """(M, d) posterior means on scaled features."""
    return np.array(
        [
            row.spectrum.vectors @ (row.projected / (row.spectrum.values + penalty))
            for row, penalty in zip(metrics, penalties, strict=True)
        ]
    )


def _means(sums: list[list[HeadSums]]) -> Floats:
    """(A, M) of each arm's reports and _PRIOR_ROWS of the metric's overall mean."""
    counts = np.array([[one.of.rows for one in arm] for arm in sums])
    totals = np.array([[one.y for one in arm] for arm in sums])
    overall = totals.sum(axis=0) / np.maximum(counts.sum(axis=0), 1.0)
    return np.asarray((totals + _PRIOR_ROWS * overall) / (counts + _PRIOR_ROWS))


def _compressed(
    fullest: list[_Spectrum], counts: Floats, penalties: Floats
) -> tuple[Floats, Floats]:
    """Gains (A, M, r) and remainder (A, M).

    A metric that is reported less often than its arm's fullest has that share of its eigenvalues.
    """
    spectra = np.array([spectrum.values for spectrum in fullest])
    share = counts / np.maximum(counts.max(axis=1, keepdims=True), 1)
    inverses = 1.0 / (spectra[:, None] * share[:, :, None] + penalties[:, None])
    kept = min(DIRECTIONS, spectra.shape[1] - 1)
    remainder = inverses[:, :, kept:].mean(axis=2)
    return np.maximum(remainder[:, :, None] - inverses[:, :, :kept], 0.0), remainder
