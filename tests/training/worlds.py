"""Small worlds with known truths, as rounds, tables and files."""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Manifest
from policies.linear_policy import IDENTITY, LinearPolicy
from policies.question import QUESTION_FEATURES
from training.fit.folds import group_numbers
from training.log.rounds import LoggedRounds, RoundCounts

ARMS = ("none", "single", "multi")
DIMENSION = 6 + len(QUESTION_FEATURES)
NO_COUNTS = RoundCounts(
    decisions=0,
    with_feedback=0,
    feedback_values=0,
    orphan_feedback=0,
    superseded_feedback=0,
    fallbacks=0,
    duplicate_rows=0,
    other_features=0,
    unexplored=0,
)


def features_of(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(n, DIMENSION): a unit-norm embedding of six columns, then idle question features."""
    embedding = rng.normal(size=(n, 6))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    return np.hstack([embedding, np.zeros((n, len(QUESTION_FEATURES)))]).astype(np.float32)


def success_rates(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, 3) how often each arm answers well: the first column decides between them."""
    lean = features[:, 0].astype(np.float64)
    return np.column_stack([0.5 + 0.4 * lean, np.full(len(lean), 0.5), 0.5 - 0.4 * lean])


def rounds_of(
    n: int,
    rng: np.random.Generator,
    *,
    probabilities: NDArray[np.float64] | None = None,
    rates: NDArray[np.float64] | None = None,
    at: float = 0.0,
    tenants: Sequence[str] = ("",),
) -> LoggedRounds:
    """n logged rounds of that world, one a second from `at`; drawn uniformly by default."""
    features = features_of(n, rng)
    rates = success_rates(features) if rates is None else rates
    if probabilities is None:
        probabilities = np.full((n, 3), 1 / 3)
    action = (rng.random(n)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    rows = np.arange(n)
    reward = (rng.random(n) < rates[rows, action]).astype(np.float64)
    hashes = np.array([f"hash-{row}" for row in rows], dtype=object)
    return LoggedRounds(
        decision_ids=np.array([f"decision-{row}" for row in rows], dtype=object),
        at=at + rows.astype(np.float64),
        tenants=np.array([tenants[row % len(tenants)] for row in rows], dtype=object),
        query_hashes=hashes,
        groups=group_numbers(hashes.tolist()),
        features=features,
        feature_version="test-1",
        arms=ARMS,
        action=action,
        pscore=probabilities[rows, action],
        probabilities=probabilities,
        eligible=np.ones((n, 3), dtype=np.bool_),
        metrics=("quality",),
        values=reward[:, None],
        expected=np.full((n, 3, 1), np.nan),
        weights=np.ones((n, 1)),
        policy_versions=np.full(n, "incumbent", dtype=object),
        attributes=np.array([{} for _ in rows], dtype=object),
        audited=np.zeros(n, dtype=np.bool_),
        out_of_distribution=np.zeros(n, dtype=np.bool_),
        candidates=np.full(n, "", dtype=object),
        candidate_probabilities=np.zeros((n, 3)),
        candidate_share=np.zeros(n),
        counts=NO_COUNTS,
    )


def rounds_of_tenants(
    n: int,
    rng: np.random.Generator,
    effects: Mapping[str, Sequence[float]],
    shares: Sequence[float] | None = None,
    *,
    probabilities: NDArray[np.float64] | None = None,
) -> LoggedRounds:
    """Rounds in which a tenant's effects (3,) add to the arms' success rates; `shares` is each
    tenant's part of the traffic.
    """
    rounds = rounds_of(n, rng, probabilities=probabilities)
    tenants = rng.choice(np.array(list(effects), dtype=object), size=n, p=shares)
    rates = tenant_rates(rounds.features, tenants, effects)
    drawn = rates[np.arange(n), rounds.action]
    values = (rng.random(n) < drawn).astype(np.float64)[:, None]
    return replace(rounds, tenants=tenants, values=values)


def tenant_rates(
    features: NDArray[np.float32],
    tenants: NDArray[np.object_],
    effects: Mapping[str, Sequence[float]],
) -> NDArray[np.float64]:
    """(n, 3) how often each arm answers well for these tenants."""
    added = np.array([effects[tenant] for tenant in tenants])
    return np.clip(success_rates(features) + added, 0.0, 1.0)


def prefer(arm: int, n: int, epsilon: float) -> NDArray[np.float64]:
    """(n, 3) probabilities of a logger that takes one arm, but for a share of uniform draws."""
    probabilities = np.full((n, 3), epsilon / 3)
    probabilities[:, arm] += 1.0 - epsilon
    return probabilities


def manifest(**training: Any) -> Manifest:
    """The manifest of a policy on that world."""
    return Manifest(
        kind="linear",
        name="test",
        arms=list(ARMS),
        metrics=["quality"],
        feature_version="test-1",
        created_at="",
        training=training,
    )


def always(arm: int, **training: Any) -> LinearPolicy:
    """A policy that expects most of one arm, whatever the query."""
    intercepts = np.zeros((3, 1))
    intercepts[arm] = 1.0
    return LinearPolicy(
        manifest(**training),
        np.zeros((3, 1, DIMENSION), dtype=np.float32),
        intercepts,
        np.array([IDENTITY], dtype=np.int8),
    )


def knowing(**training: Any) -> LinearPolicy:
    """A policy that knows the world's success rates."""
    coefficients = np.zeros((3, 1, DIMENSION), dtype=np.float32)
    coefficients[0, 0, 0], coefficients[2, 0, 0] = 0.4, -0.4
    return LinearPolicy(
        manifest(**training),
        coefficients,
        np.full((3, 1), 0.5),
        np.array([IDENTITY], dtype=np.int8),
    )


def opposing() -> LinearPolicy:
    """A policy that takes the worse of the two arms that `knowing` decides between."""
    coefficients = np.zeros((3, 1, DIMENSION), dtype=np.float32)
    coefficients[0, 0, 0], coefficients[2, 0, 0] = -0.4, 0.4
    links = np.array([IDENTITY], dtype=np.int8)
    return LinearPolicy(manifest(), coefficients, np.full((3, 1), 0.5), links)


QUESTIONS = {
    "style": "Rewrite the note about {} in a friendly tone",
    "fact": "When was {} founded, and by whom?",
    "chain": "Who is the mother of the director of {}?",
}
BEST = {"style": "none", "fact": "single", "chain": "multi"}


def outcome_rows(n: int, seed: int, *, split: str = "train") -> list[dict[str, Any]]:
    """n rows of three kinds of question, each with an arm that mostly succeeds; steps cost."""
    rng = np.random.default_rng(seed)
    kinds = list(QUESTIONS)
    rows = []
    for number in range(n):
        kind = kinds[int(rng.integers(len(kinds)))]
        name = f"{split} item {number}"
        outcomes = {
            arm: {
                "quality": float(rng.random() < (0.8 if BEST[kind] == arm else 0.3)),
                "steps": float(steps),
                "answer": "text is left alone",
            }
            for arm, steps in zip(ARMS, (0, 1, 3), strict=True)
        }
        rows.append(
            {
                "id": f"{split}-{number}",
                "query": QUESTIONS[kind].format(name),
                "dataset": kind,
                "split": split,
                "outcomes": outcomes,
            }
        )
    return rows


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as JSON lines, compressed if the name says so."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path
