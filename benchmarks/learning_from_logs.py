"""What is learned from logs alone, against what full information would have taught.

    python benchmarks/learning_from_logs.py share     --outcomes TABLE.jsonl.gz [TABLE ...]
    python benchmarks/learning_from_logs.py incumbent --outcomes TABLE.jsonl.gz [TABLE ...]

`share`: a policy is trained on all outcomes of the train rows, another on 4,000 uniformly logged
decisions about them (passes over the rows in random order, one arm's outcome each, as
`rag-policy replay` makes them). A policy's gain is its true value on the test rows, which neither
has seen, less the value of the arm that is best there for the objective. The share kept is the sum
of the logged gains over tables and objectives, divided by the sum of the full-information gains:
for one table and objective the denominator can be nothing but noise. A second share measures both
from the logger, a random arm. Objectives: quality, quality − 0.01 · steps, quality − 0.02 · steps;
fixed before the test rows were looked at, but after splits of the train rows had shown that at 0.05
even full information gains nothing.

`incumbent`: always the arm that is best on the train rows, but for a tenth of uniform draws, logs
decisions; a policy is trained on the earlier ones and the gate judges it by the latest. What serves
afterwards is the policy where the gate promotes it and the incumbent elsewhere; its true value on
the test rows less the incumbent's, over seeds.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from policies.policy import Policy
from training.fit.trained_policy import train_on_outcomes, train_on_rounds
from training.judge.gate import judge
from training.log.join import join_rounds
from training.log.log_files import Log, answers_table, decisions_table, feedback_table
from training.log.replay import Logger, best_fixed_arm, epsilon_logger, uniform_logger
from training.log.replay import replay as replayed
from training.log.rounds import LoggedRounds
from training.tables.outcomes import OutcomeTable, read_outcomes
from training.tables.query_features import QueryFeatures, query_features
from training.tables.warm_start import warm_start_of

Weights = Mapping[str, float]
QUALITY: Weights = {"quality": 1.0}
OBJECTIVES: tuple[Weights, ...] = (
    QUALITY,
    {"quality": 1.0, "steps": -0.01},
    {"quality": 1.0, "steps": -0.02},
)
METRICS = ("quality", "steps")
EPSILON = 0.1


class Split(NamedTuple):
    """Rows of a table, their outcomes cut down to METRICS, and their features."""

    table: OutcomeTable
    features: QueryFeatures


class Task(NamedTuple):
    """A table's train rows to learn from and its test rows to be judged on."""

    name: str
    train: Split
    test: Split


def read_task(path: Path) -> Task:
    """Both splits of a table."""
    return Task(path.name.split(".")[0], _split(path, "train"), _split(path, "test"))


def _split(path: Path, name: str) -> Split:
    table = read_outcomes([path], split=name)
    keep = [table.metrics.index(metric) for metric in METRICS]
    table = replace(table, metrics=METRICS, values=table.values[:, :, keep])
    return Split(table, query_features(table.queries))


def rounds_of(split: Split, logger: Logger, n: int, seed: int) -> LoggedRounds:
    """n decisions of the logger as `rag-policy replay` logs and `train` joins them."""
    events = list(replayed(*split, logger, n=n, seed=seed, objective="quality", weights=QUALITY))
    log = Log(
        decisions=decisions_table([decision for decision, _ in events]),
        answers=answers_table([]),
        feedback=feedback_table([value for _, values in events for value in values]),
        duplicates={},
        superseded=0,
    )
    return join_rounds(log, source=Path("replay"), arms=split.table.arms)


def gain(policy: Policy, test: Split, weights: Weights) -> float:
    """The policy's true value, greedily, less the best fixed arm's."""
    value = _utilities(test, weights)
    expected = policy.expected(test.features.matrix)
    vector = np.array([weights.get(metric, 0.0) for metric in policy.metrics])
    columns = [policy.arms.index(arm) for arm in test.table.arms]
    chosen = (expected[:, columns] @ vector).argmax(axis=1)
    taken = value[np.arange(len(value)), chosen].mean()
    return float(taken - value.mean(axis=0).max())


def _utilities(split: Split, weights: Weights) -> np.ndarray:
    vector = np.array([weights.get(metric, 0.0) for metric in METRICS])
    return np.asarray(split.table.values @ vector)


def from_random(test: Split, weights: Weights) -> float:
    """The best fixed arm's value less that of a random arm."""
    means = _utilities(test, weights).mean(axis=0)
    return float(means.max() - means.mean())


def share_kept(tasks: list[Task], n: int, seeds: int) -> dict[str, object]:
    """Gains by table and objective, and the shares with standard errors over seeds."""
    full = np.array([[gain(_full(task), task.test, w) for w in OBJECTIVES] for task in tasks])
    above = np.array([[from_random(task.test, w) for w in OBJECTIVES] for task in tasks])
    logged = np.empty((seeds, *full.shape))
    for seed in range(seeds):
        for t, task in enumerate(tasks):
            print(f"{task.name}, seed {seed} …", file=sys.stderr, flush=True)
            rounds = rounds_of(task.train, uniform_logger(task.train.table), n, seed)
            policy = train_on_rounds(rounds, seed=seed)
            logged[seed, t] = [gain(policy, task.test, w) for w in OBJECTIVES]
    shares = logged.sum(axis=(1, 2)) / full.sum()
    over_random = (logged + above).sum(axis=(1, 2)) / (full + above).sum()
    return {
        "tables": [task.name for task in tasks],
        "objectives": [dict(weights) for weights in OBJECTIVES],
        "n": n,
        "full_information": full.tolist(),
        "logged_mean": logged.mean(axis=0).tolist(),
        "logged_standard_error": _error(logged).tolist(),
        "share": _summary(shares),
        "share_over_random": _summary(over_random),
    }


def _full(task: Task) -> Policy:
    return train_on_outcomes(warm_start_of(*task.train), seed=0, source={})


def _error(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def _summary(shares: np.ndarray) -> dict[str, float]:
    return {"mean": float(shares.mean()), "standard_error": float(_error(shares))}


def after_the_gate(tasks: list[Task], n: int, seeds: int) -> list[dict[str, object]]:
    """For each table, what is served after training and judging on one log, a seed each."""
    rows: list[dict[str, object]] = []
    for task in tasks:
        incumbent = best_fixed_arm(task.train.table)
        ungated, gated = np.empty(seeds), np.zeros(seeds)
        promoted = 0
        value = _utilities(task.test, QUALITY)
        behind = value.mean(axis=0)[incumbent] - value.mean(axis=0).max()
        for seed in range(seeds):
            print(f"{task.name}, seed {seed} …", file=sys.stderr, flush=True)
            logger = epsilon_logger(task.train.table, EPSILON, incumbent)
            rounds = rounds_of(task.train, logger, n, seed)
            policy = train_on_rounds(rounds, holdout=0.3, seed=seed)
            ungated[seed] = gain(policy, task.test, QUALITY) - behind
            if judge(rounds, policy, seed=seed).promote:
                promoted += 1
                gated[seed] = ungated[seed]
        rows.append(
            {
                "table": task.name,
                "n": n,
                "incumbent": task.train.table.arms[incumbent],
                "promoted": promoted,
                "seeds": seeds,
                "ungated": _quantiles(ungated),
                "gated": _quantiles(gated),
                "kept": float((gated >= -0.001).mean()),
            }
        )
    return rows


def _quantiles(values: np.ndarray) -> list[float]:
    """The least, the 5 %, 50 % and 95 % quantiles, and the greatest."""
    return [float(q) for q in np.quantile(values, [0.0, 0.05, 0.5, 0.95, 1.0])]


def show_share(found: dict[str, object]) -> None:
    """The table for people."""
    print(f"gain over the best fixed arm on the test rows, {found['n']:,} logged decisions")
    for t, table in enumerate(found["tables"]):
        for o, weights in enumerate(found["objectives"]):
            objective = " ".join(f"{weight:+g}·{metric}" for metric, weight in weights.items())
            full = found["full_information"][t][o]
            mean, error = found["logged_mean"][t][o], found["logged_standard_error"][t][o]
            print(f"{table:26} {objective:24} full {full:+.4f}   logged {mean:+.4f} ± {error:.4f}")
    for name, what in (("share", "the best fixed arm"), ("share_over_random", "a random arm")):
        share = found[name]
        print(
            f"share kept of the gain over {what}: "
            f"{share['mean']:.0%} ± {share['standard_error']:.0%} (s.e. over seeds)"
        )


def show_incumbent(rows: list[dict[str, object]]) -> None:
    """The table for people."""
    print("true quality on the test rows less the incumbent's: least, 5 %, 50 %, 95 %, greatest")
    for row in rows:
        print(
            f"{row['table']:26} n={row['n']:,} always {row['incumbent']}, "
            f"{row['promoted']} of {row['seeds']} promoted; "
            f"at least −.001 after the gate in {row['kept']:.0%}"
        )
        for name in ("ungated", "gated"):
            print(f"    {name:8}" + "  ".join(f"{value:+.4f}" for value in row[name]))


def main() -> int:
    """Run one study; exit status 1 where its figure isn't reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=["share", "incumbent"])
    parser.add_argument("--outcomes", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, help="[default: 10 for share, 20 for incumbent]")
    parser.add_argument("--n", type=int, default=4_000, help="logged decisions")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    tasks = [read_task(path) for path in arguments.outcomes]
    if arguments.study == "share":
        found = share_kept(tasks, arguments.n, arguments.seeds or 10)
        reached = found["share"]["mean"] >= 0.65
        print(json.dumps(found)) if arguments.json else show_share(found)
    else:
        rows = after_the_gate(tasks, arguments.n, arguments.seeds or 20)
        reached = all(row["kept"] >= 0.95 for row in rows)
        print(json.dumps(rows)) if arguments.json else show_incumbent(rows)
    return 0 if reached else 1


if __name__ == "__main__":
    raise SystemExit(main())
