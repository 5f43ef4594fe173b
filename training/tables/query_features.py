"""The features of many queries, with progress."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.encoders import load_encoder
from policies.features import Featurizer

_STEP = 500


class QueryFeatures(NamedTuple):
    """features (n, d) float32 and the version that names them."""

    matrix: NDArray[np.float32]
    version: str


def query_features(
    queries: Sequence[str],
    encoder: str = "static",
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> QueryFeatures:
    """The queries' features, as the service would make them.

    Args:
        queries: n texts.
        encoder: a specification for `load_encoder`.
        advance: told of queries done.

    Raises:
        EncoderError: there is no such encoder.
    """
    featurizer = Featurizer(load_encoder(encoder))
    matrix = np.empty((len(queries), featurizer.dimension), dtype=np.float32)
    for start in range(0, len(queries), _STEP):
        step = queries[start : start + _STEP]
        matrix[start : start + len(step)] = featurizer.features(step)
        advance(len(step))
    return QueryFeatures(matrix, featurizer.version)
