"""A reward model is the sum of its blocks, and refuses tensors that aren't one."""

import numpy as np
import pytest

from policies.errors import ArtifactError
from policies.reward_model import HiddenLayer, Landmarks, RewardModel, Scaling, read_reward_model

D, A, M = 4, 2, 2


def model() -> RewardModel:
    rng = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    return RewardModel(
        scaling=Scaling(numbers(D), np.abs(numbers(D))),
        intercepts=rng.normal(size=(A, M)),
        bounded=np.array([True, False]),
        linear=numbers(A, M, D),
        landmarks=Landmarks(numbers(3, D), 0.7),
        landmark_heads=numbers(A, M, 3),
        hidden=HiddenLayer(numbers(D, 5), numbers(5)),
        hidden_heads=numbers(A, M, 5),
    )


def test_it_is_the_sum_of_its_blocks_clipped_where_bounded() -> None:
    it = model()
    features = np.random.default_rng(1).normal(size=(6, D)).astype(np.float32)
    expected = np.empty((6, A, M))
    for row, x in enumerate(features):
        z = (x - it.scaling.shift) * it.scaling.scale
        similar = np.exp(-0.7 * ((z - it.landmarks.points) ** 2).sum(axis=1))
        hidden = np.maximum(z @ it.hidden.weights + it.hidden.bias, 0.0)
        expected[row] = (
            it.intercepts + it.linear @ z + it.landmark_heads @ similar + it.hidden_heads @ hidden
        )
    expected[:, :, 0] = expected[:, :, 0].clip(0.0, 1.0)
    np.testing.assert_allclose(it.expected(features), expected, rtol=1e-4, atol=1e-5)


def test_a_query_that_is_a_landmark_is_like_itself() -> None:
    points = np.random.default_rng(2).normal(size=(50, 30)).astype(np.float32)
    similar = Landmarks(points, 1.0).similarities(points)
    np.testing.assert_allclose(np.diag(similar), 1.0, atol=1e-4)
    assert (similar <= 1.0).all()


def test_it_comes_back_from_its_tensors() -> None:
    it = model()
    again = read_reward_model(it.tensors(), A, M)
    features = np.random.default_rng(1).normal(size=(6, D)).astype(np.float32)
    np.testing.assert_array_equal(again.expected(features), it.expected(features))
    bare = it._replace(landmarks=None, landmark_heads=None, hidden=None, hidden_heads=None)
    assert read_reward_model(bare.tensors(), A, M).landmarks is None


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("linear", None),
        ("linear", np.zeros((A, M, D + 1), np.float32)),
        ("intercepts", np.full((A, M), np.nan)),
        ("landmark_heads", np.zeros((A, M, 2), np.float32)),
        ("hidden_bias", np.zeros(5)),
    ],
)
def test_tensors_that_are_no_model_are_refused(name: str, tensor: np.ndarray | None) -> None:
    tensors = model().tensors()
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    with pytest.raises(ArtifactError, match=name):
        read_reward_model(tensors, A, M)
