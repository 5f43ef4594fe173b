"""The scale of the features, and the way back."""

import numpy as np
import pytest

from policies.question import QUESTION_FEATURES
from training.fit.feature_scale import QUESTION_SHARE, fit_scale


def some_features(n: int = 200) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rng = np.random.default_rng(0)
    features = rng.random((n, 4 + len(QUESTION_FEATURES))).astype(np.float32)
    features[:, -1] = 1.0  # constant here
    return features


def test_question_features_have_one_spread_and_the_embedding_keeps_its_own() -> None:
    features = some_features()
    scaled = fit_scale(features).apply(features)
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(scaled[:, 4:-1].std(axis=0), QUESTION_SHARE, rtol=1e-5)
    np.testing.assert_allclose(scaled[:, :4].std(axis=0), features[:, :4].std(axis=0), rtol=1e-5)


def test_a_feature_that_never_varied_counts_for_nothing_later() -> None:
    features = some_features()
    scale = fit_scale(features)
    later = features.copy()
    later[:, -1] = 0.0
    np.testing.assert_array_equal(scale.apply(later), scale.apply(features))


def test_coefficients_folded_back_give_the_same_scores_on_the_features_as_they_are() -> None:
    features = some_features()
    scale = fit_scale(features)
    rng = np.random.default_rng(1)
    coefficients, intercepts = rng.normal(size=(3, 2, features.shape[1])), rng.normal(size=(3, 2))
    raw, raw_intercepts = scale.fold_back(coefficients, intercepts)
    ours = np.einsum("nd,amd->nam", scale.apply(features), coefficients) + intercepts
    theirs = np.einsum("nd,amd->nam", features.astype(np.float64), raw) + raw_intercepts
    assert theirs == pytest.approx(ours, abs=1e-5)
