"""How closely the online tracker holds a budget when the traffic shifts, on recorded outcomes.

    python benchmarks/budget_tracking.py TABLE... [--budget "steps<=1.85"] [--seeds 20]

A policy is trained on the table's train split. Its test rows come as traffic: 3,000 requests about
the datasets of single facts, then 5,000 about the others. Each is decided by the service's own
`Decider`, with exploration; what its arm really took is told ten requests later. The weight to
start from is calibrated on train rows of the first datasets.

Deviations are of the mean of 1,000 consecutive requests from the budget, the worst of all 4,001
windows that begin after the shift: of what was drawn, and of what was to be expected given the
probabilities. `fixed` keeps the first weight, `hindsight` has the one weight that is right for the
traffic after the shift. Intervals are 95 %, over seeds (Student's t).
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import platform
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from policies.budget import BudgetSettings, Limit, parse_limit
from policies.exploration import Exploration
from policies.policy import utilities
from policies.retrieval_rate import RETRIEVAL_RATE, with_retrieval_rate
from policies.settings import ArmSettings
from policies.spend_curve import Queries, spend_curve
from router.api.schemas import RouteRequest
from router.deciding.decider import Decider
from router.serving_policy import fit_to_service
from router.settings import Settings
from training.fit.trained_policy import train_on_outcomes
from training.tables.outcomes import OutcomeTable, read_outcomes
from training.tables.query_features import QueryFeatures, query_features
from training.tables.warm_start import warm_start_of

Floats = NDArray[np.float64]
BEFORE, AFTER, WINDOW = 3_000, 5_000, 1_000
SINGLE_FACTS = ("nq", "squad", "trivia")
IN_FLIGHT = 10
ROUTES = {"none": "finetuned", "single": "retrieve", "multi": "retrieve"}
HEADINGS = (
    "table",
    "budget",
    "weight",
    "worst window, drawn",
    "of all seeds",
    "worst window, expected",
    "windows within 2 %",
    "quality after",
    "tracker, µs a decision",
)


class World:
    """A table's test rows, and a policy trained on its train rows."""

    def __init__(self, path: Path) -> None:
        train, self.table = (read_outcomes([path], split=split) for split in ("train", "test"))
        seen = query_features(train.queries, "static")
        self.name = path.name.split(".")[0]
        self.features = query_features(self.table.queries, "static")
        self.policy: Any = train_on_outcomes(warm_start_of(train, seen), seed=0, source={})
        self.trained = (train, seen)

    def queries(self, features: QueryFeatures, limit: Limit) -> Queries:
        """What the policy expects of queries."""
        retrieves = [ROUTES[arm] == "retrieve" for arm in self.policy.arms]
        expected, metrics = with_retrieval_rate(
            self.policy.expected(features.matrix), self.policy.metrics, retrieves
        )
        liked = utilities(expected, metrics, {"quality": 1.0})
        costs = expected[:, :, metrics.index(limit.metric)]
        return Queries(liked, costs, np.ones(liked.shape, dtype=np.bool_))

    def weight(self, limit: Limit, *, before: bool) -> float:
        """The weight that meets the budget: before the shift on train rows, after it on test."""
        table, features = self.trained if before else (self.table, self.features)
        phase = phase_rows(table, before)
        found = self.queries(features, limit)
        curve = spend_curve(
            Queries(*(part[phase] for part in found)),
            Exploration(),
            points=200,
            prices=outcomes(table, limit.metric)[phase],
        )
        return curve.weight_for(limit.at_most)


def outcomes(table: OutcomeTable, metric: str) -> Floats:
    """(n, A) what each arm really took."""
    if metric == RETRIEVAL_RATE:
        retrieves = [float(ROUTES[arm] == "retrieve") for arm in table.arms]
        return np.tile(retrieves, (len(table), 1))
    return table.values[:, :, table.metrics.index(metric)]


def phase_rows(table: OutcomeTable, before: bool) -> NDArray[np.intp]:
    """The rows of the datasets before the shift, or after it."""
    return np.flatnonzero([(name in SINGLE_FACTS) == before for name in table.datasets])


class Served(NamedTuple):
    """The arm drawn of each request (n,), the probabilities (n, A), the tracker's own µs."""

    drawn: NDArray[np.intp]
    probabilities: Floats
    micros: float


def fixed(
    world: World, limit: Limit, weight: float, rows: NDArray[np.intp], rng: np.random.Generator
) -> Served:
    """One weight for all requests."""
    found = world.queries(world.features, limit)
    probabilities = found.probabilities(weight, Exploration())[rows]
    drawn = (rng.random(len(rows))[:, None] > probabilities.cumsum(axis=1)).sum(axis=1)
    return Served(drawn, probabilities, np.nan)


class KnownFeatures:
    """The featurizer of queries whose features are known: encoding isn't what is measured."""

    def __init__(self, table: OutcomeTable, features: QueryFeatures) -> None:
        self.version, self.dimension = features.version, features.matrix.shape[1]
        self._rows = dict(zip(table.queries, features.matrix, strict=True))

    def features(self, queries: list[str]) -> NDArray[np.float32]:
        """(n, d)."""
        return np.stack([self._rows[query] for query in queries])


def tracked(
    world: World, limit: Limit, weight: float, rows: NDArray[np.intp], rng: np.random.Generator
) -> Served:
    """The service's own decisions, by the name of a budget."""
    settings = Settings(
        arms={arm: ArmSettings(route=ROUTES[arm]) for arm in world.table.arms},
        budgets={"it": BudgetSettings(metric=limit.metric, at_most=limit.at_most, weight=weight)},
    )
    featurizer: Any = KnownFeatures(world.table, world.features)
    ids = iter(rng.integers(2**63, size=len(rows)).tolist())
    decider = Decider(settings, featurizer, new_id=lambda: str(next(ids)))
    serving = fit_to_service(
        world.policy,
        decider.arms,
        featurizer.version,
        featurizer.dimension,
        Exploration(),
        promoted=True,
    )
    spends = outcomes(world.table, limit.metric)
    flight: deque[tuple[str, dict[str, float]]] = deque()
    drawn, probabilities = np.zeros(len(rows), dtype=np.intp), []
    timed = timing(decider.budgets, ("decided", "measured"))
    for step, row in enumerate(rows):
        request = RouteRequest(query=world.table.queries[row], objective="it")
        [decision] = decider.decide([request], serving)
        drawn[step] = world.table.arms.index(decision.event.arm)
        probabilities.append(decision.event.probabilities)
        cost = {limit.metric: float(spends[row, drawn[step]])}
        flight.append((decision.event.decision_id, cost))
        if len(flight) > IN_FLIGHT:
            decider.budgets.measured(*flight.popleft())
    return Served(drawn, np.array(probabilities), 1e6 * timed() / len(rows))


def timing(owner: object, methods: tuple[str, ...]) -> Callable[[], float]:
    """Time an object's methods from now on; gives their seconds together."""
    seconds = [0.0]

    def of(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began = time.thread_time()
            result = method(*arguments)
            seconds[0] += time.thread_time() - began
            return result

        return call

    for name in methods:
        setattr(owner, name, of(getattr(owner, name)))
    return lambda: seconds[0]


def run(
    world: World, limit: Limit, serve: Callable[..., Served], weight: float, seed: int
) -> list[float]:
    """The worst deviations, of what was drawn and of what was to be expected, the share of windows
    within 2 %, the quality after the shift, and the tracker's µs.
    """
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [
            rng.choice(phase_rows(world.table, before), size)
            for before, size in ((True, BEFORE), (False, AFTER))
        ]
    )
    served = serve(world, limit, weight, rows, rng)
    spends = outcomes(world.table, limit.metric)[rows]
    qualities = outcomes(world.table, "quality")[rows, served.drawn]
    drawn = deviations(spends[np.arange(len(rows)), served.drawn], limit)
    meant = deviations((spends * served.probabilities).sum(axis=1), limit)
    within = float((drawn <= 0.02).mean())
    return [drawn.max(), meant.max(), within, qualities[BEFORE:].mean(), served.micros]


def deviations(spends: Floats, limit: Limit) -> Floats:
    """By how much of the budget the mean of each window after the shift is off."""
    total = np.concatenate([[0.0], spends[BEFORE:].cumsum()])
    return np.abs((total[WINDOW:] - total[:-WINDOW]) / WINDOW / limit.at_most - 1.0)


def interval(values: Floats, digits: int = 2) -> str:
    """Mean and 95 % interval over seeds."""
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


def report(world: World, limit: Limit, seeds: int) -> None:
    """Three rows of the table."""
    first, right = (world.weight(limit, before=before) for before in (True, False))
    for label, serve, weight in (
        ("tracked", tracked, first),
        ("fixed", fixed, first),
        ("hindsight", fixed, right),
    ):
        runs = np.array([run(world, limit, serve, weight, seed) for seed in range(seeds)])
        drawn, meant, within, quality, micros = runs.T
        cells = (
            world.name,
            str(limit),
            label,
            f"{interval(100 * drawn)} %",
            f"{100 * drawn.max():.2f} %",
            f"{interval(100 * meant)} %",
            f"{100 * within.mean():.1f} %",
            interval(quality, 4),
            "–" if np.isnan(micros).any() else f"{np.median(micros):.1f}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Run every table and budget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--budget", action="append", type=parse_limit)
    parser.add_argument("--seeds", type=int, default=20)
    asked = parser.parse_args()
    shown = (f'"{text}"' if "<" in text else Path(text).name for text in sys.argv[1:])
    print(f"$ python benchmarks/budget_tracking.py {' '.join(shown)}")
    machine = f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}, seeds 0..{asked.seeds - 1}\n")
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
    for path in asked.tables:
        world = World(path)
        for limit in asked.budget or [Limit("steps", 1.85), Limit(RETRIEVAL_RATE, 0.4)]:
            report(world, limit, asked.seeds)


if __name__ == "__main__":
    main()
