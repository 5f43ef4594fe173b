"""Sends a world's traffic through a running service, gives feedback, and keeps score."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from policies.errors import ArmError
from policies.objective import CUSTOM, Objective
from training.simulation import Floats, Traffic
from training.simulation.client import RouterClient

BATCH = 64
_FEEDBACK_A_POST = 256


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Mean rewards under one objective, on the same queries.

    `standard_error` is that of `served`. `oracle` takes each query's best arm: a bound that no
    policy that sees only the query can be expected to reach on recorded outcomes.
    """

    decisions: int
    feedback: int
    objective: dict[str, float]
    served: float
    standard_error: float
    random: float
    best_fixed: float
    best_fixed_arm: str
    oracle: float
    arms: dict[str, float]
    share: dict[str, float]
    explored: float
    policies: dict[str, int]


def run_traffic(
    client: RouterClient,
    traffic: Traffic,
    objective: Objective,
    rng: np.random.Generator,
    *,
    tenant: str = "",
    explore: bool = True,
    feedback_rate: float = 1.0,
    advance: Callable[[int], None] = lambda _: None,
) -> Score:
    """Decide on every query over HTTP, give feedback on what was drawn, and score it.

    Raises:
        ArmError: the service draws an arm that the world doesn't know.
    """
    wanted = objective.weights if objective.name == CUSTOM else objective.name
    drawn: list[int] = []
    explored: list[bool] = []
    policies: Counter[str] = Counter()
    told = 0
    for start in range(0, len(traffic.queries), BATCH):
        queries = traffic.queries[start : start + BATCH]
        decisions = client.route(
            [
                {"query": query, "objective": wanted, "explore": explore, "tenant": tenant}
                for query in queries
            ]
        )
        values: list[dict[str, Any]] = []
        for row, decision in enumerate(decisions, start=start):
            if decision["arm"] not in traffic.arms:
                raise ArmError(
                    f"the service draws {decision['arm']!r}, the world knows the arms "
                    f"{', '.join(traffic.arms)}: start the service with a configuration of these "
                    "arms (for the recorded tables, examples/recorded-arms.toml)"
                )
            arm = traffic.arms.index(decision["arm"])
            drawn.append(arm)
            explored.append(decision["explored"])
            policies[f"{decision['policy']['name']} {decision['policy']['version']}"] += 1
            if rng.random() < feedback_rate:
                values += _feedback(decision["decision_id"], traffic, row, arm)
        for first in range(0, len(values), _FEEDBACK_A_POST):
            client.give_feedback(values[first : first + _FEEDBACK_A_POST])
        told += len(values)
        advance(len(queries))
    return _score(traffic, objective.weights, np.array(drawn), explored, policies, told)


def _feedback(decision_id: str, traffic: Traffic, row: int, arm: int) -> list[dict[str, Any]]:
    return [
        {"decision_id": decision_id, "metric": metric, "value": value, "source": "simulation"}
        for metric, value in zip(traffic.metrics, traffic.outcomes[row, arm].tolist(), strict=True)
        if np.isfinite(value)
    ]


def rewards(traffic: Traffic, weights: Mapping[str, float]) -> Floats:
    """(n, A) mean reward of each arm on each query; weights on metrics the world lacks count 0."""
    vector = np.array([weights.get(metric, 0.0) for metric in traffic.metrics])
    return np.asarray(traffic.means @ vector)


def _score(
    traffic: Traffic,
    weights: Mapping[str, float],
    drawn: Any,
    explored: Sequence[bool],
    policies: Mapping[str, int],
    told: int,
) -> Score:
    table = rewards(traffic, weights)
    served = table[np.arange(len(drawn)), drawn]
    by_arm = table.mean(axis=0)
    counts = np.bincount(drawn, minlength=len(traffic.arms)) / len(drawn)
    return Score(
        decisions=len(drawn),
        feedback=told,
        objective=dict(weights),
        served=float(served.mean()),
        standard_error=float(served.std(ddof=1) / np.sqrt(len(served))) if len(served) > 1 else 0.0,
        random=float(by_arm.mean()),
        best_fixed=float(by_arm.max()),
        best_fixed_arm=traffic.arms[int(by_arm.argmax())],
        oracle=float(table.max(axis=1).mean()),
        arms=dict(zip(traffic.arms, by_arm.tolist(), strict=True)),
        share=dict(zip(traffic.arms, counts.tolist(), strict=True)),
        explored=float(np.mean(explored)),
        policies=dict(policies),
    )
