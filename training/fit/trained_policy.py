"""From data to a policy with its manifest: trained on what, how, and how it did out of fold."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from policies.artifact import Manifest
from policies.blend_policy import BlendPolicy
from policies.linear_policy import LinearPolicy
from policies.tenant_offsets import SALT_BYTES, TenantOffsets, with_offsets
from training.engines import Engine
from training.engines.local import LocalEngine
from training.errors import EmptyLogError
from training.fit.bases import GAMMA, LANDMARKS
from training.fit.feature_scale import QUESTION_SHARE, fit_scale
from training.fit.first_pass import FirstPass
from training.fit.folds import Ints, group_numbers, grouped_folds
from training.fit.heads import linear_policy
from training.fit.known_queries import with_known_queries
from training.fit.log_fit import fit_log
from training.fit.log_manifest import log_manifest, now
from training.fit.log_passes import PASSES, LogPasses
from training.fit.members import PENALTIES
from training.fit.posterior import fit_posterior
from training.fit.reward_models import FittedRewards, fit_rewards
from training.fit.threads import one_thread
from training.fit.training_rows import FOLDS, WarmRows, training_parts
from training.judge.gate import MIN_EFFECTIVE
from training.log.partitions import RoundsParts, one_part
from training.log.rounds import LoggedRounds
from training.reporting.probabilities import ReportingCounts
from training.tables.warm_start import WarmStart, aligned_values
from training.trained_queries import QUERY_FILTER, query_filter

DEFAULT_HOLDOUT = 0.3
# A held-out share of this many explored rounds can amount to the gate's effective sample size
# (mostly half their number, at best); less proves nothing.
JUDGED_FROM = math.ceil(2 * MIN_EFFECTIVE / DEFAULT_HOLDOUT)
# Below this, nothing can be held out, and no mean is worth a policy.
MIN_ROWS = 50
# Folds are made of distinct queries.
MIN_QUERIES = 20
# Calls of `advance` while training on outcomes.
OUTCOME_STEPS = FOLDS + 1


def train_on_outcomes(
    rows: WarmStart,
    *,
    seed: int,
    source: Mapping[str, Any],
    advance: Callable[[int], None] = lambda _: None,
    fitted: FittedRewards | None = None,
    evaluation: Mapping[str, Any] | None = None,
) -> BlendPolicy:
    """A policy from full-information rows.

    Args:
        rows: features and every arm's outcome.
        seed: of the folds, the landmarks and the networks.
        source: for the manifest: files, split and the like.
        advance: told of steps done, of OUTCOME_STEPS.
        fitted: the reward models, where they are fitted on these rows and `outcome_folds` already.
        evaluation: for the manifest, beside the reward models' own.

    Raises:
        EmptyLogError: there are fewer than MIN_ROWS rows.
    """
    folds = outcome_folds(rows, seed)
    fitted = fitted or fit_rewards(
        rows.features, rows.values, folds, rows.metrics, seed=seed, advance=advance
    )
    manifest = Manifest(
        kind=BlendPolicy.kind,
        name="reward models",
        arms=list(rows.arms),
        metrics=list(rows.metrics),
        feature_version=rows.feature_version,
        created_at=now(),
        training={
            **source,
            "rows": len(rows.values),
            "sha256": rows.sha256,
            QUERY_FILTER: query_filter(rows.query_hashes),
        },
        estimator={
            "recipe": "full_information",
            "question_share": QUESTION_SHARE,
            "folds": FOLDS,
            "seed": seed,
            "landmarks": LANDMARKS,
            "landmark_width": GAMMA,
            "penalties": {family: list(grid) for family, grid in PENALTIES.items()},
            "recipes": msgspec.to_builtins(fitted.recipes),
        },
        evaluation={"cross_fitted": msgspec.to_builtins(fitted.scores), **(evaluation or {})},
    )
    scale = fit_scale(rows.features)
    posterior = fit_posterior(scale.apply(rows.features), rows.values, scale)
    policy = BlendPolicy(manifest, fitted.model, carried=posterior.tensors)
    return with_known_queries(policy, rows.features, seed)


def outcome_folds(rows: WarmStart, seed: int) -> Ints:
    """(n,) the fold of each full-information row.

    Raises:
        EmptyLogError: there are fewer than MIN_ROWS rows.
    """
    n = len(rows.values)
    if n < MIN_ROWS:
        raise EmptyLogError(f"{n} rows are too few to train on; give at least {MIN_ROWS}")
    return grouped_folds(group_numbers(rows.query_hashes), FOLDS, seed)


def holdout_of(rounds: int) -> float:
    """The share of explored rounds to leave for judging, where the caller names none.

    A log of fewer than JUDGED_FROM is all learned from, and the policy judged on what is logged
    later.
    """
    return DEFAULT_HOLDOUT if rounds >= JUDGED_FROM else 0.0


def train_on_rounds(
    rounds: LoggedRounds,
    *,
    seed: int,
    holdout: float | None = 0.0,
    objective: Mapping[str, float] | None = None,
    tenants: bool = True,
) -> LinearPolicy:
    """`train_on_parts` of rounds in memory, in this process; by default all of them are learned."""
    return train_on_parts(
        one_part(rounds),
        engine=LocalEngine(),
        holdout=holdout,
        objective=objective,
        seed=seed,
        source={},
        tenants=tenants,
    )


@one_thread()
def train_on_parts(
    rounds: RoundsParts,
    *,
    engine: Engine,
    holdout: float | None,
    objective: Mapping[str, float] | None,
    seed: int,
    source: Mapping[str, Any],
    warm: WarmStart | None = None,
    tenants: bool = True,
    parent: str | None = None,
    advance: Callable[[int], None] = lambda _: None,
    look: Callable[[LoggedRounds, Sequence[ReportingCounts]], None] = lambda *_: None,
) -> LinearPolicy:
    """A policy from logged rounds, the latest `holdout` share of them left for judging it.

    Args:
        rounds: all of the log's rounds, part by part.
        engine: where the passes over the parts run; the policy is the same on every engine.
        holdout: the share, 0 to below 1; None for `holdout_of` the log.
        objective: by which candidates are compared; without it each round's own.
        seed: of the folds.
        source: for the manifest.
        warm: full-information rows to learn from as well.
        tenants: whether to learn what tenants' outcomes add to everybody's.
        parent: the version that served.
        advance: told of steps done, of `training_steps(rounds)`.
        look: given a sample of the rounds that are learned from, and by metric who reports of them
            all, once they are known.

    Raises:
        EmptyLogError: too few rounds are explored and reported, or they repeat a few queries.
        ObjectiveError: the objective weighs a metric that the log doesn't have.
    """
    explored = len(rounds.explored_at)
    share = holdout_of(explored) if holdout is None else holdout
    until = rounds.until(1.0 - share) if explored else 0.0
    warm_rows = _warm_rows(warm, rounds)
    parts = training_parts(rounds, until, seed, objective, warm_rows)
    passes = LogPasses(engine, parts, rounds.arms, rounds.metrics, warm_rows, advance)
    first = passes.first(int(np.searchsorted(rounds.explored_at, until, side="right")))
    if first is not None:
        look(first.sample.rounds, first.counts.reporting)
    first = _enough(first, rounds)
    fit = fit_log(passes, first, tenants=tenants)
    manifest = log_manifest(
        fit,
        first,
        rounds,
        until=until,
        objective=objective,
        warm_rows=0 if warm is None else len(warm.values),
        seed=seed,
        source=source,
        parent=parent,
    )
    policy = linear_policy(fit.heads, fit.scale, manifest, fit.posterior)
    # The salt follows from the data, so that the same training gives the same artifact.
    salt = bytes.fromhex(first.hashes[1])[:SALT_BYTES]
    offsets = TenantOffsets.by_tenant(fit.tenants.offsets, salt)
    policy = LinearPolicy.from_artifact(with_offsets(policy.artifact(), offsets))
    seen = first.sample.rounds.features[first.sample.by_row]
    return with_known_queries(policy, seen, seed)


def training_steps(rounds: RoundsParts) -> int:
    """Calls of `advance` in `train_on_parts`, those for tenants included."""
    return PASSES * len(rounds.parts)


def _enough(first: FirstPass | None, rounds: RoundsParts) -> FirstPass:
    """What the first pass found, where that can be learned from.

    Raises:
        EmptyLogError: it can't.
    """
    reported = first.counts.with_value if first is not None else 0
    if first is None or reported < MIN_ROWS:
        raise EmptyLogError(
            f"{reported} of {rounds.rows} logged decisions can be learned from; at least "
            f"{MIN_ROWS} are needed ({rounds.counts.with_feedback} have any feedback, "
            f"{len(rounds.explored_at)} could have gone to any eligible arm): report feedback "
            "to /v1/feedback, let the service explore, and export again"
        )
    if first.counts.queries < MIN_QUERIES:
        raise EmptyLogError(
            f"the {first.counts.rows} decisions to train on are about {first.counts.queries} "
            f"distinct queries; at least {MIN_QUERIES} are needed: send more varied queries, or "
            "lower --holdout"
        )
    return first


def _warm_rows(warm: WarmStart | None, rounds: RoundsParts) -> WarmRows | None:
    if warm is None:
        return None
    values = aligned_values(warm, rounds.arms, rounds.metrics)
    return WarmRows(warm.features, values, warm.query_hashes)
