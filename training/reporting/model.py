"""Reporting as a model: who reports depends on the query as well as on arm, tenant and age.

A regularised logistic regression (inverse probability weighting for data missing at random: Robins,
Rotnitzky and Zhao 1994), used only where it predicts reports clearly better than the table of
shares on rounds that it hasn't seen.
"""

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from training.fit.feature_scale import fit_scale
from training.fit.folds import grouped_folds
from training.judge.ope import standard_error
from training.log.rounds import Bools, Floats, LoggedRounds
from training.reporting.shares import MIN_LIKE, reporting_shares

# Rounds with a report, and without one, from which a model is tried.
MIN_EACH = 200
# Directions of the features that reporting may follow, and how many of them arm by arm.
_DIRECTIONS, _BY_ARM = 32, 8
# scikit-learn's inverse penalty, on columns of variance 1.
_C = 0.03
_FOLDS = 5
# More rounds than this don't make the coefficients better, only slower.
_MOST_ROWS = 20_000
# Standard errors by which the model's log-loss must be below that of the shares.
_CLEARLY = 2.0
_LEAST = 1e-3


def modelled_reporting(rounds: LoggedRounds, known: Bools, *, seed: int = 0) -> Floats | None:
    """(n,) each round's probability of being reported, by models that never saw it.

    None where there are too few rounds, or the shares predict as well. Folds keep near-duplicate
    queries together, and `seed` deals them.
    """
    if min(int(known.sum()), int((~known).sum())) < MIN_EACH:
        return None
    columns = _columns(rounds)
    folds = grouped_folds(rounds.groups, _FOLDS, seed)
    modelled, shares = np.empty(len(rounds)), np.empty(len(rounds))
    for fold in range(_FOLDS):
        test = folds == fold
        if not test.any() or len(np.unique(known[~test])) < 2:
            return None
        modelled[test] = _fit(columns[~test], known[~test]).predict_proba(columns[test])[:, 1]
        shares[test] = _seen_shares(rounds, known, test)
    ahead = _loss(shares, known) - _loss(modelled, known)
    better = ahead.mean() > _CLEARLY * standard_error(ahead, rounds.groups)
    return modelled if better else None


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


def _columns(rounds: LoggedRounds) -> Floats:
    """(n, k) features' main directions, arms, tenants, the two by each other, and age."""
    scaled = fit_scale(rounds.features).apply(rounds.features)
    values, vectors = np.linalg.eigh(scaled.T @ scaled)
    seen = scaled @ vectors[:, np.argsort(-values)[:_DIRECTIONS]]
    arms = np.eye(len(rounds.arms))[rounds.action]
    names, tenant, sizes = np.unique(
        rounds.tenants.astype(str), return_inverse=True, return_counts=True
    )
    tenants = np.eye(len(names))[tenant][:, sizes >= MIN_LIKE]
    by_arm = (arms[:, :, None] * seen[:, None, :_BY_ARM]).reshape(len(seen), -1)
    by_tenant = (arms[:, :, None] * tenants[:, None, :]).reshape(len(seen), -1)
    age = np.log1p(rounds.at.max() - rounds.at)[:, None]
    columns = np.hstack([seen, arms, tenants, by_arm, by_tenant, age])
    spread = columns.std(axis=0)
    varies = spread > 1e-9
    return np.asarray((columns[:, varies] - columns[:, varies].mean(axis=0)) / spread[varies])
