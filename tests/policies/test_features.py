"""Features: what the policy sees is exactly what the log keeps."""

import numpy as np
import pytest

from policies.encoders import Encoder
from policies.features import Featurizer, pack_features, unpack_features
from policies.question import QUESTION_FEATURES, question_features

QUERIES = ["Who wrote Emma?", "", "日本の首都はどこですか", "word " * 6000]


@pytest.fixture
def featurizer(encoder: Encoder) -> Featurizer:
    return Featurizer(encoder)


def test_rows_are_the_embedding_then_the_question_features(
    featurizer: Featurizer, encoder: Encoder
) -> None:
    features = featurizer.features(QUERIES)
    assert features.shape == (len(QUERIES), encoder.dimension + len(QUESTION_FEATURES))
    embedded = features[:, : encoder.dimension]
    np.testing.assert_allclose(embedded, encoder.encode(QUERIES), atol=1e-3)
    by_hand = [question_features(query) for query in QUERIES]
    np.testing.assert_allclose(features[:, encoder.dimension :], by_hand, atol=1e-3)


def test_a_logged_row_gives_back_exactly_what_the_policy_saw(featurizer: Featurizer) -> None:
    features = featurizer.features(QUERIES)
    logged = [pack_features(row) for row in features]
    np.testing.assert_array_equal(unpack_features(logged, featurizer.dimension), features)


def test_rows_of_another_dimension_are_refused(featurizer: Featurizer) -> None:
    with pytest.raises(ValueError, match="reshape"):
        unpack_features([b"\0\0"], featurizer.dimension)


def test_the_version_names_the_encoder(featurizer: Featurizer, encoder: Encoder) -> None:
    assert featurizer.version.startswith(encoder.version)
