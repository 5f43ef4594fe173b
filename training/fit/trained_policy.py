"""From data to a policy with its manifest: trained on what, how, and how it did out of fold."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np

from policies.artifact import Manifest
from policies.blend_policy import BlendPolicy
from policies.linear_policy import LinearPolicy
from policies.tenant_offsets import SALT_BYTES, TenantOffsets, with_offsets
from training.errors import EmptyLogError
from training.fit.bases import GAMMA, LANDMARKS
from training.fit.candidates import ALPHAS, MIN_ARM_ROWS
from training.fit.feature_scale import QUESTION_SHARE, fit_scale
from training.fit.folds import Ints, group_numbers, grouped_folds
from training.fit.heads import linear_policy
from training.fit.known_queries import with_known_queries
from training.fit.log_evidence import FOLDS, WarmRows
from training.fit.log_fit import DEFAULT, LogFit, fit_from_rounds
from training.fit.members import PENALTIES
from training.fit.posterior import fit_posterior
from training.fit.reward_models import FittedRewards, fit_rewards
from training.judge.gate import MIN_EFFECTIVE
from training.log.rounds import Floats, LoggedRounds
from training.tables.warm_start import WarmStart, aligned_values
from training.trained_queries import QUERY_FILTER, query_filter
from training.utility import objective_weights

DEFAULT_HOLDOUT = 0.3
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
        created_at=_now(),
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

    Rounds that can't amount to the gate's effective sample size (mostly half their number, at best)
    prove nothing: a small log is all learned from, and the policy judged on what is logged later.
    """
    return DEFAULT_HOLDOUT if rounds * DEFAULT_HOLDOUT >= 2 * MIN_EFFECTIVE else 0.0


def split_by_time(rounds: LoggedRounds, holdout: float) -> tuple[LoggedRounds, float]:
    """The earlier part of the rounds, and the time of its last one.

    A round at exactly that time belongs to the earlier part, so that nothing is on both sides.
    """
    last = max(int(np.ceil(len(rounds) * (1.0 - holdout))), 1) - 1
    until = float(rounds.at[last])
    return rounds.rows(rounds.at <= until), until


def train_on_rounds(
    rounds: LoggedRounds,
    *,
    holdout: float | None,
    objective: Mapping[str, float] | None,
    seed: int,
    source: Mapping[str, Any],
    warm: WarmStart | None = None,
    tenants: bool = True,
    parent: str | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> LinearPolicy:
    """A policy from logged rounds, the latest `holdout` share of them left for judging it.

    Args:
        rounds: all of the log's rounds.
        holdout: the share, 0 to below 1; None for `holdout_of` the log.
        objective: by which candidates are compared; without it each round's own.
        seed: of the folds.
        source: for the manifest.
        warm: full-information rows to learn from as well.
        tenants: whether to learn what tenants' outcomes add to everybody's.
        parent: the version that served.
        advance: told of steps done, of `training.fit.log_fit.STEPS`.

    Raises:
        EmptyLogError: too few rounds are explored and reported, or they repeat a few queries.
        ObjectiveError: the objective weighs a metric that the log doesn't have.
    """
    explored = rounds.rows(rounds.explored)
    reported = int((~np.isnan(explored.values)).any(axis=1).sum())
    if reported < MIN_ROWS:
        raise EmptyLogError(
            f"{reported} of {len(rounds)} logged decisions can be learned from; at least "
            f"{MIN_ROWS} are needed ({rounds.counts.with_feedback} have any feedback, "
            f"{len(explored)} could have gone to any eligible arm): report feedback "
            "to /v1/feedback, let the service explore, and export again"
        )
    share = holdout_of(len(explored)) if holdout is None else holdout
    mine, until = split_by_time(explored, share)
    if (distinct := len(np.unique(mine.groups))) < MIN_QUERIES:
        raise EmptyLogError(
            f"the {len(mine)} decisions to train on are about {distinct} distinct queries; at "
            f"least {MIN_QUERIES} are needed: send more varied queries, or lower --holdout"
        )
    weights = objective_weights(mine, objective)
    fit = fit_from_rounds(
        mine,
        weights,
        seed=seed,
        warm=_warm_rows(warm, rounds),
        tenants=tenants,
        advance=advance,
    )
    manifest = Manifest(
        kind=LinearPolicy.kind,
        name=fit.chosen.name,
        arms=list(rounds.arms),
        metrics=list(rounds.metrics),
        feature_version=rounds.feature_version,
        created_at=_now(),
        training={
            **source,
            "rows": len(mine),
            "warm_rows": 0 if warm is None else len(warm.values),
            "held_out": len(explored) - len(mine),
            "window": [float(mine.at[0]), until],
            "objective": dict(objective) if objective is not None else "as logged",
            "counts": msgspec.to_builtins(rounds.counts),
            "reported_draws": fit.draws,
            "prior_metrics": _prior_metrics(rounds),
            QUERY_FILTER: query_filter([*mine.query_hashes, *(warm.query_hashes if warm else [])]),
        },
        estimator=_log_settings(fit, seed),
        evaluation=_log_evidence(fit),
        parent=parent,
    )
    policy = linear_policy(fit.heads, fit.scale, manifest, fit.posterior)
    # The salt follows from the data, so that the same training gives the same artifact.
    salt = bytes.fromhex(log_hash(mine.decision_ids.tolist(), mine.values))[:SALT_BYTES]
    offsets = TenantOffsets.by_tenant(fit.tenants.offsets, salt)
    policy = LinearPolicy.from_artifact(with_offsets(policy.artifact(), offsets))
    return with_known_queries(policy, mine.features, seed)


def _warm_rows(warm: WarmStart | None, rounds: LoggedRounds) -> WarmRows | None:
    if warm is None:
        return None
    values = aligned_values(warm, rounds.arms, rounds.metrics)
    return WarmRows(warm.features, values, warm.query_hashes)


def _prior_metrics(rounds: LoggedRounds) -> list[str]:
    """Metrics that were never reported: their heads are what the serving policy expected."""
    return [name for name, seen in zip(rounds.metrics, rounds.observed, strict=True) if not seen]


def _log_settings(fit: LogFit, seed: int) -> dict[str, Any]:
    return {
        "recipe": fit.chosen.kind,
        "alpha": fit.chosen.alpha,
        "alphas": list(ALPHAS),
        "question_share": QUESTION_SHARE,
        "folds": FOLDS,
        "seed": seed,
        "min_arm_rows": MIN_ARM_ROWS,
        "contrast_penalties": fit.contrast_penalties,
        "correlations_within_a_query": fit.alike,
        "selection": f"{DEFAULT.name}, unless another's cross-fitted DR value is clearly higher",
    }


def _log_evidence(fit: LogFit) -> dict[str, Any]:
    return {
        "incumbent_value": fit.incumbent_value,
        "candidates": msgspec.to_builtins(fit.candidates),
        "fixed_arms": msgspec.to_builtins(fit.fixed_arms),
        "tenants": msgspec.to_builtins(fit.tenants.report),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def log_hash(decisions: Sequence[str], values: Floats) -> str:
    """A SHA-256 of what was learned from: the decisions' ids and their metrics."""
    content = sha256("\n".join(decisions).encode())
    content.update(np.ascontiguousarray(values).tobytes())
    return content.hexdigest()
