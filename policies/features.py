"""A query's features: its sentence embedding, then the cheap question features."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from policies.encoders import Encoder
from policies.question import QUESTION_FEATURES, question_features

# Bumped whenever question_features would give another value for the same text.
_QUESTION_VERSION = "question-1"

# Features are logged as this type: half the size, and what the policy sees is rounded to it first,
# so that a policy trained or replayed from the log sees exactly what was served.
LOGGED_DTYPE = np.dtype("<f2")


class Featurizer:
    """Turns queries into the matrix that policies read.

    Rows are `[embedding (encoder.dimension), question features]`; `version` names both.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.version = f"{encoder.version}+{_QUESTION_VERSION}"
        self.dimension = encoder.dimension + len(QUESTION_FEATURES)

    def features(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """(n, dimension) float32, every value exactly representable in the log's float16."""
        matrix = np.empty((len(queries), self.dimension), dtype=LOGGED_DTYPE)
        matrix[:, : self.encoder.dimension] = self.encoder.encode(queries)
        if queries:
            questions = np.array([question_features(query) for query in queries])
            matrix[:, self.encoder.dimension :] = questions
        return matrix.astype(np.float32)


def pack_features(row: NDArray[np.float32]) -> bytes:
    """One row as the log holds it."""
    return row.astype(LOGGED_DTYPE).tobytes()


def pack_rows(rows: NDArray[np.float32]) -> list[bytes]:
    """Each of n rows as the log holds it."""
    logged, size = rows.astype(LOGGED_DTYPE).tobytes(), rows.shape[1] * LOGGED_DTYPE.itemsize
    return [logged[start : start + size] for start in range(0, len(logged), size)]


def unpack_features(rows: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    """(n, dimension) float32 from logged rows.

    Raises ValueError where a row has another dimension.
    """
    flat = np.frombuffer(b"".join(rows), dtype=LOGGED_DTYPE)
    return flat.reshape(len(rows), dimension).astype(np.float32)
