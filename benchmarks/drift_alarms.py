"""How rarely the drift tests alarm falsely, and how soon they find real shifts.

    python benchmarks/drift_alarms.py LLAMA_TABLE OTHER_TABLE [--streams 1000] [--shifts 40]

Two outcome tables over the same questions, by two models. Null streams are made of the first
table's questions in random order, of draws from a trained policy's own probabilities, and of
outcomes drawn from its own expectations; the share that alarms is printed with its 95 % interval
(Wilson) beside the stated rate. Shifts: a dataset that training never saw comes in; draws take the
likeliest arm; the answers become the other model's. Their delay is counted in decisions, over as
many seeds as --shifts says.
"""

import argparse
import dataclasses
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np

from policies.exploration import Exploration, arm_probabilities
from policies.novelty import KnownQueries
from policies.policy import utilities
from policies.sequential.feature_drift import FeatureDrift
from training.fit.folds import group_numbers
from training.fit.known_queries import fit_known_queries
from training.fit.trained_policy import train_on_outcomes
from training.log.rounds import LoggedRounds, RoundCounts
from training.report.drift import expectation_drift, propensity_drift
from training.report.feature_shift import feature_shift
from training.tables.outcomes import OutcomeTable, read_outcomes
from training.tables.query_features import query_features
from training.tables.warm_start import warm_start_of

RATE, ALPHA = 0.05, 0.005
KNOWN, QUIET, AFTER = 1_500, 1_000, 1_000
FOREIGN = {
    "code": [
        "def f(x):\n  return x + 1",
        "SELECT a FROM b WHERE c = 1;",
        "for (int i = 0; i < n; i++) { sum += a[i]; }",
        "import numpy as np\nx = np.zeros(3)\nprint(x)",
        "const a = () => { return fetch('/x') };",
        "kubectl get pods -n prod | grep Crash",
        "Traceback (most recent call last): KeyError: 'a'",
        "<div class='a'><p>hi</p></div>",
    ],
    "other languages": [
        "¿Cuándo nació el director de la película?",
        "Wie heißt die Hauptstadt von Australien?",
        "Quelle est la capitale de la France ?",
        "Кто написал «Войну и мир»?",
        "日本の首都はどこですか",
        "من هو رئيس مصر؟",
        "Chi ha dipinto la Gioconda?",
        "Qual é a maior cidade do Brasil?",
    ],
    "chat": [
        "hi there",
        "thanks, that worked",
        "write me a poem about the sea",
        "can you make this more formal: hey boss gonna be late",
        "translate 'good morning' into French",
        "my printer won't print",
        "rewrite this email in a friendly tone",
        "what should I cook tonight with eggs and rice",
    ],
}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--shifts", type=int, default=40)
    given = parser.parse_args()
    began = time.time()
    world = World(given.table, given.other)
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    print(f"\nfalse alarms in {given.streams:,} null streams each, at a stated rate of {RATE}")
    for name, null in world.nulls().items():
        share_line(name, [null(np.random.default_rng(seed)) for seed in range(given.streams)])
    print(f"\nqueries flagged at alpha = {ALPHA}")
    for name, shares in world.flagged(np.random.default_rng(0)):
        print(f"  {name:<58}{np.mean(shares):8.2%}")
    print(
        f"\ndecisions until the alarm after a shift, {given.shifts} seeds; it comes after {QUIET:,}"
    )
    for name, shift in world.shifts().items():
        delay_line(name, [shift(np.random.default_rng(seed)) for seed in range(given.shifts)])
    print(f"\n{time.time() - began:.0f} s")


def share_line(name: str, alarms: list[bool]) -> None:
    """The share of alarms with Wilson's interval."""
    n, p, z = len(alarms), float(np.mean(alarms)), 1.96
    centre, spread = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (max(centre + sign * spread, 0.0) / (1 + z * z / n) for sign in (-1, 1))
    print(f"  {name:<50}{p:8.3f}  [{low:.3f}, {high:.3f}]", flush=True)


def delay_line(name: str, delays: list[float]) -> None:
    """Found, early alarms, and the delay's quartiles among those found after the shift."""
    found = [delay for delay in delays if 0 < delay < np.inf]
    early = sum(delay <= 0 for delay in delays)
    quartiles = np.percentile(found, [25, 50, 75]) if found else [np.nan] * 3
    cells = " / ".join(f"{value:.0f}" for value in quartiles)
    print(f"  {name:<50}{len(found)}/{len(delays)} found, {early} early, {cells}", flush=True)


class World:
    """The tables' questions, and a policy trained on the first one's train rows."""

    def __init__(self, table: Path, other: Path) -> None:
        self.table, self.other = read_outcomes([table]), read_outcomes([other])
        self.features = query_features(self.table.queries, "static").matrix
        self.datasets = np.array(self.table.datasets)
        train = read_outcomes([table], split="train")
        rows = warm_start_of(train, query_features(train.queries, "static"))
        self.policy = train_on_outcomes(rows, seed=0, source={})
        self.test = np.flatnonzero(~np.isin(self.table.ids, train.ids))

    def nulls(self) -> dict[str, Callable[[np.random.Generator], bool]]:
        """By name, whether one null stream alarms."""
        return {
            "draws against propensities": lambda rng: any(
                test.alarm
                for test in propensity_drift(self.rounds(self.any(2_000, rng), rng), RATE)
            ),
            "metrics against expectations, drawn from them": lambda rng: any(
                test.alarm
                for test in expectation_drift(
                    self.expected_outcomes(self.any(2_000, rng), rng), RATE
                )
            ),
            "metrics against expectations, recorded test rows": lambda rng: any(
                test.alarm
                for test in expectation_drift(
                    self.rounds(rng.choice(self.test, 2_000, replace=False), rng), RATE
                )
            ),
            "later queries against earlier": lambda rng: any(
                test.alarm for test in feature_shift(self.rounds(self.any(1_500, rng), rng), RATE)
            ),
            "queries against training rows": self.query_alarm,
        }

    def shifts(self) -> dict[str, Callable[[np.random.Generator], float]]:
        """By name, the delay of one alarm: at most 0 if it came early, infinite if not at all."""
        shifts: dict[str, Callable[[np.random.Generator], float]] = {}
        for part in (1.0, 0.5, 0.2):
            for dataset in sorted(set(self.datasets)):
                name = f"queries: {part:.0%} are of {dataset}"
                shifts[name] = lambda rng, d=dataset, p=part: self.new_dataset(rng, d, p)
        for part in (0.5, 0.25, 0.1):
            name = f"draws: {part:.0%} take the likeliest arm"
            shifts[name] = lambda rng, p=part: self.lost_draws(rng, p)
        shifts["expectations: answers become the other model's"] = self.other_model
        return shifts

    def any(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n of all questions, in random order."""
        return rng.permutation(len(self.features))[:n]

    def query_alarm(self, rng: np.random.Generator) -> bool:
        """Whether questions like the training ones alarm."""
        rows = self.any(KNOWN + 2_000, rng)
        drift = self.watch(rows[:KNOWN], rng)
        drift.observe(self.features[rows[KNOWN:]])
        return drift.test.alarmed_at is not None

    def watch(self, rows: np.ndarray, rng: np.random.Generator) -> FeatureDrift:
        """A test against these training rows."""
        seed = int(rng.integers(2**31))
        return FeatureDrift(KnownQueries(fit_known_queries(self.features[rows], seed)), RATE, seed)

    def new_dataset(self, rng: np.random.Generator, dataset: str, part: float) -> float:
        """A dataset that training never saw takes part of the traffic."""
        own = rng.permutation(np.flatnonzero(self.datasets != dataset))
        foreign = rng.permutation(np.flatnonzero(self.datasets == dataset))[: int(part * AFTER)]
        drift = self.watch(own[:KNOWN], rng)
        quiet, rest = own[KNOWN : KNOWN + QUIET], own[KNOWN + QUIET :]
        after = rng.permutation(np.concatenate([foreign, rest[: AFTER - len(foreign)]]))
        drift.observe(self.features[np.concatenate([quiet, after])])
        return delay(drift.test.alarmed_at)

    def lost_draws(self, rng: np.random.Generator, part: float) -> float:
        """Part of the draws take the likeliest arm, and are logged as if they were drawn."""
        rounds = self.rounds(self.any(5_000, rng), rng)
        lost = (np.arange(5_000) >= QUIET) & (rng.random(5_000) < part)
        action = np.where(lost, rounds.probabilities.argmax(axis=1), rounds.action)
        [test] = propensity_drift(dataclasses.replace(rounds, action=action), RATE)
        return test.since - QUIET + 1 if test.since is not None else np.inf

    def other_model(self, rng: np.random.Generator) -> float:
        """Outcomes become the other table's: its questions are the same, its model isn't."""
        rows = rng.permutation(self.test)
        row_of = {name: row for row, name in enumerate(self.other.ids)}
        theirs = np.array([row_of[self.table.ids[row]] for row in rows[QUIET:]])
        rounds = self.rounds(rows, rng)
        arms = [self.other.arms.index(arm) for arm in rounds.arms]
        quality = quality_of(self.other)[theirs][:, arms]
        values = rounds.values.copy()
        values[QUIET:, 0] = quality[np.arange(len(theirs)), rounds.action[QUIET:]]
        tests = expectation_drift(dataclasses.replace(rounds, values=values), RATE)
        alarms = [test.since for test in tests if test.since is not None]
        return min(alarms) - QUIET + 1 if alarms else np.inf

    def rounds(self, rows: np.ndarray, rng: np.random.Generator) -> LoggedRounds:
        """The policy, with SquareCB, on these rows of the first table: one a second."""
        n, arms = len(rows), self.policy.arms
        expected = self.policy.expected(self.features[rows])
        quality = self.policy.metrics.index("quality")
        value = utilities(expected, self.policy.metrics, {"quality": 1.0})
        eligible = np.ones((n, len(arms)), dtype=np.bool_)
        p = arm_probabilities(value, eligible, Exploration())
        action = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, len(arms) - 1)
        order = [self.table.arms.index(arm) for arm in arms]
        hashes = np.array([str(row) for row in rows], dtype=object)
        empty = np.full(n, "", dtype=object)
        return LoggedRounds(
            decision_ids=hashes,
            at=np.arange(n, dtype=np.float64),
            tenants=empty,
            query_hashes=hashes,
            groups=group_numbers(hashes.tolist()),
            features=self.features[rows],
            feature_version="",
            arms=arms,
            action=action,
            pscore=p[np.arange(n), action],
            probabilities=p,
            eligible=eligible,
            metrics=("quality",),
            values=quality_of(self.table)[rows][:, order][np.arange(n), action][:, None],
            expected=expected[:, :, quality : quality + 1],
            weights=np.ones((n, 1)),
            policy_versions=np.full(n, "trained", dtype=object),
            attributes=np.array([{} for _ in rows], dtype=object),
            audited=np.zeros(n, dtype=np.bool_),
            out_of_distribution=np.zeros(n, dtype=np.bool_),
            candidates=empty,
            candidate_probabilities=np.zeros((n, len(arms))),
            candidate_share=np.zeros(n),
            counts=_NO_COUNTS,
        )

    def expected_outcomes(self, rows: np.ndarray, rng: np.random.Generator) -> LoggedRounds:
        """Rounds whose outcomes are drawn from what the policy expects of them."""
        rounds = self.rounds(rows, rng)
        chances = rounds.expected[np.arange(len(rows)), rounds.action, 0]
        values = (rng.random(len(rows)) < chances).astype(np.float64)
        return dataclasses.replace(rounds, values=values[:, None])

    def flagged(self, rng: np.random.Generator) -> Iterator[tuple[str, list[float]]]:
        """Shares of queries flagged: of the training datasets, of one left out, of foreign ones."""
        inside: list[float] = []
        outside: dict[str, list[float]] = {}
        for _ in range(20):
            rows = self.any(len(self.features), rng)
            known = self.known(rows[: len(rows) // 2], rng)
            inside.append(flagged_share(known, self.features[rows[len(rows) // 2 :]]))
            for name, matrix in foreign_features(rng):
                outside.setdefault(name, []).append(flagged_share(known, matrix))
            for dataset in sorted(set(self.datasets)):
                half = rows[: len(rows) // 2]
                known_others = self.known(half[self.datasets[half] != dataset], rng)
                share = flagged_share(known_others, self.features[self.datasets == dataset])
                outside.setdefault(f"{dataset}, left out of training", []).append(share)
        yield "questions of the training datasets", inside
        yield from outside.items()

    def known(self, rows: np.ndarray, rng: np.random.Generator) -> KnownQueries:
        """What a policy trained on these rows would know."""
        return KnownQueries(fit_known_queries(self.features[rows], int(rng.integers(2**31))))


def quality_of(table: OutcomeTable) -> np.ndarray:
    """(n, A) the table's quality."""
    return table.values[:, :, table.metrics.index("quality")]


def flagged_share(known: KnownQueries, features: np.ndarray) -> float:
    """The share of queries with a p-value of at most ALPHA."""
    return float((known.p_values(features) <= ALPHA).mean())


def foreign_features(rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Texts of other kinds than questions about facts."""
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz0123456789 #$%"))
    noise = ["".join(rng.choice(letters, 60)) for _ in range(20)]
    pasted = ["Summarise this page for me. " + "It says that things are as they are. " * 60]
    for name, texts in {**FOREIGN, "random letters": noise, "a pasted page": pasted}.items():
        yield name, query_features(texts, "static").matrix


def delay(alarmed_at: int | None) -> float:
    """Observations after the shift until the alarm."""
    return np.inf if alarmed_at is None else alarmed_at - QUIET


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

if __name__ == "__main__":
    main()
