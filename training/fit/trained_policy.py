"""From data to a policy with its manifest: trained on what, how, and how it did out of fold."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np

from policies.artifact import Manifest
from policies.linear_policy import LinearPolicy
from training.errors import EmptyLogError
from training.fit.candidates import ALPHAS, MIN_ARM_ROWS
from training.fit.feature_scale import QUESTION_SHARE, fit_scale
from training.fit.folds import group_numbers, grouped_folds
from training.fit.heads import linear_policy
from training.fit.log_evidence import FOLDS, WarmRows
from training.fit.log_fit import DEFAULT, LogFit, fit_from_rounds
from training.fit.reward_models import ALPHA_GRID, C_GRID, FittedHeads, fit_heads
from training.judge.gate import MIN_EFFECTIVE
from training.log.rounds import Floats, LoggedRounds
from training.tables.warm_start import WarmStart, aligned_values
from training.utility import objective_weights

DEFAULT_HOLDOUT = 0.3
# Below this, nothing can be held out, and no mean is worth a policy.
MIN_ROWS = 50
# Folds are made of distinct queries.
MIN_QUERIES = 20


def train_on_outcomes(
    rows: WarmStart,
    *,
    seed: int,
    source: Mapping[str, Any],
    advance: Callable[[int], None] = lambda _: None,
) -> LinearPolicy:
    """A policy from full-information rows.

    Args:
        rows: features and every arm's outcome.
        seed: of the folds.
        source: for the manifest: files, split and the like.
        advance: told of each metric fitted.

    Raises:
        EmptyLogError: there are fewer than MIN_ROWS rows.
    """
    n = len(rows.values)
    if n < MIN_ROWS:
        raise EmptyLogError(f"{n} rows are too few to train on; give at least {MIN_ROWS}")
    scale = fit_scale(rows.features)
    folds = grouped_folds(group_numbers(rows.query_hashes), FOLDS, seed)
    scaled = scale.apply(rows.features)
    fitted = fit_heads(scaled, rows.values, folds, rows.arms, rows.metrics, advance=advance)
    manifest = Manifest(
        kind=LinearPolicy.kind,
        name="full-information heads",
        arms=list(rows.arms),
        metrics=list(rows.metrics),
        feature_version=rows.feature_version,
        created_at=_now(),
        training={**source, "rows": n, "sha256": rows.sha256},
        estimator={
            "recipe": "full_information",
            "question_share": QUESTION_SHARE,
            "folds": FOLDS,
            "seed": seed,
            "c_grid": list(C_GRID),
            "alpha_grid": list(ALPHA_GRID),
            "regularisation": _regularisation(fitted),
        },
        evaluation={"cross_fitted": [score._asdict() for score in fitted.scores]},
    )
    return linear_policy(fitted.heads, scale, manifest)


def _regularisation(fitted: FittedHeads) -> dict[str, dict[str, float | None]]:
    settings: dict[str, dict[str, float | None]] = {}
    for score in fitted.scores:
        settings.setdefault(score.arm, {})[score.metric] = score.regularisation
    return settings


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
    fit = fit_from_rounds(mine, weights, seed=seed, warm=_warm_rows(warm, rounds), advance=advance)
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
        },
        estimator=_log_settings(fit, seed),
        evaluation=_log_evidence(fit),
        parent=parent,
    )
    return linear_policy(fit.heads, fit.scale, manifest)


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
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def log_hash(decisions: Sequence[str], values: Floats) -> str:
    """A SHA-256 of what was learned from: the decisions' ids and their metrics."""
    content = sha256("\n".join(decisions).encode())
    content.update(np.ascontiguousarray(values).tobytes())
    return content.hexdigest()
