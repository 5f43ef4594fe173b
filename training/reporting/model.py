"""Reporting as a model: who reports depends on the query as well as on arm, tenant and age.

A regularised logistic regression (inverse probability weighting for data missing at random: Robins,
Rotnitzky and Zhao 1994), used only where it predicts reports clearly better than the table of
shares on rounds that it hasn't seen.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from training.fit.feature_scale import FeatureScale, fit_scale
from training.fit.folds import Ints, hashed_folds, row_digests
from training.judge.ope import standard_error
from training.log.rounds import Bools, Floats, LoggedRounds
from training.reporting.shares import MIN_LIKE, reporting_shares, tenant_numbers

# Rounds with a report, and without one, from which a model is tried.
MIN_EACH = 200
# Directions of the features that reporting may follow, and how many of them arm by arm.
_DIRECTIONS, _BY_ARM = 32, 8
# Tenants with terms of their own, the largest.
_MOST_TENANTS = 50
# scikit-learn's inverse penalty, on columns of variance 1.
_C = 0.03
_FOLDS = 5
# More rounds than this don't make the coefficients better, only slower.
_MOST_ROWS = 20_000
# Standard errors by which the model's log-loss must be below that of the shares.
_CLEARLY = 2.0
_LEAST = 1e-3


class _Columns(NamedTuple):
    """How rounds become columns of mean 0 and variance 1: features' main directions (d, r), the
    tenants with terms of their own, the time from which age counts.
    """

    scale: FeatureScale
    directions: Floats
    tenants: tuple[str, ...]
    end: float
    shift: Floats
    spread: Floats

    def raw(self, rounds: LoggedRounds) -> Floats:
        """(n, k) directions, arms, tenants, the two by each other, and age."""
        seen = self.scale.apply(rounds.features) @ self.directions
        arms = np.eye(len(rounds.arms))[rounds.action]
        row = {name: position for position, name in enumerate(self.tenants)}
        names, number = tenant_numbers(rounds.tenants)
        own = np.array([row.get(name, len(row)) for name in names], dtype=np.intp)[number]
        tenants = np.eye(len(row) + 1)[own][:, : len(row)]
        by_arm = (arms[:, :, None] * seen[:, None, :_BY_ARM]).reshape(len(seen), -1)
        by_tenant = (arms[:, :, None] * tenants[:, None, :]).reshape(len(seen), -1)
        age = np.log1p(np.maximum(self.end - rounds.at, 0.0))[:, None]
        return np.hstack([seen, arms, tenants, by_arm, by_tenant, age])

    def of(self, rounds: LoggedRounds) -> Floats:
        """(n, k) those that vary, standardised."""
        varies = self.spread > 1e-9
        columns = self.raw(rounds)[:, varies]
        return np.asarray((columns - self.shift[varies]) / self.spread[varies])


class ReportingModel(NamedTuple):
    """One regression a fold, learned from the others: coefficients (F, k), intercepts (F,)."""

    columns: _Columns
    coefficients: Floats
    intercepts: Floats
    seed: int

    def probabilities(self, rounds: LoggedRounds) -> Floats:
        """(n,) each round's probability of being reported, by a regression that never saw it."""
        folds = _folds(rounds, self.seed)
        columns = self.columns.of(rounds)
        scores = (columns * self.coefficients[folds]).sum(axis=1) + self.intercepts[folds]
        return np.asarray(1.0 / (1.0 + np.exp(-scores)))


def fit_reporting_model(
    rounds: LoggedRounds, known: Bools, *, seed: int = 0
) -> ReportingModel | None:
    """The model, None where there are too few rounds, or the shares predict as well.

    Folds keep near-duplicate queries together, and `seed` deals them.
    """
    if min(int(known.sum()), int((~known).sum())) < MIN_EACH:
        return None
    columns, folds = _fit_columns(rounds), _folds(rounds, seed)
    seen, shares = columns.of(rounds), np.empty(len(rounds))
    fitted = []
    for fold in range(_FOLDS):
        test = folds == fold
        if not test.any() or len(np.unique(known[~test])) < 2:
            return None
        fitted.append(_fit(seen[~test], known[~test]))
        shares[test] = _seen_shares(rounds, known, test)
    coefficients = np.array([model.coef_[0] for model in fitted])
    intercepts = np.array([model.intercept_[0] for model in fitted])
    model = ReportingModel(columns, coefficients, intercepts, seed)
    ahead = _loss(shares, known) - _loss(model.probabilities(rounds), known)
    better = ahead.mean() > _CLEARLY * standard_error(ahead, rounds.groups)
    return model if better else None


def _folds(rounds: LoggedRounds, seed: int) -> Ints:
    digests = row_digests(rounds.query_hashes.tolist(), rounds.decision_ids.tolist())
    return hashed_folds(digests, _FOLDS, seed)


def _fit(columns: Floats, known: Bools) -> Any:
    step = -(-len(columns) // _MOST_ROWS)
    return LogisticRegression(C=_C, max_iter=200, tol=1e-4).fit(columns[::step], known[::step])


def _seen_shares(rounds: LoggedRounds, known: Bools, test: Bools) -> Floats:
    """(test rows,) shares among the other rounds."""
    cells: dict[tuple[str, int], float] = {}
    others = rounds.rows(~test)
    keys = zip(others.tenants.tolist(), others.action.tolist(), strict=True)
    cells.update(zip(keys, reporting_shares(others, known[~test]).tolist(), strict=True))
    overall = float(known[~test].mean())
    mine = zip(rounds.tenants[test].tolist(), rounds.action[test].tolist(), strict=True)
    return np.array([cells.get(key, overall) for key in mine])


def _loss(predicted: Floats, known: Bools) -> Floats:
    """(n,) log-loss."""
    likely = np.clip(np.where(known, predicted, 1.0 - predicted), _LEAST, 1.0)
    return np.asarray(-np.log(likely))


def _fit_columns(rounds: LoggedRounds) -> _Columns:
    scale = fit_scale(rounds.features)
    scaled = scale.apply(rounds.features)
    values, vectors = np.linalg.eigh(scaled.T @ scaled)
    directions = vectors[:, np.argsort(-values)[:_DIRECTIONS]]
    nothing: NDArray[np.float64] = np.zeros(0)
    found = _Columns(
        scale, directions, _large_tenants(rounds), float(rounds.at.max()), nothing, nothing
    )
    raw = found.raw(rounds)
    return found._replace(shift=raw.mean(axis=0), spread=raw.std(axis=0))


def _large_tenants(rounds: LoggedRounds) -> tuple[str, ...]:
    names, sizes = np.unique(rounds.tenants.astype(str), return_counts=True)
    largest = np.argsort(-sizes, kind="stable")[:_MOST_TENANTS]
    return tuple(sorted(names[row] for row in largest if sizes[row] >= MIN_LIKE))
