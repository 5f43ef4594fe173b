"""From fitted members and their weights to the one model that serves."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from policies.reward_model import HiddenLayer, Landmarks, RewardModel, Scaling
from training.amounts import is_amount
from training.fit.bases import Floats, LandmarkBasis, Singles
from training.fit.feature_scale import fit_scale
from training.fit.members import HIDDEN, LANDMARKS, HiddenBasis, Member
from training.fit.stacking import Weights


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What was chosen for one metric: the members' weights, by their names.

    `level` is for what the arms share on a query, `deviation` for how they differ.
    """

    name: str
    level: dict[str, float]
    deviation: dict[str, float]


# The arms' means alone.
_NOTHING = Recipe(name="means", level={}, deviation={})


def blend(
    members: Sequence[Member],
    recipes: Mapping[str, Recipe],
    means: Floats,
    values: Floats,
    metrics: Sequence[str],
    features: Singles,
) -> RewardModel:
    """One model of all members with weight; members of one basis add up.

    Args:
        members: fitted on these rows.
        recipes: by metric; one without a recipe keeps the arms' means.
        means: (A, M) of the rows.
        values: (n, A, M) outcomes, NaN where unknown.
        metrics: the metrics' names.
        features: (n, d).
    """
    scale = fit_scale(features)
    arms = len(means)
    intercepts = means.copy()
    linear = np.zeros((arms, len(metrics), features.shape[1]))
    blocks: dict[str, tuple[Any, Floats]] = {}
    for member in members:
        heads = np.zeros_like(member.coefficients)
        for m, metric in enumerate(metrics):
            recipe = recipes.get(metric, _NOTHING)
            share = Weights(
                np.array([recipe.level.get(member.name, 0.0)]),
                np.array([recipe.deviation.get(member.name, 0.0)]),
            ).mixing(arms)[0]
            heads[:, m] = share @ member.coefficients[:, m]
            intercepts[:, m] += share @ (member.intercepts[:, m] - means[:, m])
        if not heads.any():
            continue
        if member.family in (LANDMARKS, HIDDEN):
            before = blocks.get(member.family)
            blocks[member.family] = (member.basis, heads if before is None else before[1] + heads)
        else:
            linear += heads
    landmarks, landmark_heads = _landmark_block(blocks.get(LANDMARKS))
    hidden, hidden_heads = _hidden_block(blocks.get(HIDDEN))
    return RewardModel(
        scaling=Scaling(scale.shift.astype(np.float32), scale.scale.astype(np.float32)),
        intercepts=intercepts,
        bounded=np.array([_bounded(values[:, :, m], name) for m, name in enumerate(metrics)]),
        linear=linear.astype(np.float32),
        landmarks=landmarks,
        landmark_heads=landmark_heads,
        hidden=hidden,
        hidden_heads=hidden_heads,
    )


def _landmark_block(
    block: tuple[LandmarkBasis, Floats] | None,
) -> tuple[Landmarks | None, Singles | None]:
    if block is None:
        return None, None
    basis, heads = block
    return basis.landmarks, (heads @ basis.whitening.T).astype(np.float32)


def _hidden_block(
    block: tuple[HiddenBasis, Floats] | None,
) -> tuple[HiddenLayer | None, Singles | None]:
    if block is None:
        return None, None
    basis, heads = block
    return basis.layer, heads.astype(np.float32)


def _bounded(values: Floats, metric: str) -> bool:
    return not (is_amount(metric, values) or bool(np.isnan(values).all()))
