"""The stored posterior: what it evaluates to, and what it refuses."""

import numpy as np
import pytest

from policies.artifact import Artifact, Manifest
from policies.errors import ArtifactError
from policies.posterior import Beliefs, Posterior, PosteriorTensors, utility_beliefs

ARMS, METRICS, DIMENSION, KEPT = 2, 2, 5, 3


def tensors(seed: int = 0) -> PosteriorTensors:
    rng = np.random.default_rng(seed)
    directions = [np.linalg.qr(rng.normal(size=(DIMENSION, KEPT)))[0].T for _ in range(ARMS)]
    remainder = rng.uniform(0.5, 1.0, size=(ARMS, METRICS))
    return PosteriorTensors(
        coefficients=rng.normal(size=(ARMS, METRICS, DIMENSION)).astype(np.float32),
        intercepts=rng.normal(size=(ARMS, METRICS)),
        scale=rng.uniform(0.5, 2.0, size=DIMENSION).astype(np.float32),
        centres=rng.normal(size=(ARMS, DIMENSION)).astype(np.float32),
        directions=np.array(directions, dtype=np.float32),
        gains=rng.uniform(0.0, 0.5, size=(ARMS, METRICS, KEPT)),
        remainder=remainder,
        rows=np.full((ARMS, METRICS), 20.0),
        noise=rng.uniform(0.1, 0.3, size=(ARMS, METRICS)),
    )


def artifact(held: dict[str, np.ndarray]) -> Artifact:
    manifest = Manifest(
        kind="linear",
        name="test",
        arms=["a", "b"],
        metrics=["quality", "steps"],
        feature_version="",
        created_at="",
    )
    return Artifact(manifest, held)


def test_means_and_variances_follow_the_formula() -> None:
    known = tensors()
    features = np.random.default_rng(1).normal(size=(7, DIMENSION)).astype(np.float32)
    beliefs = Posterior(known).beliefs(features)
    for a in range(ARMS):
        z = features * known.scale - known.centres[a]
        for m in range(METRICS):
            inverse = known.remainder[a, m] * np.eye(DIMENSION)
            inverse -= (known.directions[a].T * known.gains[a, m]) @ known.directions[a]
            spread = np.einsum("nd,de,ne->n", z, inverse, z)
            variance = known.noise[a, m] * (1.0 / known.rows[a, m] + spread)
            np.testing.assert_allclose(beliefs.variances[:, a, m], variance, rtol=1e-4)
            mean = features @ known.coefficients[a, m] + known.intercepts[a, m]
            np.testing.assert_allclose(beliefs.means[:, a, m], mean, rtol=1e-4, atol=1e-5)


def test_it_comes_back_from_an_artifact() -> None:
    posterior = Posterior(tensors())
    again = Posterior.of_artifact(artifact(posterior.tensors))
    features = np.ones((3, DIMENSION), dtype=np.float32)
    assert again is not None
    np.testing.assert_array_equal(again.beliefs(features), posterior.beliefs(features))


def test_an_artifact_without_one_has_none() -> None:
    assert Posterior.of_artifact(artifact({})) is None


@pytest.mark.parametrize("name", [f"posterior_{name}" for name in PosteriorTensors._fields])
def test_a_missing_part_is_refused_by_name(name: str) -> None:
    held = Posterior(tensors()).tensors
    del held[name]
    with pytest.raises(ArtifactError) as refused:
        Posterior.of_artifact(artifact(held))
    assert refused.value.field == name


@pytest.mark.parametrize("name", PosteriorTensors._fields)
def test_a_part_of_another_shape_or_not_finite_is_refused(name: str) -> None:
    known = tensors()
    part = getattr(known, name)
    for wrong in (part[..., :-1], np.full_like(part, np.nan)):
        with pytest.raises(ArtifactError):
            Posterior(known._replace(**{name: wrong}))


@pytest.mark.parametrize("wrong", [{"rows": np.zeros((2, 2))}, {"noise": np.full((2, 2), -1.0)}])
def test_a_posterior_without_rows_or_of_negative_noise_is_refused(
    wrong: dict[str, np.ndarray],
) -> None:
    with pytest.raises(ArtifactError):
        Posterior(tensors()._replace(**wrong))


def test_other_features_are_refused() -> None:
    with pytest.raises(ArtifactError, match="5 features"):
        Posterior(tensors()).beliefs(np.ones((1, 4), dtype=np.float32))


def test_a_utility_adds_means_and_squares_weights_for_variances() -> None:
    beliefs = Beliefs(np.array([[[0.5, 2.0]]]), np.array([[[0.01, 0.25]]]))
    utility = utility_beliefs(beliefs, np.array([1.0, -0.1]))
    assert utility is not None
    np.testing.assert_allclose(utility.means, [[0.3]])
    np.testing.assert_allclose(utility.variances, [[0.0125]])
    assert utility_beliefs(None, np.array([1.0, -0.1])) is None
