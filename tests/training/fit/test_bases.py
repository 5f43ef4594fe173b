"""Bases of reward models: kernels approximated, and no query's own vector among the landmarks."""

import numpy as np
import pytest

from tests.training.worlds import features_of
from training.fit.bases import LANDMARKS, fit_landmarks


def test_products_in_the_basis_approximate_the_kernel() -> None:
    features = features_of(2_000, np.random.default_rng(0))
    basis = fit_landmarks(features, seed=0)
    mapped = basis.apply(features[:200])
    scaled = basis.scale.apply(features[:200])
    distances = ((scaled[:, None] - scaled[None]) ** 2).sum(axis=2)
    kernel = np.exp(-basis.landmarks.gamma * distances)
    assert np.abs(mapped @ mapped.T - kernel).max() < 0.1
    assert len(basis.landmarks.points) <= LANDMARKS


def test_a_query_that_is_repeated_a_thousand_times_is_no_landmark() -> None:
    rng = np.random.default_rng(0)
    features = features_of(1_000, rng)
    alone = np.full((1_000, features.shape[1]), 0.0, dtype=np.float32)
    alone[:, 0] = 5.0  # far from all others
    basis = fit_landmarks(np.concatenate([features, alone]), seed=0)
    own = basis.scale.apply(alone[:1])
    nearest = ((basis.landmarks.points - own) ** 2).sum(axis=1).min()
    assert nearest > 1.0


@pytest.mark.parametrize("rows", [1, 2, 30])
def test_few_rows_have_few_landmarks(rows: int) -> None:
    features = features_of(rows, np.random.default_rng(0))
    basis = fit_landmarks(features, seed=0)
    assert 1 <= len(basis.landmarks.points) <= max(rows // 8, 1)
    assert np.isfinite(basis.apply(features)).all()
