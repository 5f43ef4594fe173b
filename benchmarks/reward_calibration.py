"""Are expected qualities what comes true? Calibration of reward models on questions never seen.

    python benchmarks/reward_calibration.py TABLE.jsonl.gz … --seeds 3

Trained on a table's train rows, judged on its test rows: the expected calibration error (Naeini et
al. 2015) of each arm's quality, in 15 bins of equally many questions, beside what pure sampling
noise gives: the mean error of outcomes drawn with exactly the expected rates, 200 times.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from routing_figures import Split, fit, read_split

Floats = NDArray[np.float64]
BINS, DRAWS = 15, 200


def calibration_error(expected: Floats, outcomes: Floats) -> float:
    """The mean distance of a bin's mean outcome from its mean expectation; (n,) each."""
    bins = np.array_split(np.argsort(expected, kind="stable"), BINS)
    gaps = [abs(outcomes[part].mean() - expected[part].mean()) * len(part) for part in bins]
    return float(np.sum(gaps) / len(expected))


def noise_floor(expected: Floats, rng: np.random.Generator) -> float:
    """The calibration error of outcomes that the expectations are right about."""
    rates = expected.clip(0.0, 1.0)
    drawn = [(rng.random(len(rates)) < rates).astype(np.float64) for _ in range(DRAWS)]
    return float(np.mean([calibration_error(expected, outcomes) for outcomes in drawn]))


def rows_of(path: Path, seeds: int) -> list[tuple[str, str, float, float]]:
    """(table, arm, error, floor), the last two means over seeds."""
    train, test = read_split(path, "train"), read_split(path, "test")
    found = np.array([_errors(train, test, seed) for seed in range(seeds)]).mean(axis=0)
    return [
        (path.name, arm, float(error), float(floor))
        for arm, (error, floor) in zip(test.table.arms, found, strict=True)
    ]


def _errors(train: Split, test: Split, seed: int) -> list[tuple[float, float]]:
    quality = test.metric("quality")
    m = test.table.metrics.index("quality")
    expected = fit(train, seed).model.expected(test.features)[:, :, m]
    rng = np.random.default_rng(seed)
    return [
        (calibration_error(expected[:, a], quality[:, a]), noise_floor(expected[:, a], rng))
        for a in range(quality.shape[1])
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("outcomes", nargs="+", type=Path, help="tables with train and test rows")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    table = Table("table", "arm", "calibration error", "of noise alone", "more")
    for path in arguments.outcomes:
        for name, arm, error, floor in rows_of(path, arguments.seeds):
            table.add_row(name, arm, f"{error:.4f}", f"{floor:.4f}", f"{error - floor:+.4f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
