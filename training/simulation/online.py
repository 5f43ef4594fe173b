"""Learning while serving, on rows whose every outcome is known: what a kind of exploration earns.

The rows come once each. Between trainings one policy serves; at each training the policy of the
log so far takes its place. There is no gate, so that what is compared is exploration.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Manifest
from policies.choose import choose
from policies.exploration import Exploration, arm_probabilities, until_first_promotion
from policies.linear_policy import IDENTITY, LinearPolicy
from policies.policy import Policy, utilities
from policies.posterior import utility_beliefs
from training.fit.feature_scale import fit_scale
from training.fit.folds import group_numbers
from training.fit.posterior import fit_posterior
from training.fit.pseudo_outcomes import draws_of
from training.fit.trained_policy import train_on_rounds
from training.log.rounds import Floats, LoggedRounds, RoundCounts
from training.tables.warm_start import WarmStart

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


class OnlineRun(NamedTuple):
    """In the order of serving: earned (n,) the drawn arm's utility; propensities (n, A)."""

    earned: Floats
    propensities: Floats


def learn_online(
    world: WarmStart,
    exploration: Exploration,
    weights: Mapping[str, float],
    *,
    trainings: Iterable[int],
    seed: int,
    train: Callable[[LoggedRounds, int], Policy] | None = None,
) -> OnlineRun:
    """Serve and learn from a seeded random order of the rows.

    Args:
        world: n rows with every arm's outcomes; only the drawn arm's are shown to training.
        exploration: of all policies; as in the service, a cold start has its `initial` share.
        weights: the objective that is served and judged.
        trainings: after how many rounds to train, in rising order.
        seed: of the order, the draws and the folds.
        train: from rounds and a seed to a policy; as `rag-policy train --logs` by default.
    """
    n = len(world.values)
    order = np.random.default_rng(seed).permutation(n)
    bounds = [0, *(t for t in trainings if 0 < t < n), n]
    log = _log(world, order, weights)
    policy: Policy | None = None
    for start, end in pairwise(bounds):
        if start:
            policy = (train or train_fully)(log.rows(np.arange(start)), seed)
        _serve(log, slice(start, end), world.values[order], policy, exploration, weights, seed)
    vector = np.array([weights.get(metric, 0.0) for metric in world.metrics])
    return OnlineRun(log.values @ vector, log.probabilities)


def train_fully(rounds: LoggedRounds, seed: int) -> Policy:
    """As `rag-policy train --logs` does, nothing held out."""
    return train_on_rounds(rounds, seed=seed)


def train_posterior(rounds: LoggedRounds, seed: int) -> Policy:  # noqa: ARG001
    """The posterior alone, its means for heads, in a tenth of the time.

    Thompson sampling reads nothing else, so it draws exactly as it would of the whole policy.
    """
    scale = fit_scale(rounds.features)
    scaled = scale.apply(rounds.features)
    posterior = fit_posterior(scaled, draws_of(rounds, scaled).values, scale)
    manifest = Manifest(
        kind=LinearPolicy.kind,
        name="posterior alone",
        arms=list(rounds.arms),
        metrics=list(rounds.metrics),
        feature_version=rounds.feature_version,
        created_at="",
    )
    mean = posterior.parts
    links = np.full(len(rounds.metrics), IDENTITY, dtype=np.int8)
    return LinearPolicy(
        manifest, mean.coefficients, mean.intercepts, links, carried=posterior.tensors
    )


def _serve(
    log: LoggedRounds,
    block: slice,
    outcomes: Floats,
    policy: Policy | None,
    exploration: Exploration,
    weights: Mapping[str, float],
    seed: int,
) -> None:
    """Decide on a block of rounds, and write what was drawn and what came of it into the log."""
    rows = np.arange(block.start, block.stop)
    eligible = log.eligible[block]
    if policy is None:  # all arms are equal to it
        probabilities = arm_probabilities(
            np.zeros(eligible.shape), eligible, until_first_promotion(exploration)
        )
    else:
        features = log.features[block]
        expected = policy.expected(features)
        log.expected[block] = expected
        probabilities = arm_probabilities(
            utilities(expected, policy.metrics, weights),
            eligible,
            exploration,
            utility_beliefs(policy.beliefs(features), log.weights[block]),
        )
    drawn = np.array(
        [choose(row, f"{seed}:{t}") for t, row in zip(rows, probabilities, strict=True)]
    )
    log.probabilities[block], log.action[block] = probabilities, drawn
    log.pscore[block] = probabilities[np.arange(len(drawn)), drawn]
    log.values[block] = outcomes[rows, drawn]
    log.policy_versions[block] = "" if policy is None else policy.version


def _log(world: WarmStart, order: NDArray[np.intp], weights: Mapping[str, float]) -> LoggedRounds:
    """The rounds to come: their features are known, what is decided on them is written later."""
    n, arms, metrics = world.values.shape
    hashes = np.array(world.query_hashes, dtype=object)[order]
    vector = np.array([weights.get(metric, 0.0) for metric in world.metrics])

    def same(value: object) -> NDArray[np.object_]:
        return np.full(n, value, dtype=object)

    return LoggedRounds(
        decision_ids=np.array([str(row) for row in order], dtype=object),
        at=np.arange(n, dtype=np.float64),
        tenants=same(""),
        query_hashes=hashes,
        groups=group_numbers(hashes.tolist()),
        features=world.features[order],
        feature_version=world.feature_version,
        arms=world.arms,
        action=np.zeros(n, dtype=np.intp),
        pscore=np.ones(n),
        probabilities=np.zeros((n, arms)),
        eligible=np.asarray((~np.isnan(world.values)).all(axis=2))[order],
        metrics=world.metrics,
        values=np.full((n, metrics), np.nan),
        expected=np.full((n, arms, metrics), np.nan),
        weights=np.tile(vector, (n, 1)),
        policy_versions=same(""),
        attributes=same(None),
        audited=np.zeros(n, dtype=np.bool_),
        out_of_distribution=np.zeros(n, dtype=np.bool_),
        candidates=same(""),
        candidate_probabilities=np.zeros((n, arms)),
        candidate_share=np.zeros(n),
        counts=_NO_COUNTS,
    )
