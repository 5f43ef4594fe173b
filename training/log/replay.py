"""An outcomes table as a bandit log: real events, drawn by `choose`, one arm's outcome revealed.

Rows come in seeded random passes over the table: n rows beyond its length start another pass. One
decision is made every STEP_SECONDS from a fixed date, and its feedback follows a second later, so
the same seed gives the same log, byte for byte.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from policies.choose import choose
from policies.errors import PolicyFitError
from policies.events import DecisionMade, FeedbackGiven
from policies.exploration import GREEDY, Exploration, arm_probabilities
from policies.features import pack_features
from policies.policy import Policy, utilities, weight_vector
from policies.posterior import Beliefs, utility_beliefs
from policies.query import query_hash
from training.tables.outcomes import Floats, OutcomeTable
from training.tables.query_features import QueryFeatures

START = 1_767_225_600.0  # 2026-01-01T00:00:00Z
STEP_SECONDS = 60.0


class Logger(NamedTuple):
    """Who decides: names for the log, (n, A) probabilities, and what it expects of each arm."""

    policy: str
    version: str
    probabilities: Floats
    expected: Mapping[str, Floats]


def uniform_logger(table: OutcomeTable) -> Logger:
    """Every known arm of a row equally likely."""
    known = known_arms(table)
    return Logger("uniform", "uniform", known / known.sum(axis=1, keepdims=True), {})


def epsilon_logger(table: OutcomeTable, epsilon: float, incumbent: int) -> Logger:
    """One arm, but a uniformly drawn one with probability epsilon. It expects nothing of them."""
    preferred = np.zeros((len(table), len(table.arms)))
    preferred[:, incumbent] = 1.0
    exploration = Exploration(kind="epsilon", epsilon=epsilon, floor=0.0)
    name = f"always {table.arms[incumbent]}"
    probabilities = arm_probabilities(preferred, known_arms(table), exploration)
    return Logger(name, f"epsilon-{epsilon:g}-{table.arms[incumbent]}", probabilities, {})


def policy_logger(
    table: OutcomeTable,
    features: QueryFeatures,
    policy: Policy,
    weights: Mapping[str, float],
    exploration: Exploration,
    tenants: Sequence[str] | None = None,
) -> Logger:
    """A trained policy with exploration; `tenants` names each row's, if any.

    Raises:
        PolicyFitError: it lacks an arm of the table, or reads other features.
    """
    missing = [arm for arm in table.arms if arm not in policy.arms]
    if missing or policy.feature_version not in ("", features.version):
        raise PolicyFitError(
            f"policy {policy.version} can't log this table: "
            + (
                f"it doesn't know the arms {', '.join(missing)}"
                if missing
                else f"it reads features {policy.feature_version}, not {features.version}"
            ),
            field="logger",
        )
    columns = [policy.arms.index(arm) for arm in table.arms]
    expected = policy.expected(features.matrix, tenants)[:, columns]
    beliefs = utility_beliefs(
        policy.beliefs(features.matrix, tenants), weight_vector(policy.metrics, weights)
    )
    probabilities = arm_probabilities(
        utilities(expected, policy.metrics, weights),
        known_arms(table),
        exploration,
        beliefs and Beliefs(*(part[:, columns] for part in beliefs)),
    )
    by_metric = {metric: expected[:, :, m] for m, metric in enumerate(policy.metrics)}
    return Logger(policy.name, policy.version, probabilities, by_metric)


def known_arms(table: OutcomeTable) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """(n, A) which arms have an outcome."""
    return np.asarray((~np.isnan(table.values)).any(axis=2))


def best_fixed_arm(table: OutcomeTable) -> int:
    """The arm with the highest mean of the first metric (`quality` where there is one)."""
    values = table.values[:, :, 0]
    known = ~np.isnan(values)
    means = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return int(np.where(known.any(axis=0), means, -np.inf).argmax())


def replay(
    table: OutcomeTable,
    features: QueryFeatures,
    logger: Logger,
    *,
    n: int,
    seed: int,
    objective: str,
    weights: Mapping[str, float],
    tenants: Sequence[str] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[DecisionMade, list[FeedbackGiven]]]:
    """Each decision with its feedback, one value for every metric known of the drawn arm.

    `tenants` names each row's, if any.
    """
    hashes = [query_hash(query) for query in table.queries]
    packed = [pack_features(row) for row in features.matrix]
    eligible = known_arms(table)
    greedy = arm_probabilities(logger.probabilities, eligible, GREEDY).argmax(axis=1)
    for index, row in enumerate(passes(len(table), n, seed)):
        at = START + index * STEP_SECONDS
        decision_id = seeded_id(seed, index, at)
        arm = choose(logger.probabilities[row], decision_id)
        yield (
            DecisionMade(
                decision_id=decision_id,
                at=at,
                arms=list(table.arms),
                eligible=[
                    name for name, known in zip(table.arms, eligible[row], strict=True) if known
                ],
                probabilities=logger.probabilities[row].tolist(),
                arm=table.arms[arm],
                propensity=float(logger.probabilities[row, arm]),
                policy=logger.policy,
                policy_version=logger.version,
                objective=objective,
                weights=dict(weights),
                expected={m: values[row].tolist() for m, values in logger.expected.items()},
                explored=arm != int(greedy[row]),
                tenant=tenants[row] if tenants is not None else "",
                query=table.queries[row],
                query_hash=hashes[row],
                features=packed[row],
                feature_version=features.version,
                attributes={"dataset": table.datasets[row]} if table.datasets[row] else {},
            ),
            [
                FeedbackGiven(
                    feedback_id=f"{decision_id}:{metric}",
                    decision_id=decision_id,
                    metric=metric,
                    value=float(table.values[row, arm, m]),
                    at=at + 1.0,
                    source="replay",
                )
                for m, metric in enumerate(table.metrics)
                if not np.isnan(table.values[row, arm, m])
            ],
        )
        advance(1)


def passes(rows: int, n: int, seed: int) -> list[int]:
    """n row numbers: random permutations of all rows, one after the other."""
    rng = np.random.default_rng(seed)
    count = -(-n // rows)
    order = np.concatenate([rng.permutation(rows) for _ in range(count)])
    return [int(row) for row in order[:n]]


def seeded_id(seed: int, index: int, at: float) -> str:
    """A UUIDv7 of this time whose random bits are the seed's."""
    digest = blake2b(f"{seed}:{index}".encode(), digest_size=10, person=b"replay").digest()
    bits = int.from_bytes(digest)
    low = (bits & ((1 << 62) - 1)) | (0b10 << 62)
    high = (int(at * 1000) << 16) | (0x7 << 12) | (bits >> 62 & 0xFFF)
    text = f"{(high << 64) | low:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
