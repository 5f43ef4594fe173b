"""`calibrate`: the least cost weight with which a policy keeps a budget on recent queries."""

import math

import msgspec
from rich.console import Group
from rich.table import Table

from policies.budget import Limit, with_cost_weight
from policies.exploration import Exploration, Floats
from policies.objective import MAX_WEIGHT
from policies.spend_curve import spend_curve
from training.budgets.recent_queries import Asked, RecentQueries
from training.judge.ope import Z95, Estimate, standard_error

# How near below its limit a budget is used up, where weights between two choices allow it.
CLOSE = 0.02
_POINTS = 64
# Halvings of the interval between two grid points; fewer where the spend is near enough before.
_HALVINGS, _NEAR = 60, 1e-4
# Weights are given so much above the one found, so that rounding to eight digits keeps the budget.
_ROUNDING_UP = 1e-6


class Tie(msgspec.Struct, frozen=True, kw_only=True):
    """Many queries change their arm at one weight: what is spent just below it, and from it on."""

    below: float
    above: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The weight, and what it does on the queries.

    `binding` is False where the base objective keeps the budget by itself; `met` is False where no
    weight keeps it; `tie` says that no weight comes within 2 % below the limit. `spend` and `share`
    are with `exploration`; `unconstrained` is the spend at weight 0, `least` at the greatest.
    `quality_lost` is against weight 0, paired. `in_sample` says that the policy was trained on some
    of the queries.
    """

    policy: str
    budget: str
    metric: str
    at_most: float
    met: bool
    binding: bool
    weight: float
    base: dict[str, float]
    objective: dict[str, float]
    exploration: str
    queries: int
    basis: str
    spend: Estimate
    unconstrained: Estimate
    least: Estimate
    quality_lost: Estimate | None
    share: dict[str, float]
    tie: Tie | None = None
    in_sample: bool = False


def calibrate(
    asked: Asked,
    recent: RecentQueries,
    limit: Limit,
    exploration: Exploration,
    *,
    in_sample: bool = False,
) -> Calibration:
    """Find the weight.

    Args:
        asked: the policy and the objective without the budget.
        recent: the queries.
        limit: the budget, on the metric that `recent` has prices of.
        exploration: with which the policy would serve them.
        in_sample: the policy was trained on some of these queries.
    """
    curve = spend_curve(recent.queries, exploration, points=_POINTS, prices=recent.prices)
    first = next((i for i, s in enumerate(curve.spends) if s <= limit.at_most), None)
    weight, tie = curve.weights[-1], None
    if first == 0:
        weight = 0.0
    elif first is not None:
        low, high = curve.weights[first - 1], curve.weights[first]
        low, high = _bisect(recent, limit.at_most, exploration, low, high)
        weight = min(float(f"{high * (1.0 + _ROUNDING_UP):.8g}"), MAX_WEIGHT)
        tie = _tie(recent, limit.at_most, exploration, low, weight)
    probabilities = recent.queries.probabilities(weight, exploration)
    free = recent.queries.probabilities(0.0, exploration)
    tightest = recent.queries.probabilities(curve.weights[-1], exploration)
    lost = None
    if recent.qualities is not None:
        lost = _mean(free - probabilities, recent.qualities, recent)
    return Calibration(
        policy=asked.policy.version,
        budget=str(limit),
        metric=limit.metric,
        at_most=limit.at_most,
        met=first is not None,
        binding=first != 0,
        weight=weight,
        base=asked.base,
        objective=with_cost_weight(asked.base, limit.metric, weight),
        exploration=exploration.kind,
        queries=len(probabilities),
        basis=recent.basis,
        spend=_mean(probabilities, recent.prices, recent),
        unconstrained=_mean(free, recent.prices, recent),
        least=_mean(tightest, recent.prices, recent),
        quality_lost=lost,
        share=dict(zip(recent.arms, probabilities.mean(axis=0).tolist(), strict=True)),
        tie=tie,
        in_sample=in_sample,
    )


def _mean(probabilities: Floats, values: Floats, recent: RecentQueries) -> Estimate:
    """The mean over queries of Σ_a probability · value, robust to near-duplicate queries."""
    rounds = (probabilities * values).sum(axis=1)
    mean, error = float(rounds.mean()), standard_error(rounds, recent.groups)
    return Estimate(mean, error, mean - Z95 * error, mean + Z95 * error)


def _spend(recent: RecentQueries, weight: float, exploration: Exploration) -> float:
    probabilities = recent.queries.probabilities(weight, exploration)
    return float((probabilities * recent.prices).sum(axis=1).mean())


def _bisect(
    recent: RecentQueries, at_most: float, exploration: Exploration, low: float, high: float
) -> tuple[float, float]:
    """A narrow interval of weights: too much is spent at its low end, but not at its high end."""
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high) if low > 0.0 else high / 2.0
        if not low < middle < high or high - low <= 1e-9 * high:
            break
        spend = _spend(recent, middle, exploration)
        low, high = (middle, high) if spend > at_most else (low, middle)
        if at_most * (1.0 - _NEAR) <= spend <= at_most:
            break
    return low, high


def _tie(
    recent: RecentQueries, at_most: float, exploration: Exploration, low: float, weight: float
) -> Tie | None:
    spend = _spend(recent, weight, exploration)
    if spend >= (1.0 - CLOSE) * at_most:
        return None
    return Tie(below=_spend(recent, low, exploration), above=spend)


def refusal(found: Calibration) -> str:
    """Why no weight keeps the budget, and the cure."""
    least = found.least.value
    return (
        f"{found.budget} can't be met: the least that these {found.queries:,} queries can spend is "
        f"{least:.6g} {found.metric} on average ({found.basis}): raise the budget above that, "
        "configure a cheaper arm, or lower the floor of [exploration]"
    )


def remarks_on(found: Calibration) -> list[str]:
    """What a person should know of the weight before using it."""
    lines = []
    if not found.binding:
        lines.append(
            f"the budget isn't binding: without any cost weight {found.spend.value:.6g} is spent"
        )
    if found.tie is not None:
        lines.append(
            f"many queries change their arm at this very weight: just below it "
            f"{found.tie.below:.6g} is spent, from it on {found.tie.above:.6g}, and no weight lies "
            "between; a tracked budget alternates between the two"
        )
    if found.in_sample:
        lines.append("the policy was trained on some of these queries: quality lost is flattered")
    return lines


def calibration_tables(found: Calibration) -> Group:
    """The result for people."""
    table = Table(title=f"Policy {found.policy}: {found.budget} on {found.queries:,} queries")
    for column in ("what", "value", "95 % from", "to"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, estimate in (
        (f"{found.metric} with the weight", found.spend),
        (f"{found.metric} without", found.unconstrained),
        (f"{found.metric} at the least", found.least),
        ("quality lost", found.quality_lost),
    ):
        if estimate is not None:
            numbers = (estimate.value, estimate.lower or 0.0, estimate.upper or 0.0)
            table.add_row(what, *(f"{number:.6g}" for number in numbers))
    share = ", ".join(f"{arm} {part:.1%}" for arm, part in found.share.items())
    lines = [
        f"cost weight {found.weight:g}, exploration {found.exploration}; {share}",
        f"{found.metric} by {found.basis}",
        *(f"note: {line}" for line in remarks_on(found)),
    ]
    return Group(table, *lines)
