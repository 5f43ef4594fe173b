"""Objectives: the weights that turn expected metrics into one utility, given with each request."""

from collections.abc import Iterable, Mapping

import msgspec

from policies.arms import did_you_mean
from policies.errors import ObjectiveError

# What the router measures or asks for by itself; users add their own metrics beside these.
STANDARD_METRICS: tuple[str, ...] = ("quality", "cost_usd", "latency_s")
# What is known of every arm without being learned; see `policies.retrieval_rate`.
ARM_METRICS: tuple[str, ...] = ("retrieval_rate",)


class Objective(msgspec.Struct, frozen=True):
    """Weights by metric; utility = Σ weight · expected metric. Costs carry negative weights."""

    name: str
    weights: dict[str, float]


DEFAULT_OBJECTIVES: dict[str, dict[str, float]] = {
    "balanced": {"quality": 1.0, "cost_usd": -20.0, "latency_s": -0.02},
    "quality": {"quality": 1.0},
    "cheap": {"quality": 1.0, "cost_usd": -100.0, "latency_s": -0.02},
    "fast": {"quality": 1.0, "cost_usd": -20.0, "latency_s": -0.2},
}
DEFAULT_OBJECTIVE = "balanced"
# The name of an objective that a request gave by its weights.
CUSTOM = "custom"
# Larger weights could make utilities overflow, and probabilities of them meaningless.
MAX_WEIGHT = 1e9


def known_metrics(
    objectives: Mapping[str, Mapping[str, float]], learned: Iterable[str]
) -> frozenset[str]:
    """Metrics that a request may weigh: standard, configured or learned ones."""
    configured = {metric for weights in objectives.values() for metric in weights}
    return frozenset({*STANDARD_METRICS, *ARM_METRICS, *configured, *learned})


def resolve_objective(
    wanted: str | Mapping[str, float] | None,
    objectives: Mapping[str, Mapping[str, float]],
    metrics: Iterable[str],
    *,
    default: str = DEFAULT_OBJECTIVE,
) -> Objective:
    """The objective a request asked for, by name or by weights; the default without either.

    Raises ObjectiveError for an unknown name, a metric not in `metrics`, a weight that isn't
    finite, or no weight other than zero.
    """
    if wanted is None or isinstance(wanted, str):
        name = default if wanted is None else wanted
        if name not in objectives:
            hint = did_you_mean(name, objectives)
            raise ObjectiveError(
                f"unknown objective {name!r}{hint}; known objectives: {', '.join(objectives)}",
                field="objective",
            )
        return Objective(name, dict(objectives[name]))
    check_weights(wanted, frozenset(metrics))
    return Objective(CUSTOM, dict(wanted))


def check_weights(
    weights: Mapping[str, float], metrics: frozenset[str], *, field: str = "objective"
) -> None:
    """Raise ObjectiveError unless the weights are finite, not all zero, and on known metrics."""
    if not any(weights.values()):
        raise ObjectiveError("an objective needs at least one weight other than zero", field=field)
    for metric, weight in weights.items():
        if not abs(weight) <= MAX_WEIGHT:  # NaN compares false
            raise ObjectiveError(
                f"the weight of {metric!r} must be finite and at most {MAX_WEIGHT:g} in size, "
                f"not {weight}",
                field=f"{field}.{metric}",
            )
        if metrics and metric not in metrics:
            hint = did_you_mean(metric, metrics)
            raise ObjectiveError(
                f"unknown metric {metric!r}{hint}; known metrics: {', '.join(sorted(metrics))}",
                field=f"{field}.{metric}",
            )
