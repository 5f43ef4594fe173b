"""Refitting a policy's recipe without one dataset, to see what it is worth on questions unlike any
it has learned from.

The rows refitted are the policy's own training rows where its manifest still leads to them; without
them, those of the evaluated table itself.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from policies.artifact import Manifest
from policies.policy import Policy
from policies.query import query_hash
from training.errors import TrainingError
from training.fit.blend import Recipe
from training.fit.folds import group_numbers, grouped_folds
from training.fit.reward_models import fit_rewards, refit_rewards
from training.fit.training_rows import FOLDS
from training.judge.outcome_report import (
    Choices,
    LeftOut,
    Weights,
    arm_report,
    choose_greedily,
    curve_point,
)
from training.tables.outcomes import Floats, OutcomeTable, read_outcomes
from training.tables.query_features import QueryFeatures, query_features


class TrainingRows(NamedTuple):
    """Full-information rows to refit on, and where they are from, for people."""

    table: OutcomeTable
    features: NDArray[np.float32]
    described: str


def training_rows(
    manifest: Manifest, evaluated: OutcomeTable, features: QueryFeatures, encoder: str
) -> TrainingRows:
    """The manifest's training rows if they are still what they were, else the evaluated ones."""
    training = manifest.training
    paths = [Path(path) for path in training.get("outcomes", ())]
    if training.get("source") == "outcomes" and paths:
        try:
            table = read_outcomes(paths, split=training.get("split"))
        except TrainingError:
            table = None
        if table is not None and table.sha256 == training.get("sha256"):
            matrix = query_features(table.queries, encoder).matrix
            split = f", split {training['split']}" if training.get("split") else ""
            return TrainingRows(table, matrix, f"the policy's training rows{split}")
    return TrainingRows(evaluated, features.matrix, "the evaluated rows of the other datasets")


def leave_one_dataset_out(
    policy: Policy,
    table: OutcomeTable,
    features: QueryFeatures,
    rows: TrainingRows,
    objectives: Sequence[Weights],
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> list[LeftOut]:
    """One entry per dataset and objective; empty where there aren't at least two datasets."""
    datasets = sorted({name for name in table.datasets if name})
    trained = np.array(rows.table.datasets, dtype=object)
    evaluated = np.array(table.datasets, dtype=object)
    if len(datasets) < 2:
        return []
    manifest = policy.artifact().manifest
    recipes = _recipes(manifest, rows)
    columns = [policy.arms.index(arm) for arm in table.arms]
    left = []
    for dataset in datasets:
        here, elsewhere = evaluated == dataset, trained != dataset
        if not elsewhere.any():
            continue
        mine = table.rows(here)
        expected = _refitted(
            rows, elsewhere, recipes, _seed(manifest), features.matrix[here], table.arms
        )
        pooled = policy.expected(features.matrix[here])[:, columns]
        for weights in objectives:
            choices = choose_greedily(mine, expected, rows.table.metrics, weights)
            same = choose_greedily(mine, pooled, policy.metrics, weights)
            left.append(_entry(dataset, mine, choices, same, weights, rows.described))
        advance(1)
    return left


def _refitted(
    rows: TrainingRows,
    keep: NDArray[np.bool_],
    recipes: Mapping[str, Recipe],
    seed: int,
    features: NDArray[np.float32],
    arms: Sequence[str],
) -> Floats:
    """(n, A, M) expectations, in the order of `arms`, by models fitted on the kept rows."""
    table = rows.table
    model = refit_rewards(
        rows.features[keep], table.values[keep], table.metrics, recipes, seed=seed
    )
    return np.asarray(model.expected(features)[:, [table.arms.index(arm) for arm in arms]])


def _recipes(manifest: Manifest, rows: TrainingRows) -> dict[str, Recipe]:
    """The policy's own recipes; without them, what training on these rows would choose."""
    estimator = manifest.estimator
    if "recipes" in estimator:
        return msgspec.convert(estimator["recipes"], dict[str, Recipe])
    folds = grouped_folds(
        group_numbers([query_hash(query) for query in rows.table.queries]), FOLDS, _seed(manifest)
    )
    return fit_rewards(
        rows.features, rows.table.values, folds, rows.table.metrics, seed=_seed(manifest)
    ).recipes


def _seed(manifest: Manifest) -> int:
    return int(manifest.estimator.get("seed", 0))


def _entry(
    dataset: str,
    table: OutcomeTable,
    choices: Choices,
    pooled: Choices,
    weights: Weights,
    trained_on: str,
) -> LeftOut:
    point, same = curve_point(table, choices, weights), curve_point(table, pooled, weights)
    fixed = arm_report(table).values()
    best = max(fixed, key=lambda means: sum(w * means.get(m, 0.0) for m, w in weights.items()))
    return LeftOut(
        dataset=dataset,
        rows=len(table),
        objective=weights,
        value=point.value,
        pooled=same.value,
        same_mix_random=point.same_mix_random,
        best_fixed=best,
        share=point.share,
        trained_on=trained_on,
    )
