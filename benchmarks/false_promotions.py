"""How often the gate promotes where nothing is to be gained, over successive looks.

    python benchmarks/false_promotions.py --outcomes TABLE.jsonl.gz [--logs 1000] [--looks 5]

The null is made from a recorded table: in every drawn row the arms' outcomes change places at
random, so all arms are worth the same for every question, and no policy can be better than the
incumbent. Every log has two parts. On each of `--looks` pieces of the first, drawn uniformly, a
candidate is trained by the project's own training, which finds what it finds in noise. The second
is drawn by the incumbent, one arm but for a share ε of uniform draws, and on it the gate judges the
candidates one after the other, each look at the level that is left for it, until one is promoted.

Printed, with 95 % Clopper-Pearson intervals: logs with any promotion; logs in which any candidate
passed what alpha guards (the advantage and the better choices), whatever the other conditions; the
same at the first look alone; and what it would have been with every look at 2.5 %, uncorrected.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import datetime
import json
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).resolve().parent))

from recorded_logs import Floats, World, draw_log, epsilon_greedy, read_worlds

from policies.policy import Policy
from training.fit.trained_policy import train_on_rounds
from training.judge.conditions import proven
from training.judge.gate import Verdict, judge
from training.judge.looks import alpha_of_look
from training.log.rounds import LoggedRounds

Rows = NDArray[np.intp]
GUARDED = ("advantage", "better choices")


class Outcome(NamedTuple):
    """What happened on one log."""

    promoted: bool
    proven: bool
    proven_first: bool
    proven_uncorrected: bool


def null_world(world: World, rng: np.random.Generator) -> World:
    """The questions with the outcomes of each one's arms in random places."""
    return replace(world, quality=rng.permuted(world.quality, axis=1))


def one_log(
    world: World, looks: int, train: int, test: int, epsilon: float, rng: np.random.Generator
) -> Outcome:
    """Train the candidates and judge them."""
    verdicts = []
    rows = rng.permutation(len(world)) if len(world) >= looks * train + test else None
    logging = epsilon_greedy(world, 0, epsilon)
    uniform = epsilon_greedy(world, 0, 1.0)
    judged = _draw(world, logging, test, rng, None if rows is None else rows[:test])
    judged = replace(judged, at=judged.at + 1e6)
    for look in range(1, looks + 1):
        first = test + (look - 1) * train
        mine = None if rows is None else rows[first : first + train]
        candidate = _candidate(_draw(world, uniform, train, rng, mine), look)
        verdicts.append(judge(judged, candidate, look=look))
    return Outcome(
        promoted=any(verdict.promote for verdict in verdicts),
        proven=any(_proven(verdict) for verdict in verdicts),
        proven_first=_proven(verdicts[0]),
        proven_uncorrected=any(_proven_at_first_level(verdict) for verdict in verdicts),
    )


def _draw(
    world: World, logging: Floats, n: int, rng: np.random.Generator, rows: Rows | None
) -> LoggedRounds:
    """A log of a fresh null: rows are given or random, their outcomes permuted for this log."""
    chosen = rng.integers(0, len(world), n) if rows is None else rows
    return draw_log(null_world(world.rows(chosen), rng), logging[chosen], n, rng, rows=np.arange(n))


def _candidate(rounds: LoggedRounds, seed: int) -> Policy:
    return train_on_rounds(rounds, holdout=0.0, objective=None, seed=seed, source={})


def _proven(verdict: Verdict) -> bool:
    return all(c.passed for c in verdict.conditions if c.name in GUARDED)


def _proven_at_first_level(verdict: Verdict) -> bool:
    """Whether the advantage would have been proven at the first look's level."""
    if verdict.advantage is None:
        return False
    at_first = proven("advantage", verdict.advantage, verdict.rows, alpha_of_look(1))
    return at_first.passed


def interval(count: int, of: int) -> tuple[float, float]:
    """Clopper and Pearson's (1934) 95 % interval of a share."""
    low = float(beta.ppf(0.025, count, of - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, of - count)) if count < of else 1.0
    return low, high


def main() -> None:
    """Run the study and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outcomes", type=Path, action="append", required=True)
    parser.add_argument("--logs", type=int, default=1_000)
    parser.add_argument("--looks", type=int, default=5)
    parser.add_argument("--train", type=int, default=500, help="rounds that each is trained on")
    parser.add_argument("--test", type=int, default=2_400, help="rounds that all are judged on")
    parser.add_argument("--epsilon", type=float, default=0.75, help="the incumbent's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    print(
        f"{arguments.logs:,} logs, {arguments.looks} looks each, {arguments.train:,} rounds to "
        f"train and {arguments.test:,} to judge, ε {arguments.epsilon:g}, seed {arguments.seed}, "
        f"{datetime.date.today()}, {platform.machine()}, Python {platform.python_version()}",
        file=sys.stderr,
    )
    if not arguments.json:
        print("| table | what | logs | of | share | 95 % interval |")
        print("|---|---|---|---|---|---|")
    for path in arguments.outcomes:
        world = both_splits(path, arguments.seed)
        found = [
            one_log(
                world, arguments.looks, arguments.train, arguments.test, arguments.epsilon,
                np.random.default_rng([arguments.seed, number]),
            )
            for number in range(arguments.logs)
        ]  # fmt: skip
        report(path.name.removeprefix("outcomes_").removesuffix(".jsonl.gz"), found, arguments.json)


def both_splits(path: Path, seed: int) -> World:
    """All of a table's questions: under the null there is nothing to leak."""
    parts = read_worlds(path, seed)
    return World(
        parts[0].arms,
        np.concatenate([part.features for part in parts]),
        parts[0].feature_version,
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.datasets for part in parts]),
        np.concatenate([part.quality for part in parts]),
    )


def report(table: str, found: list[Outcome], as_json: bool) -> None:
    """Print a table's rows."""
    for name in Outcome._fields:
        count = sum(getattr(outcome, name) for outcome in found)
        low, high = interval(count, len(found))
        row = {"table": table, "what": name, "count": count, "of": len(found)}
        if as_json:
            print(json.dumps({**row, "low": low, "high": high}), flush=True)
        else:
            print(
                f"| {table} | {name.replace('_', ' ')} | {count} | {len(found):,} | "
                f"{count / len(found):.1%} | {low:.1%} to {high:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
