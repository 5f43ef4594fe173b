"""What exploration costs and earns: mean reward of learning online, against Vowpal Wabbit.

    python -m venv .venv-vw && .venv-vw/bin/python -m pip install vowpalwabbit==9.11.9
    python benchmarks/regret.py --vw-python .venv-vw/bin/python \\
        --outcomes outcomes_llama31_8b.jsonl.gz --outcomes outcomes_gpt4o.jsonl.gz \\
        --outcomes outcomes_flan_t5_xl.jsonl.gz

Each row of the split comes once, in a random order, with the arms in a random order too (ties and
starting values favour some place, which would be luck); only the drawn arm's outcome is told. One
seed fixes both for every learner, so differences are paired. VW learns after every row; this
project trains at TRAININGS: the posterior of the draws, whose means are the other kinds' utilities;
with `--full` whole policies as `rag-policy train --logs` does, which changes nothing for Thompson
sampling. Without `--vw-python` VW is left out.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from context_free import epsilon_greedy, thompson_beta
from numpy.typing import NDArray
from replay_order import row_order, shuffled_arms
from vw_runs import VW, grid, vowpal_wabbit

from policies.exploration import Exploration
from training.simulation.online import learn_online, train_fully, train_posterior
from training.tables.outcomes import OutcomeTable, read_outcomes
from training.tables.query_features import QueryFeatures, query_features
from training.tables.warm_start import WarmStart, warm_start_of

Floats = NDArray[np.float64]

TRAININGS = (50, 100, 150, 200, 300, 400, 600, 800, 1100, 1500, 2000, 2500)


class World(NamedTuple):
    """A table under an objective."""

    name: str
    table: OutcomeTable
    features: QueryFeatures
    weights: dict[str, float]

    @property
    def rewards(self) -> Floats:
        """(n, A)"""
        vector = [self.weights.get(metric, 0.0) for metric in self.table.metrics]
        return np.asarray(self.table.values @ np.array(vector))

    def rows(self, seed: int) -> WarmStart:
        """For this project's learners: the metrics that the objective weighs, arms shuffled."""
        warm = warm_start_of(self.table, self.features)
        arms = shuffled_arms(seed, len(warm.arms))
        metrics = [m for m, name in enumerate(warm.metrics) if name in self.weights]
        return warm._replace(
            arms=tuple(warm.arms[a] for a in arms),
            metrics=tuple(warm.metrics[m] for m in metrics),
            values=warm.values[:, arms][:, :, metrics],
        )


def main() -> None:
    """Run every learner on every table."""
    options = parse()
    seeds = list(range(options.first_seed, options.first_seed + options.seeds))
    for path in options.outcomes:
        table = read_outcomes([path], split=options.split)
        features = query_features(table.queries)
        for weight in options.steps_weight:
            weights = {"quality": 1.0, **({"steps": weight} if weight else {})}
            name = path.name.removeprefix("outcomes_").removesuffix(".jsonl.gz")
            world = World(name, table, features, weights)
            if options.tune_vw:
                tune_vw(world, seeds, options.vw_python)
            else:
                report(world, dict(learners(world, seeds, options)), options)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--outcomes", type=Path, action="append", required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps-weight", type=float, action="append")
    parser.add_argument("--vw-python", type=Path, help="a Python that has vowpalwabbit")
    parser.add_argument(
        "--tune-vw", action="store_true", help="only find VW's best settings, with --vw-python"
    )
    parser.add_argument("--floor", type=float, default=0.05, help="of the rows named so")
    parser.add_argument(
        "--full", action="store_true", help="train whole policies: ten times longer"
    )
    parser.add_argument("--only", help="learners whose name contains this")
    parser.add_argument(
        "--json", action="store_true", help="a line a table, with every seed's mean"
    )
    options = parser.parse_args()
    if options.tune_vw and not options.vw_python:
        parser.error("--tune-vw needs --vw-python")
    options.steps_weight = options.steps_weight or [0.0, -0.02]
    return options


def learners(
    world: World, seeds: list[int], options: argparse.Namespace
) -> Iterator[tuple[str, Floats]]:
    """Each learner's rewards (seeds, n)."""
    wanted = {
        **VW,
        "context-free Thompson": 0,
        "context-free epsilon .05": 0,
        **ours(options.floor),
    }
    for name in wanted:
        if options.only and options.only not in name:
            continue
        if name in VW:
            if options.vw_python:
                yield name, vw_rewards(world, seeds, options.vw_python, [VW[name]])[0]
        elif name.startswith("context-free"):
            run = thompson_beta if "Thompson" in name else epsilon_greedy
            yield name, np.array([run(served(world, s), np.random.default_rng(s)) for s in seeds])
        else:
            exploration = ours(options.floor)[name]
            yield (
                name,
                np.array([earned(world, exploration, seed, fully=options.full) for seed in seeds]),
            )


def ours(floor: float) -> dict[str, Exploration]:
    """This project's kinds, without a floor as VW's have none, and Thompson sampling with one."""
    return {
        "uniform": Exploration(kind="uniform"),
        "thompson": Exploration(kind="thompson", floor=0.0),
        f"thompson, floor {floor:g}": Exploration(kind="thompson", floor=floor),
        "squarecb": Exploration(kind="squarecb", floor=0.0),
        f"squarecb, floor {floor:g}": Exploration(kind="squarecb", floor=floor),
        "squarecb γ=1000": Exploration(kind="squarecb", floor=0.0, gamma=1000.0),
        "epsilon .1": Exploration(kind="epsilon", floor=0.0),
    }


def earned(world: World, exploration: Exploration, seed: int, *, fully: bool) -> Floats:
    """(n,) of one of this project's learners."""
    run = learn_online(
        world.rows(seed),
        exploration,
        world.weights,
        trainings=() if exploration.kind == "uniform" else TRAININGS,
        seed=seed,
        train=train_fully if fully else train_posterior,
    )
    return run.earned


def served(world: World, seed: int) -> Floats:
    """(n, A) rewards in the order of serving, arms shuffled."""
    rewards = world.rewards
    return rewards[row_order(seed, len(rewards))][:, shuffled_arms(seed, rewards.shape[1])]


def vw_rewards(
    world: World, seeds: list[int], python: Path, settings: Sequence[tuple[str, str]]
) -> Floats:
    """(settings, seeds, n) of VW."""
    matrix = world.features.matrix
    return vowpal_wabbit(python, world.table.queries, matrix, world.rewards, seeds, settings)


def tune_vw(world: World, seeds: list[int], python: Path) -> None:
    """Print what each of VW's explorers earned at each setting, the best first."""
    for explorer in VW:
        settings = grid(explorer)
        means = vw_rewards(world, seeds, python, settings).mean(axis=2)
        for index in np.argsort(-means.mean(axis=1)):
            mean, (options, features) = means[index], settings[index]
            print(f"{options:<38}{features:<11}{mean.mean():.4f} ±{error(mean):.4f}")


def report(world: World, results: dict[str, Floats], options: argparse.Namespace) -> None:
    """Mean reward, its standard error over seeds, and the paired difference of each to the best
    rival (VW or context-free); the curve is the mean reward of each sixth of the rows.
    """
    means = {name: rewards.mean(axis=1) for name, rewards in results.items()}
    if options.json:
        line = {"table": world.name, "weights": world.weights}
        print(json.dumps({**line, "means": {name: m.tolist() for name, m in means.items()}}))
        return
    fixed = world.rewards.mean(axis=0)
    print(
        f"\n{world.name}, {json.dumps(world.weights)}, {options.seeds} seeds; the arms' means are "
        + ", ".join(f"{arm} {x:.4f}" for arm, x in zip(world.table.arms, fixed, strict=True))
    )
    rivals = [name for name in means if name.startswith(("vw", "context-free"))]
    best = max(rivals, key=lambda name: means[name].mean(), default=None)
    for name, mean in means.items():
        ahead = mean - means[best] if best else mean * np.nan
        curve = " ".join(f"{x:.3f}" for x in sixths(results[name]))
        print(
            f"{name:<25} {mean.mean():.4f} ±{error(mean):.4f}  "
            f"{ahead.mean():+.4f} ±{error(ahead):.4f}  {curve}",
            flush=True,
        )


def sixths(rewards: Floats) -> list[float]:
    """Mean reward of each sixth of the rounds."""
    return [float(part.mean()) for part in np.array_split(rewards, 6, axis=1)]


def error(values: Floats) -> float:
    """Standard error of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


if __name__ == "__main__":
    main()
