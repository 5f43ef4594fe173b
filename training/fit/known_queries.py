"""What a policy's training rows were like, to be stored with it: see `policies.novelty`.

Half of the rows, drawn at random, make the prototypes; the others calibrate, so that their
distances are those of queries the prototypes haven't seen. The halves are drawn by row, not by
near-duplicate group: traffic repeats itself too, and a calibration row must be as likely to repeat
a prototype's query as a new one is.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from policies.artifact import seal
from policies.loading import load_policy
from policies.novelty import PREFIX, KnownQueries
from policies.policy import Policy
from policies.question import QUESTION_FEATURES
from training.fit.threads import one_thread

P = TypeVar("P", bound=Policy)

# Below this, the farthest calibration row is no rare event.
MIN_ROWS = 100
_MOST_PROTOTYPE_ROWS = 20_000
# Enough for p-values down to 0.0005; a random part of exchangeable rows is exchangeable.
_MOST_DISTANCES = 2_000
_MOST_PROTOTYPES, _ROWS_A_PROTOTYPE = 64, 20
# A cluster of fewer different queries isn't kept: it would be a query's own vector, and make
# outliers known.
_MIN_CLUSTER = 10
_DIRECTIONS = 8
_EDGES = 16
# A standardised question feature counts a tenth of a unit-norm embedding, but one that hardly
# varies is taken to vary by this much: a value that training never saw is far away.
_QUESTION_SHARE, _MIN_SPREAD = 0.1, 0.05


def with_known_queries(policy: P, features: NDArray[np.float32], seed: int) -> P:
    """The policy, its artifact saying what its training rows (n, d) were like.

    With fewer than MIN_ROWS of them it stays as it is.
    """
    if len(features) < MIN_ROWS:
        return policy
    artifact = policy.artifact()
    tensors = {**artifact.tensors, **fit_known_queries(features, seed)}
    again = load_policy(seal(artifact.manifest, tensors))
    assert isinstance(again, type(policy))
    return again


@one_thread()
def fit_known_queries(features: NDArray[np.float32], seed: int) -> dict[str, NDArray[Any]]:
    """The tensors of `policies.novelty.KnownQueries` for training rows (n, d), n ≥ MIN_ROWS."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(features))[: 2 * _MOST_PROTOTYPE_ROWS]
    seen, calibration = features[order[::2]], features[order[1::2]]
    shift, scale = seen.mean(axis=0, dtype=np.float64), _scale(seen)
    # A query that a tenant repeats mustn't fill a cluster alone and stand in the artifact.
    scaled = (np.unique(seen, axis=0) - shift) * scale
    tensors: dict[str, NDArray[Any]] = {
        "shift": shift.astype(np.float32),
        "scale": scale.astype(np.float32),
        "prototypes": _prototypes(scaled, seed).astype(np.float16),
        "directions": _directions(scaled).astype(np.float16),
        "distances": np.zeros(0, dtype=np.float32),
    }
    channels = 1 + len(QUESTION_FEATURES) + len(tensors["directions"])
    tensors["edges"] = np.zeros((channels, _EDGES), dtype=np.float32)
    tensors["counts"] = np.zeros((channels, 2 * _EDGES + 1), dtype=np.int32)
    # Distances and bins are read off as they will be in service: rounded tensors and all.
    tensors["edges"] = _edges(_reader(tensors).channel_values(seen))
    reader = _reader(tensors)
    tensors["counts"] = _counts(reader.bins(reader.channel_values(calibration)))
    distances = reader.distances(calibration[:_MOST_DISTANCES])
    tensors["distances"] = np.sort(distances).astype(np.float32)
    return {PREFIX + name: tensor for name, tensor in tensors.items()}


def _reader(tensors: Mapping[str, NDArray[Any]]) -> KnownQueries:
    return KnownQueries({PREFIX + name: tensor for name, tensor in tensors.items()})


def _scale(features: NDArray[np.float32]) -> NDArray[np.float64]:
    questions = len(QUESTION_FEATURES)
    scale = np.ones(features.shape[1])
    spread = features[:, -questions:].std(axis=0, dtype=np.float64)
    scale[-questions:] = _QUESTION_SHARE / np.maximum(spread, _MIN_SPREAD)
    return scale


def _prototypes(scaled: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    count = int(np.clip(len(scaled) // _ROWS_A_PROTOTYPE, 1, _MOST_PROTOTYPES))
    fitted: Any = KMeans(count, n_init=1, random_state=seed).fit(scaled)
    sizes = np.bincount(fitted.labels_, minlength=count)
    keep = (sizes >= _MIN_CLUSTER) | (sizes == sizes.max())
    return np.asarray(fitted.cluster_centers_[keep])


def _directions(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R, d) the leading principal directions of the embedding, 0 on the question features."""
    questions = len(QUESTION_FEATURES)
    embedding = scaled[:, :-questions]
    count = min(_DIRECTIONS, embedding.shape[1])
    _, vectors = np.linalg.eigh(embedding.T @ embedding)
    return np.pad(vectors[:, ::-1][:, :count].T, ((0, 0), (0, questions)))


def _edges(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """(C, E) quantiles of the rows that made the prototypes: the bins are fixed before any
    row that is ranked is looked at.
    """
    shares = np.linspace(0.0, 1.0, _EDGES + 2)[1:-1]
    return np.quantile(values, shares, axis=0).T.astype(np.float32)


def _counts(bins: NDArray[np.intp]) -> NDArray[np.int32]:
    """(C, 2·E + 1) rows in each bin."""
    counts = [np.bincount(column, minlength=2 * _EDGES + 1) for column in bins.T]
    return np.stack(counts).astype(np.int32)
