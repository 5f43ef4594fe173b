"""Bandit logs drawn from a recorded outcomes table, in memory: for studies of thousands of them.

The table's rows are the world: a log draws rows at random with replacement (so that the world's
mean is the truth, whatever the log), an arm each with known probabilities, and reveals that arm's
quality alone.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policies.policy import Policy
from policies.query import query_hash
from training.fit.folds import group_numbers
from training.fit.trained_policy import train_on_outcomes
from training.log.rounds import LoggedRounds, RoundCounts
from training.tables.outcomes import read_outcomes
from training.tables.query_features import query_features
from training.tables.warm_start import WarmStart

Floats = NDArray[np.float64]

_NO_COUNTS = RoundCounts(
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


@dataclass(frozen=True)
class World:
    """Questions whose quality (n, A) is known for every arm."""

    arms: tuple[str, ...]
    features: NDArray[np.float32]
    feature_version: str
    hashes: NDArray[np.object_]
    datasets: NDArray[np.object_]
    quality: Floats

    def __len__(self) -> int:
        return len(self.quality)

    def rows(self, index: NDArray[np.intp]) -> "World":
        """Some of the questions."""
        return World(
            self.arms,
            self.features[index],
            self.feature_version,
            self.hashes[index],
            self.datasets[index],
            self.quality[index],
        )

    def warm_start(self) -> WarmStart:
        """All that is known, to train on."""
        return WarmStart(
            features=self.features,
            feature_version=self.feature_version,
            query_hashes=self.hashes.tolist(),
            arms=self.arms,
            metrics=("quality",),
            values=self.quality[:, :, None],
            sha256="",
        )


def read_worlds(path: Path, seed: int) -> tuple[World, World]:
    """The table's train and test rows; a table without splits is halved at random."""
    table = read_outcomes([path])
    features = query_features(table.queries)
    world = World(
        arms=table.arms,
        features=features.matrix,
        feature_version=features.version,
        hashes=np.array([query_hash(query) for query in table.queries], dtype=object),
        datasets=np.array(table.datasets, dtype=object),
        quality=table.values[:, :, table.metrics.index("quality")],
    )
    train = np.array([split == "train" for split in table.splits])
    if not train.any():
        train = np.random.default_rng(seed).permutation(len(table)) < len(table) // 2
    return world.rows(np.flatnonzero(train)), world.rows(np.flatnonzero(~train))


def epsilon_greedy(world: World, arm: int, epsilon: float) -> Floats:
    """(n, A) the probabilities of a logger that takes one arm but for a share of uniform draws."""
    probabilities = np.full(world.quality.shape, epsilon / len(world.arms))
    probabilities[:, arm] += 1.0 - epsilon
    return probabilities


def draw_log(
    world: World,
    logging: Floats,
    n: int,
    rng: np.random.Generator,
    *,
    rows: NDArray[np.intp] | None = None,
) -> LoggedRounds:
    """n rounds by a logger with these probabilities (len(world), A), of random or given rows."""
    rows = rng.integers(0, len(world), n) if rows is None else rows
    probabilities, arms = logging[rows], len(world.arms)
    action = (rng.random(n)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, arms - 1)
    everywhere = np.arange(n)
    hashes = world.hashes[rows]
    empty = np.full(n, "", dtype=object)
    return LoggedRounds(
        decision_ids=np.array([str(row) for row in everywhere], dtype=object),
        at=everywhere.astype(np.float64),
        tenants=empty,
        query_hashes=hashes,
        groups=group_numbers(hashes.tolist()),
        features=world.features[rows],
        feature_version=world.feature_version,
        arms=world.arms,
        action=action,
        pscore=probabilities[everywhere, action],
        probabilities=probabilities,
        eligible=np.ones((n, arms), dtype=np.bool_),
        metrics=("quality",),
        values=world.quality[rows, action][:, None],
        expected=np.full((n, arms, 1), np.nan),
        weights=np.ones((n, 1)),
        policy_versions=np.full(n, "incumbent", dtype=object),
        attributes=np.array([{"dataset": name} for name in world.datasets[rows]], dtype=object),
        audited=np.zeros(n, dtype=np.bool_),
        out_of_distribution=np.zeros(n, dtype=np.bool_),
        candidates=empty,
        candidate_probabilities=np.zeros((n, arms)),
        candidate_share=np.zeros(n),
        counts=_NO_COUNTS,
    )


def trained_policy(world: World, seed: int) -> Policy:
    """A policy trained on every outcome of these questions."""
    return train_on_outcomes(world.warm_start(), seed=seed, source={})
