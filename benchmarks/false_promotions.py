"""How often the gate promotes where nothing is to be gained, over successive looks.

    python benchmarks/false_promotions.py --outcomes TABLE.jsonl.gz [--logs 1000] [--looks 5]

The null is made from a recorded table: in every drawn row the arms' outcomes change places at
random, so all arms are worth the same for every question, and no policy can be better than the
incumbent. Candidates are trained by the project's own training on uniformly drawn logs of such a
null, where it finds what it finds in noise. A log to judge by is drawn by the incumbent, one arm
but for a share ε of uniform draws, and on it the gate judges `--looks` candidates one after the
other, each look at the level that is left for it. One thing is reduced: the candidates are drawn
from a pool of `--candidates`, instead of trained anew for every log.

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
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).resolve().parent))

from recorded_logs import World, draw_log, epsilon_greedy, read_worlds

from policies.policy import Policy
from training.fit.trained_policy import train_on_rounds
from training.judge.conditions import proven
from training.judge.gate import Verdict, judge
from training.judge.looks import alpha_of_look
from training.log.rounds import LoggedRounds

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
    world: World,
    pool: list[Policy],
    looks: int,
    test: int,
    epsilon: float,
    rng: np.random.Generator,
) -> Outcome:
    """Draw a log and judge candidates by it."""
    judged = draw_null(world, epsilon, test, rng)
    judged = replace(judged, at=judged.at + 1e6)
    chosen = rng.choice(len(pool), size=looks, replace=False)
    verdicts = [
        judge(judged, pool[candidate], look=look) for look, candidate in enumerate(chosen, start=1)
    ]
    return Outcome(
        promoted=any(verdict.promote for verdict in verdicts),
        proven=any(_proven(verdict) for verdict in verdicts),
        proven_first=_proven(verdicts[0]),
        proven_uncorrected=any(_proven_at_first_level(verdict) for verdict in verdicts),
    )


def draw_null(world: World, epsilon: float, n: int, rng: np.random.Generator) -> LoggedRounds:
    """n different questions, their outcomes permuted for this log."""
    questions = null_world(world.rows(rng.permutation(len(world))[:n]), rng)
    logging = epsilon_greedy(questions, 0, epsilon)
    return draw_log(questions, logging, n, rng, rows=np.arange(n))


def trained_on_noise(world: World, count: int, rounds: int, seed: int) -> list[Policy]:
    """Candidates, each trained on a null of its own."""
    pool: list[Policy] = []
    for number in range(count):
        log = draw_null(world, 1.0, rounds, np.random.default_rng([seed, 1, number]))
        pool.append(train_on_rounds(log, seed=number))
    return pool


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
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--train", type=int, default=500, help="rounds that each is trained on")
    parser.add_argument("--test", type=int, default=2_400, help="rounds that all are judged on")
    parser.add_argument("--epsilon", type=float, default=0.75, help="the incumbent's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    print(
        f"{arguments.logs:,} logs, {arguments.looks} looks each of {arguments.candidates} "
        f"candidates, {arguments.train:,} rounds to train and {arguments.test:,} to judge, ε "
        f"{arguments.epsilon:g}, seed {arguments.seed}, "
        f"{datetime.date.today()}, {platform.machine()}, Python {platform.python_version()}",
        file=sys.stderr,
    )
    if not arguments.json:
        print("| table | what | logs | of | share | 95 % interval |")
        print("|---|---|---|---|---|---|")
    for path in arguments.outcomes:
        world = both_splits(path, arguments.seed)
        pool = trained_on_noise(world, arguments.candidates, arguments.train, arguments.seed)
        found = [
            one_log(
                world, pool, arguments.looks, arguments.test, arguments.epsilon,
                np.random.default_rng([arguments.seed, 2, number]),
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
