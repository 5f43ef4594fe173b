"""Budgets: a metric that may cost so much on average, and the weight that makes a policy keep it.

A budget turns an objective into another by one number, the cost weight: the Lagrange multiplier of
"as good as possible, subject to this metric's mean being at most so much". The weights stay what a
request is served and logged with; nothing of a budget is in a policy.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from policies.errors import ObjectiveError
from policies.objective import MAX_WEIGHT

_LIMIT = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*<=\s*(\S+)\s*")


class Limit(NamedTuple):
    """What a metric's mean may be at most."""

    metric: str
    at_most: float

    def __str__(self) -> str:
        return f"{self.metric}<={self.at_most:g}"


class BudgetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[budgets.NAME]` table: an objective whose mean `metric` is held at `at_most`.

    `weight` is the cost weight to begin with, as `rag-policy calibrate` finds it; `window` is the
    number of requests over which the mean is held.
    """

    metric: str
    at_most: float
    objective: str = "quality"
    weight: float = 0.0
    window: int = 1000

    def __post_init__(self) -> None:
        if not 0.0 < self.at_most < math.inf:
            raise ValueError(f"at_most must be positive and finite, not {self.at_most}")
        if not 0.0 <= self.weight <= MAX_WEIGHT:
            raise ValueError(f"weight must lie in 0..{MAX_WEIGHT:g}, not at {self.weight}")
        if not 100 <= self.window <= 1_000_000:
            raise ValueError(f"window must lie in 100..1000000 requests, not at {self.window}")


def parse_limit(text: str) -> Limit:
    """The limit in `METRIC<=NUMBER`, such as `cost_usd<=0.002`.

    Raises:
        ObjectiveError: it is no such text, or the number isn't positive and finite.
    """
    found = _LIMIT.fullmatch(text)
    try:
        limit = Limit(found[1], float(found[2])) if found else None
    except ValueError:
        limit = None
    if limit is None or not 0.0 < limit.at_most < math.inf:
        raise ObjectiveError(
            f"{text!r} is no budget: give METRIC<=NUMBER with a positive number, such as "
            '"cost_usd<=0.002" or "retrieval_rate<=0.4"',
            field="budget",
        )
    return limit


def with_cost_weight(weights: Mapping[str, float], metric: str, weight: float) -> dict[str, float]:
    """An objective's weights, each unit of the metric costing `weight` more."""
    return {**weights, metric: weights.get(metric, 0.0) - weight}
