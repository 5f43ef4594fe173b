"""The manifest of a policy learned from logs: trained on what, how, and how it did out of fold."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from policies.artifact import Manifest
from policies.linear_policy import LinearPolicy
from training.fit.candidates import ALPHAS, MIN_ARM_ROWS
from training.fit.feature_scale import QUESTION_SHARE
from training.fit.first_pass import FirstPass
from training.fit.log_fit import DEFAULT, LogFit
from training.fit.training_rows import FOLDS
from training.log.partitions import RoundsParts
from training.trained_queries import QUERY_FILTER


def log_manifest(
    fit: LogFit,
    first: FirstPass,
    rounds: RoundsParts,
    *,
    until: float,
    objective: Mapping[str, float] | None,
    warm_rows: int,
    seed: int,
    source: Mapping[str, Any],
    parent: str | None,
) -> Manifest:
    """Of what was learned from the rounds up to a time."""
    counts = first.counts
    return Manifest(
        kind=LinearPolicy.kind,
        name=fit.chosen.name,
        arms=list(rounds.arms),
        metrics=list(rounds.metrics),
        feature_version=rounds.feature_version,
        created_at=now(),
        training={
            "sha256": first.hashes[0],
            **source,
            "rows": counts.rows,
            "warm_rows": warm_rows,
            "held_out": len(rounds.explored_at) - counts.rows,
            "window": [counts.window[0], until],
            "objective": dict(objective) if objective is not None else "as logged",
            "counts": msgspec.to_builtins(rounds.counts),
            "reported_draws": fit.draws,
            "prior_metrics": _prior_metrics(rounds),
            QUERY_FILTER: fit.query_filter,
        },
        estimator={
            "recipe": fit.chosen.kind,
            "alpha": fit.chosen.alpha,
            "alphas": list(ALPHAS),
            "question_share": QUESTION_SHARE,
            "folds": FOLDS,
            "seed": seed,
            "min_arm_rows": MIN_ARM_ROWS,
            "contrast_penalties": fit.contrast_penalties,
            "correlations_within_a_query": fit.alike,
            "selection": f"{DEFAULT.name}, unless another's cross-fitted DR value is clearly "
            "higher",
        },
        evaluation={
            "incumbent_value": fit.incumbent_value,
            "candidates": msgspec.to_builtins(fit.candidates),
            "fixed_arms": msgspec.to_builtins(fit.fixed_arms),
            "tenants": msgspec.to_builtins(fit.tenants.report),
        },
        parent=parent,
    )


def now() -> str:
    """The time, as manifests have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _prior_metrics(rounds: RoundsParts) -> list[str]:
    """Metrics that were never reported: their heads are what the serving policy expected."""
    named = zip(rounds.metrics, rounds.observed.tolist(), strict=True)
    return [name for name, seen in named if not seen]
