"""How long the off-policy estimates of a large log take, on one thread.

    python benchmarks/ope_speed.py [--rows 1000000] [--seed 0]

prints the seconds of the eight estimators, of the paired advantage and of each interval, for three
arms and one in ten queries repeated; the best of three runs.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import dataclasses
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_report import Report, Row, write_report

from training.judge.intervals import (
    RewardRange,
    bootstrap_t,
    bounded,
    intervals,
    predictable,
    value_range,
)
from training.judge.ope import ESTIMATORS, advantage_sample, dr_rounds, overlap, paired_advantage
from training.judge.sample import Sample

REWARDS = RewardRange(0.0, 1.0)


def sample_of(rows: int, seed: int) -> tuple[Sample, np.ndarray]:
    """A sample of binary rewards, and the logging probabilities."""
    rng = np.random.default_rng(seed)
    logging = rng.dirichlet(np.full(3, 2.0), size=rows) * 0.9 + 0.1 / 3
    action = (rng.random(rows)[:, None] > logging.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    target = rng.dirichlet(np.full(3, 1.0), size=rows)
    clusters = rng.permutation(np.arange(rows) % max(rows * 9 // 10, 1))
    sample = Sample(
        action=action,
        reward=(rng.random(rows) < 0.4).astype(np.float64),
        pscore=logging[np.arange(rows), action],
        action_dist=target,
        estimated_rewards=rng.random((rows, 3)),
        clusters=clusters,
        logging=logging,
    )
    return sample, logging


def main() -> None:
    """Time each part, on a sample that has computed nothing yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    sample, logging = sample_of(arguments.rows, arguments.seed)

    def advantage() -> Sample:
        return advantage_sample(dataclasses.replace(sample), logging)

    parts: dict[str, Callable[[], object]] = {
        name: lambda estimate=estimate: estimate(dataclasses.replace(sample))
        for name, estimate in ESTIMATORS.items()
    }
    parts |= {
        "overlap": lambda: overlap(dataclasses.replace(sample)),
        "paired advantage": lambda: paired_advantage(dataclasses.replace(sample), logging),
        "bootstrap_t": lambda: bootstrap_t(dr_rounds(advantage()), sample.clusters),
        "anytime": lambda: anytime(advantage()),
        "everything": lambda: everything(dataclasses.replace(sample), logging),
    }
    print(
        f"{arguments.rows:,} rows, 3 arms, seed {arguments.seed}; {platform.machine()}, "
        f"Python {platform.python_version()}, numpy {np.__version__}"
    )
    print(f"{'part':<22}{'seconds':>9}")
    rows = []
    for name, call in parts.items():
        taken = min(seconds(call) for _ in range(3))
        print(f"{name:<22}{taken:>9.3f}", flush=True)
        what = f"{name}, {arguments.rows:,} rows"
        rows.append(Row(what, taken, "s", goal="<= 2" if name == "everything" else None))
    write_report(arguments.json, Report("ope_speed", rows))


def anytime(sample: Sample) -> None:
    """The anytime-valid sequence; empirical Bernstein takes as long."""
    running = predictable(sample, REWARDS)
    bounded(running, value_range(running, REWARDS))


def everything(sample: Sample, logging: np.ndarray) -> None:
    """What a report needs: all estimators, the overlap, the advantage and its intervals."""
    for estimate in ESTIMATORS.values():
        estimate(sample)
    overlap(sample)
    intervals(advantage_sample(sample, logging), REWARDS)


def seconds(call: Callable[[], object]) -> float:
    """How much time of the processor one call takes."""
    began = time.process_time()
    call()
    return time.process_time() - began


if __name__ == "__main__":
    main()
