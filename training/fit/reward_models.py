"""Reward models on full-information rows: a blend of several families, chosen by cross-fitting.

Every member is fitted without a fold and predicts it. By metric, the recipe with the least squared
error out of fold is kept: the arms' means, one family alone, or all of them stacked. (The stacking
weights are cross-fitted over the same folds; van der Laan et al. 2007, "Super learner".)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from policies.reward_model import RewardModel
from training.fit.bases import Floats, Singles
from training.fit.blend import Recipe, blend
from training.fit.folds import Ints
from training.fit.members import FAMILIES, Member, fit_members, head_means
from training.fit.stacking import stack, stacked_out_of_fold
from training.fit.threads import one_thread

MEANS, BLEND = "means", "blend"
# A recipe must be better than simpler ones by more than rounding.
_TIE = 1e-6


class RecipeScore(msgspec.Struct, frozen=True, kw_only=True):
    """One recipe for one metric: its mean squared error out of fold, over all arms."""

    metric: str
    recipe: str
    loss: float
    chosen: bool


class FittedRewards(NamedTuple):
    """The model, the recipe of each metric, and the evidence on which it was chosen.

    `out_of_fold` (n, A, M) is what the chosen recipes expect of rows they never saw.
    """

    model: RewardModel
    recipes: dict[str, Recipe]
    scores: list[RecipeScore]
    out_of_fold: Floats


@one_thread()
def fit_rewards(
    features: Singles,
    values: Floats,
    folds: Ints,
    metrics: Sequence[str],
    *,
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
    fold_features: Mapping[int, Singles] | None = None,
) -> FittedRewards:
    """Fit all members, choose each metric's recipe, and blend.

    Args:
        features: (n, d).
        values: (n, A, M) outcomes, NaN where unknown.
        folds: (n,) fold of each row; near-duplicates share one.
        metrics: the metrics' names.
        seed: of landmarks and networks.
        advance: told of steps done, one a fold and one for the whole.
        fold_features: by fold, all rows' features (n, d) as they are learned without that fold;
            needed where the features themselves are learned from outcomes.
    """
    by_fold = fold_features or {int(fold): features for fold in np.unique(folds)}
    predictions = _out_of_fold(by_fold, values, folds, seed, advance)
    members = fit_members(features, values, seed=seed)
    means = head_means(values)
    families = np.array([member.family for member in members])
    recipes: dict[str, Recipe] = {}
    scores: list[RecipeScore] = []
    expected = np.zeros(values.shape)
    for m, metric in enumerate(metrics):
        offered = predictions[:, :, :, m] - means[:, m]
        wanted = values[:, :, m] - means[:, m]
        stacked = {MEANS: np.zeros(wanted.shape)}
        for name in (*FAMILIES, BLEND):
            mine = _members_of(name, families)
            stacked[name] = stacked_out_of_fold(offered[mine], wanted, folds)
        losses = {name: _loss(predicted, wanted) for name, predicted in stacked.items()}
        least = min(losses.values())
        simplest = least + _TIE * losses[MEANS]
        chosen = next(name for name, loss in losses.items() if loss <= simplest)
        recipes[metric] = _recipe(chosen, members, families, offered, wanted)
        expected[:, :, m] = means[:, m] + stacked[chosen]
        scores += [
            RecipeScore(metric=metric, recipe=name, loss=loss, chosen=name == chosen)
            for name, loss in losses.items()
        ]
    advance(1)
    model = blend(members, recipes, means, values, metrics, features)
    return FittedRewards(model, recipes, scores, expected)


@one_thread()
def refit_rewards(
    features: Singles,
    values: Floats,
    metrics: Sequence[str],
    recipes: Mapping[str, Recipe],
    *,
    seed: int,
) -> RewardModel:
    """Fit the members again on other rows, and blend them as was chosen before."""
    members = fit_members(features, values, seed=seed)
    means = head_means(values)
    return blend(members, recipes, means, values, metrics, features)


def _out_of_fold(
    features: Mapping[int, Singles],
    values: Floats,
    folds: Ints,
    seed: int,
    advance: Callable[[int], None],
) -> Floats:
    """(k, n, A, M) predictions of every member for rows that it never saw."""
    predictions: Floats | None = None
    for fold in np.unique(folds):
        test = folds == fold
        known = features[int(fold)]
        members = fit_members(known[~test], values[~test], seed=seed)
        if predictions is None:
            predictions = np.zeros((len(members), *values.shape))
        for number, member in enumerate(members):
            predictions[number, test] = member.expected(known[test])
        advance(1)
    assert predictions is not None
    return predictions


def _members_of(recipe: str, families: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(np.full(len(families), recipe == BLEND) | (families == recipe))


def _loss(predicted: Floats, wanted: Floats) -> float:
    known = ~np.isnan(wanted)
    return float(((predicted[known] - wanted[known]) ** 2).mean()) if known.any() else 0.0


def _recipe(
    name: str, members: Sequence[Member], families: NDArray[Any], offered: Floats, wanted: Floats
) -> Recipe:
    mine = np.flatnonzero(_members_of(name, families)).tolist()
    if not mine:
        return Recipe(name=name, level={}, deviation={})
    weights = stack(offered[mine], wanted)
    names = [members[number].name for number in mine]
    return Recipe(
        name=name,
        level={n: round(float(w), 6) for n, w in zip(names, weights.level, strict=True) if w},
        deviation={
            n: round(float(w), 6) for n, w in zip(names, weights.deviation, strict=True) if w
        },
    )
