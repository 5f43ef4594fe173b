"""A policy that has every block a trained one can have, with random numbers."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Manifest
from policies.blend_policy import BlendPolicy
from policies.reward_model import HiddenLayer, Landmarks, RewardModel, Scaling


def every_block(
    arms: Sequence[str],
    feature_version: str,
    dimension: int,
    *,
    size: float,
    seed: int,
    carried: Mapping[str, NDArray[np.generic]] | None = None,
) -> BlendPolicy:
    """A blend of linear heads, landmarks and a hidden layer, for three metrics.

    Args:
        arms: three.
        feature_version: that it says it reads.
        dimension: of the features.
        size: the standard deviation of its numbers; the larger, the more the arms differ.
        seed: of its numbers.
        carried: tensors beside its own.
    """
    rng = np.random.default_rng(seed)

    def numbers(*shape: int) -> NDArray[np.float32]:
        return (size * rng.normal(size=shape)).astype(np.float32)

    model = RewardModel(
        scaling=Scaling(numbers(dimension), np.ones(dimension, dtype=np.float32)),
        intercepts=rng.random((3, 3)),
        bounded=np.array([True, False, False]),
        linear=numbers(3, 3, dimension),
        landmarks=Landmarks(numbers(60, dimension), 0.05),
        landmark_heads=numbers(3, 3, 60),
        hidden=HiddenLayer(numbers(dimension, 40), numbers(40)),
        hidden_heads=numbers(3, 3, 40),
    )
    manifest = Manifest(
        kind="blend",
        name="every block",
        arms=list(arms),
        metrics=["quality", "cost_usd", "latency_s"],
        feature_version=feature_version,
        created_at="2026-01-01T00:00:00+00:00",
    )
    return BlendPolicy(manifest, model, carried=dict(carried or {}))
