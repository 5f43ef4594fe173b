"""How often each interval of the advantage holds the truth, on logs drawn from a recorded table.

    python benchmarks/interval_coverage.py --outcomes TABLE.jsonl.gz [--logs 1000] [--seed 0]

A policy is trained on the table's train rows; the incumbent takes the best fixed arm of those rows,
but for a share ε of uniform draws. For each ε and N that many logs of N decisions are drawn from
the test rows, with replacement, so the policy's true advantage is its mean over the test rows. Each
log goes through what the gate does: cross-fitted reward models refitted per log, folds grouped by
query, the paired doubly robust advantage. A row that is drawn twice is two independent draws from
the test rows, so rows aren't clustered. One thing is reduced: the reward models' penalty is chosen
on every twentieth log and kept in between (`--choose-every 1` chooses it on all).

Printed: two-sided coverage of nominal 95 %, and one-sided coverage of the lower and the upper bound
(nominal 97.5 %), with Monte-Carlo standard errors; the mean width of the interval; for the policy
as it would serve (default exploration), and without exploration. `normal` is the sample's error
alone, `dr_normal` what the gate and reports use.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import datetime
import json
import math
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from recorded_logs import Floats, World, draw_log, epsilon_greedy, read_worlds, trained_policy

from policies.exploration import GREEDY, Exploration, arm_probabilities
from training.fit.feature_scale import fit_scale
from training.fit.folds import grouped_folds
from training.fit.pseudo_outcomes import draws_of
from training.judge.cross_fit import NUISANCE_GRID, cross_fit
from training.judge.intervals import RewardRange, intervals
from training.judge.ope import Z95, advantage_sample, dr_rounds
from training.judge.sample import Sample
from training.judge.variance import sample_error
from training.log.rounds import LoggedRounds
from training.utility import judge_rounds, sample_of

QUALITY = RewardRange(0.0, 1.0)
# A fifth of what reports draw: the quantiles are a little noisier, the study a lot faster.
REPLICATES = 200
METHODS = ("normal", "dr_normal", "bootstrap_t", "empirical_bernstein", "anytime")


class Coverage(NamedTuple):
    """One method in one setting; shares of logs, and the mean width."""

    table: str
    epsilon: float
    n: int
    candidate: str
    method: str
    logs: int
    covered: float
    lower: float
    upper: float
    width: float

    def error(self, share: float) -> float:
        """The Monte-Carlo standard error of a share."""
        return math.sqrt(max(share * (1.0 - share), 1.0 / self.logs) / self.logs)


class Study:
    """A fixed policy, and the logs it is judged on."""

    def __init__(self, train: World, test: World, seed: int) -> None:
        """Train the policy and put it on the test rows."""
        self.test, self.seed = test, seed
        self.incumbent = int(train.quality.mean(axis=0).argmax())
        utilities = trained_policy(train, seed).expected(test.features)[:, :, 0]
        eligible = np.ones(utilities.shape, dtype=np.bool_)
        self.candidates = {
            "as served": arm_probabilities(utilities, eligible, Exploration()),
            "greedy": arm_probabilities(utilities, eligible, GREEDY),
        }

    def bounds(self, epsilon: float, n: int, logs: int, every: int) -> Iterator[dict[str, Floats]]:
        """Per log, by candidate: (methods, 2) bounds of the advantage."""
        logging = epsilon_greedy(self.test, self.incumbent, epsilon)
        rng = np.random.default_rng([self.seed, int(epsilon * 1000), n])
        penalties = NUISANCE_GRID
        for number in range(logs):
            rows = rng.integers(0, len(self.test), n)
            rounds = draw_log(self.test, logging, n, rng, rows=rows)
            if number % every == 0:
                penalties = NUISANCE_GRID
            predictions, chosen = _cross_fit(rounds, penalties, number)
            penalties = (float(chosen[0]),)
            judged = judge_rounds(rounds, rounds.weights, predictions)
            yield {
                name: _bounds(
                    advantage_sample(
                        sample_of(rounds, judged, policy[rows])._replace(clusters=None),
                        logging[rows],
                    ),
                    number,
                )
                for name, policy in self.candidates.items()
            }

    def truth(self, candidate: str, epsilon: float) -> float:
        """The candidate's true advantage over the logger."""
        difference = self.candidates[candidate] - epsilon_greedy(self.test, self.incumbent, epsilon)
        return float((difference * self.test.quality).sum(axis=1).mean())


def _cross_fit(
    rounds: LoggedRounds, penalties: tuple[float, ...], seed: int
) -> tuple[Floats, Floats]:
    draws = draws_of(rounds, fit_scale(rounds.features).apply(rounds.features))
    return cross_fit(draws, grouped_folds(rounds.groups, 5, seed), penalties)


def _bounds(sample: Sample, seed: int) -> Floats:
    values = dr_rounds(sample)
    mean, error = float(values.mean()), sample_error(sample, values)
    found = intervals(sample, QUALITY, replicates=REPLICATES, seed=seed)
    plain = (mean - Z95 * error, mean + Z95 * error)
    rest = [(found[method].lower, found[method].upper) for method in METHODS[1:]]
    return np.array([plain, *rest])


def study(
    path: Path, sizes: list[int], epsilons: list[float], logs: int, seed: int, every: int
) -> Iterator[Coverage]:
    """The coverage of every method in every setting of one table."""
    train, test = read_worlds(path, seed)
    one = Study(train, test, seed)
    name = path.name.removeprefix("outcomes_").removesuffix(".jsonl.gz")
    for epsilon in epsilons:
        for n in sizes:
            found = list(one.bounds(epsilon, n, logs, every))
            for candidate in one.candidates:
                bounds = np.array([log[candidate] for log in found])
                truth = one.truth(candidate, epsilon)
                for m, method in enumerate(METHODS):
                    below, above = bounds[:, m, 0] <= truth, bounds[:, m, 1] >= truth
                    yield Coverage(
                        name, epsilon, n, candidate, method, logs,
                        float((below & above).mean()), float(below.mean()), float(above.mean()),
                        float((bounds[:, m, 1] - bounds[:, m, 0]).mean()),
                    )  # fmt: skip


def main() -> None:
    """Run the study and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outcomes", type=Path, action="append", required=True)
    parser.add_argument("--logs", type=int, default=1_000)
    parser.add_argument("--n", type=int, nargs="+", default=[300, 1_000, 3_000])
    parser.add_argument("--epsilon", type=float, nargs="+", default=[0.1, 0.3])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--choose-every", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    print(
        f"{arguments.logs:,} logs a setting, seed {arguments.seed}, {datetime.date.today()}, "
        f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}",
        file=sys.stderr,
    )
    if not arguments.json:
        print(
            "| table | ε | N | candidate | method | coverage ± s.e. | lower bound | upper | width |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
    for path in arguments.outcomes:
        for row in study(
            path, arguments.n, arguments.epsilon, arguments.logs, arguments.seed,
            arguments.choose_every,
        ):  # fmt: skip
            if arguments.json:
                print(json.dumps(row._asdict()), flush=True)
                continue
            print(
                f"| {row.table} | {row.epsilon:g} | {row.n:,} | {row.candidate} | {row.method} | "
                f"{row.covered:.3f} ± {row.error(row.covered):.3f} | {row.lower:.3f} | "
                f"{row.upper:.3f} | {row.width:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
