"""A log of any size, written to disk a block at a time, in a world whose best policy is known.

Features have the shipped encoder's dimension: embeddings around topics, and question features. An
arm's quality is Bernoulli with a logistic mean, linear in the features; its cost and latency vary
around the arm's own. One decision in three repeats one of a pool of queries. The logging policy is
a poor one with exploration; quality is reported for three decisions in five, hours later, so that
the latest reports are missing. The same rows and seed give the same log.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from policies.features import LOGGED_DTYPE
from policies.question import QUESTION_FEATURES
from training.log.log_files import ANSWERS, DECISIONS, FEEDBACK

ARMS = ("finetuned", "retrieve", "hybrid")
WEIGHTS = {"quality": 1.0, "cost_usd": -20.0, "latency_s": -0.02}
FEATURE_VERSION = "generated"
_EMBEDDING = 256
DIMENSION = _EMBEDDING + len(QUESTION_FEATURES)

BLOCK = 131_072
_DAYS = 30
_START = 1_767_225_600.0  # 2026-01-01
_TENANTS, _TOPICS, _POOL = 12, 40, 50_000
_REPEATED, _REPORTED = 1 / 3, 0.6
_REPORT_HOURS = 6.0
_COSTS, _LATENCIES = np.array([0.001, 0.003, 0.005]), np.array([0.8, 1.5, 2.2])
_ROW_GROUP = 32_768


class World(NamedTuple):
    """topics (T, e); slopes (d, A) and intercepts (A,) of quality's log-odds; poor (d, A) what the
    logging policy prefers; pool (P, d) the queries that repeat.
    """

    topics: np.ndarray[Any, Any]
    slopes: np.ndarray[Any, Any]
    intercepts: np.ndarray[Any, Any]
    poor: np.ndarray[Any, Any]
    pool: np.ndarray[Any, Any]


def world_of(seed: int) -> World:
    """The world of a seed."""
    rng = np.random.default_rng([seed, 0])
    topics = rng.standard_normal((_TOPICS, _EMBEDDING))
    topics /= np.linalg.norm(topics, axis=1, keepdims=True)
    slopes = 2.5 * rng.standard_normal((DIMENSION, len(ARMS)))
    slopes[_EMBEDDING:] *= 0.3
    poor = rng.standard_normal((DIMENSION, len(ARMS)))
    empty = World(topics, slopes, np.array([-0.2, 0.2, 0.4]), poor, np.zeros((0, DIMENSION)))
    return empty._replace(pool=_features(empty, rng, _POOL))


def _features(world: World, rng: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
    """(n, d) float16."""
    embedding = rng.standard_normal((n, _EMBEDDING), dtype=np.float32)
    embedding *= 0.8 / np.sqrt(_EMBEDDING)
    embedding += world.topics[rng.integers(0, _TOPICS, n)].astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    question = rng.random((n, len(QUESTION_FEATURES)), dtype=np.float32) ** 3
    return np.hstack([embedding, question]).astype(LOGGED_DTYPE)


def qualities(world: World, features: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(n, A) each arm's mean quality."""
    odds = features.astype(np.float32) @ world.slopes.astype(np.float32) + world.intercepts
    return np.asarray(1.0 / (1.0 + np.exp(-odds)), dtype=np.float64)


def mean_utilities(world: World, features: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(n, A) each arm's mean utility under WEIGHTS."""
    amounts = WEIGHTS["cost_usd"] * _COSTS + WEIGHTS["latency_s"] * _LATENCIES
    return WEIGHTS["quality"] * qualities(world, features) + amounts


def fresh_queries(world: World, n: int, seed: int) -> np.ndarray[Any, Any]:
    """(n, d) queries that no log has."""
    return _features(world, np.random.default_rng([seed, 1]), n)


def write_large_log(directory: Path, rows: int, seed: int) -> None:
    """Write `rows` decisions, their answers and their feedback."""
    world = world_of(seed)
    end = _START + _DAYS * 86_400.0
    for number, start in enumerate(range(0, rows, BLOCK)):
        count = min(BLOCK, rows - start)
        rng = np.random.default_rng([seed, 2, number])
        at = _START + (start + np.arange(count)) * (_DAYS * 86_400.0 / rows)
        for kind, table in _tables(world, rng, at, end):
            _write(table, directory / kind, f"block-{number:05d}")


def _tables(
    world: World, rng: np.random.Generator, at: np.ndarray[Any, Any], end: float
) -> Iterator[tuple[str, pa.Table]]:
    n, arms = len(at), len(ARMS)
    features, hashes = _queries(world, rng, n)
    greedy = (features.astype(np.float32) @ world.poor.astype(np.float32)).argmax(axis=1)
    probabilities = np.full((n, arms), 0.15)
    probabilities[np.arange(n), greedy] = 1.0 - 0.15 * (arms - 1)
    action = (rng.random(n)[:, None] > probabilities.cumsum(axis=1)[:, :-1]).sum(axis=1)
    ids = _decision_ids(at, rng)
    tenant = np.minimum(rng.geometric(0.25, n) - 1, _TENANTS - 1)
    names = pa.array(ARMS)
    decisions = {
        "decision_id": ids,
        "at": pa.array(at),
        "arms": _lists(pa.array(np.tile(np.arange(arms), n)), names, n),
        "eligible": _lists(pa.array(np.tile(np.arange(arms), n)), names, n),
        "probabilities": _numbers(probabilities),
        "arm": names.take(pa.array(action)),
        "propensity": pa.array(probabilities[np.arange(n), action]),
        "policy": _constant("generated", n),
        "policy_version": _constant("generated-1", n),
        "objective": _constant("balanced", n),
        "weights": _map(n, list(WEIGHTS), pa.array(np.tile(list(WEIGHTS.values()), n))),
        "expected": _map(
            n,
            list(WEIGHTS),
            _numbers(np.tile(np.stack([np.full(arms, 0.5), _COSTS, _LATENCIES]), (n, 1))),
        ),
        "explored": pa.array(action != greedy),
        "explore": pa.array(np.ones(n, dtype=np.bool_)),
        "tenant": pa.array([f"tenant-{t}" for t in range(_TENANTS)]).take(pa.array(tenant)),
        "query_hash": hashes,
        "features": _fixed_binary(features),
        "feature_version": _constant(FEATURE_VERSION, n),
        "attributes": pa.array(['{"audience":"staff"}', '{"audience":"customer"}', None]).take(
            pa.array(rng.integers(0, 3, n))
        ),
    }
    yield "decisions", _table(decisions, DECISIONS)
    measured = np.stack([_COSTS[action], _LATENCIES[action]], axis=1)
    measured *= rng.lognormal(-0.02, 0.2, (n, 2))
    answers = {
        "decision_id": ids,
        "at": pa.array(at + measured[:, 1]),
        "executed_arm": names.take(pa.array(action)),
        "metrics": _map(n, ["cost_usd", "latency_s"], pa.array(measured.ravel())),
    }
    yield "answers", _table(answers, ANSWERS)
    reported_at = at + rng.exponential(_REPORT_HOURS * 3_600.0, n)
    told = np.flatnonzero((rng.random(n) < _REPORTED) & (reported_at < end))
    good = rng.random(n) < qualities(world, features)[np.arange(n), action]
    mine = ids.take(pa.array(told))
    feedback = {
        "feedback_id": mine,
        "decision_id": mine,
        "at": pa.array(reported_at[told]),
        "metric": _constant("quality", len(told)),
        "value": pa.array(good[told].astype(np.float64)),
        "source": _constant("user", len(told)),
    }
    yield "feedback", _table(feedback, FEEDBACK)


def _queries(
    world: World, rng: np.random.Generator, n: int
) -> tuple[np.ndarray[Any, Any], pa.Array]:
    """(n, d) features, and the queries' hashes."""
    features = _features(world, rng, n)
    digests = rng.integers(0, 256, (n, 16), dtype=np.uint8)
    repeated = np.flatnonzero(rng.random(n) < _REPEATED)
    which = rng.integers(0, len(world.pool), len(repeated))
    features[repeated] = world.pool[which]
    digests[repeated] = 0
    digests[repeated, 12:] = which.astype(">u4").view(np.uint8).reshape(-1, 4)
    return features, _texts(_hex(digests))


def _decision_ids(at: np.ndarray[Any, Any], rng: np.random.Generator) -> pa.Array:
    """UUIDv7s of these times."""
    octets = rng.integers(0, 256, (len(at), 16), dtype=np.uint8)
    octets[:, :6] = (at * 1e3).astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:]
    octets[:, 6] = octets[:, 6] & 0x0F | 0x70
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    text, dash = _hex(octets), np.full((len(at), 1), ord("-"), dtype=np.uint8)
    cuts = (text[:, :8], text[:, 8:12], text[:, 12:16], text[:, 16:20], text[:, 20:])
    return _texts(np.hstack([part for cut in cuts for part in (dash, cut)][1:]))


def _hex(octets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(n, 2k) ASCII digits of (n, k) bytes."""
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    return digits[np.stack([octets >> 4, octets & 15], axis=2)].reshape(len(octets), -1)


def _texts(characters: np.ndarray[Any, Any]) -> pa.Array:
    """Texts of one length, from (n, k) ASCII."""
    return _fixed_binary(characters).cast(pa.string())


def _fixed_binary(rows: np.ndarray[Any, Any]) -> pa.Array:
    rows = np.ascontiguousarray(rows)
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows[0].nbytes
    return pa.BinaryArray.from_buffers(
        pa.binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(rows)]
    )


def _constant(text: str, n: int) -> pa.Array:
    return pa.array([text]).take(pa.array(np.zeros(n, dtype=np.int64)))


def _numbers(matrix: np.ndarray[Any, Any]) -> pa.Array:
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.ravel()))


def _lists(indices: pa.Array, names: pa.Array, n: int) -> pa.Array:
    offsets = np.arange(n + 1, dtype=np.int32) * (len(indices) // n)
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(indices))


def _map(n: int, keys: list[str], items: pa.Array) -> pa.Array:
    offsets = np.arange(n + 1, dtype=np.int32) * len(keys)
    repeated = pa.array(keys).take(pa.array(np.tile(np.arange(len(keys)), n)))
    return pa.MapArray.from_arrays(pa.array(offsets), repeated, items)


def _table(columns: dict[str, pa.Array], schema: pa.Schema) -> pa.Table:
    rows = len(columns["decision_id"])
    absent = {f.name: pa.nulls(rows, f.type) for f in schema if f.name not in columns}
    return pa.table({**columns, **absent}).select(schema.names).cast(schema)


def _write(table: pa.Table, directory: Path, name: str) -> None:
    """One file for each day, as export does."""
    days = np.floor_divide(table["at"].to_numpy(), 86_400).astype(np.int64)
    for day in np.unique(days):
        label = datetime.fromtimestamp(int(day) * 86_400, UTC).date().isoformat()
        folder = directory / f"day={label}"
        folder.mkdir(parents=True, exist_ok=True)
        texts = [field.name for field in table.schema if field.name != "features"]
        pq.write_table(
            table.filter(pa.array(days == day)),
            folder / f"{name}.parquet",
            compression="zstd",
            use_dictionary=texts,
            row_group_size=_ROW_GROUP,
        )
