"""What policies trained on recorded outcomes are worth on questions they have never seen.

    python benchmarks/routing_figures.py TABLE.jsonl.gz … --budgets 1.85,2.17 --seeds 5
    python benchmarks/routing_figures.py --two-arms TABLE.jsonl.gz --group domain --seeds 3

With train and test splits: by objective and by budget of mean steps, the true quality on the test
rows, beside the best fixed arm, a random policy of the same mix, the best arm of each dataset in
hindsight, the oracle, and the same with each dataset left out of training. The objective `chosen on
training rows` is the cost weight that did best out of fold there; a budget's cost weight is the
smallest that keeps the test rows' recorded steps within it (their quality chooses nothing).

For two arms, a cheap and a strong one: APGR (Ong et al. 2024, RouteLLM), the share of the gap
between the arms' means that is recovered, averaged over all shares of queries sent to the strong
arm; a random order has 0.5. In folds, and with whole groups left out.

Seeds change folds, landmarks and networks. ± is the standard deviation over seeds; s.e. is that of
the paired difference to the best fixed arm over questions.
"""

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from policies.query import query_hash
from training.fit.folds import group_numbers, grouped_folds
from training.fit.reward_models import FittedRewards, fit_rewards, refit_rewards
from training.tables.outcomes import OutcomeTable, read_outcomes
from training.tables.query_features import query_features

Floats = NDArray[np.float64]
FOLDS = 5
WEIGHTS = np.concatenate([[0.0], np.geomspace(1e-4, 0.3, 160)])


class Split(NamedTuple):
    """Rows of a table with their features."""

    table: OutcomeTable
    features: NDArray[np.float32]

    def metric(self, name: str) -> Floats:
        """(n, A)."""
        return self.table.values[:, :, self.table.metrics.index(name)]


class Expected(NamedTuple):
    """(n, A) expected quality and steps."""

    quality: Floats
    steps: Floats

    def choices(self, weight: float) -> NDArray[np.intp]:
        """The arm with the best quality − weight · steps."""
        return np.asarray((self.quality - weight * self.steps).argmax(axis=1))


def read_split(path: Path, split: str | None) -> Split:
    """A table's rows."""
    table = read_outcomes([path], split=split)
    return Split(table, query_features(table.queries).matrix)


def fit(split: Split, seed: int) -> FittedRewards:
    """As `rag-policy train --outcomes` does."""
    hashes = [query_hash(query) for query in split.table.queries]
    folds = grouped_folds(group_numbers(hashes), FOLDS, seed)
    return fit_rewards(split.features, split.table.values, folds, split.table.metrics, seed=seed)


def expected(model: Any, split: Split) -> Expected:
    """The model on a split."""
    metrics = split.table.metrics
    values = model.expected(split.features)
    return Expected(values[:, :, metrics.index("quality")], values[:, :, metrics.index("steps")])


def earned(split: Split, choices: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """(n,) true quality and steps."""
    rows = np.arange(len(choices))
    return split.metric("quality")[rows, choices], split.metric("steps")[rows, choices]


def chosen_weight(train: Split, seed: int) -> float:
    """The cost weight whose choices have the best quality out of fold on the training rows."""
    hashes = [query_hash(query) for query in train.table.queries]
    folds = grouped_folds(group_numbers(hashes), FOLDS, seed)
    quality, steps = np.zeros(train.table.values.shape[:2]), np.zeros(train.table.values.shape[:2])
    for fold in range(FOLDS):
        kept = Split(train.table.rows(folds != fold), train.features[folds != fold])
        test = Split(train.table.rows(folds == fold), train.features[folds == fold])
        told = expected(fit(kept, seed).model, test)
        quality[folds == fold], steps[folds == fold] = told
    told = Expected(quality, steps)
    values = [earned(train, told.choices(weight))[0].mean() for weight in WEIGHTS]
    return float(WEIGHTS[int(np.argmax(values))])


def within(split: Split, told: Expected, budget: float) -> float:
    """The smallest cost weight whose choices cost at most the budget in recorded steps."""
    for weight in WEIGHTS:
        if earned(split, told.choices(weight))[1].mean() <= budget:
            return float(weight)
    return float(WEIGHTS[-1])


def left_out(train: Split, test: Split, fitted: FittedRewards, seed: int) -> Expected:
    """Expectations on each dataset by models that were fitted without it."""
    shape = test.table.values.shape[:2]
    quality, steps = np.zeros(shape), np.zeros(shape)
    trained, tested = np.array(train.table.datasets), np.array(test.table.datasets)
    for dataset in sorted(set(test.table.datasets)):
        kept, here = trained != dataset, tested == dataset
        model = refit_rewards(
            train.features[kept],
            train.table.values[kept],
            train.table.metrics,
            fitted.recipes,
            seed=seed,
        )
        mine = Split(test.table.rows(here), test.features[here])
        quality[here], steps[here] = expected(model, mine)
    return Expected(quality, steps)


def report(path: Path, budgets: Sequence[float], seeds: int) -> Table:
    """One table's figures."""
    train, test = read_split(path, "train"), read_split(path, "test")
    quality = test.metric("quality")
    fixed = int(quality.mean(axis=0).argmax())
    names = ["quality alone", "chosen on training rows", *(f"≤ {b:g} steps" for b in budgets)]
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for seed in track(range(seeds), description=path.name, transient=True):
        fitted = fit(train, seed)
        told = expected(fitted.model, test)
        apart = left_out(train, test, fitted, seed)
        weights = [0.0, chosen_weight(train, seed), *(within(test, told, b) for b in budgets)]
        for name, weight in zip(names, weights, strict=True):
            choices = told.choices(weight)
            values, steps = earned(test, choices)
            mix = np.bincount(choices, minlength=quality.shape[1]) / len(choices)
            ahead = values - quality[:, fixed]
            found[name].append(
                [
                    float(values.mean()),
                    float(steps.mean()),
                    float(mix @ quality.mean(axis=0)),
                    float(ahead.mean()),
                    float(ahead.std() / np.sqrt(len(ahead))),
                    float(earned(test, apart.choices(weight))[0].mean()),
                ]
            )
    return _table(path, test, found, fixed, seeds)


def _table(
    path: Path, test: Split, found: dict[str, list[list[float]]], fixed: int, seeds: int
) -> Table:
    quality, steps = test.metric("quality"), test.metric("steps")
    datasets = np.array(test.table.datasets)
    hindsight = sum(
        quality[datasets == name].mean(axis=0).max() * (datasets == name).mean()
        for name in set(test.table.datasets)
    )
    table = Table(title=f"{path.name}, {len(quality):,} test rows, {seeds} seeds")
    for column in (
        "who decides",
        "quality",
        "steps",
        "random, same mix",
        "above best fixed, s.e.",
        "dataset left out",
    ):
        table.add_column(column, justify="left" if column == "who decides" else "right")
    for arm, name in enumerate(test.table.arms):
        mark = " (best fixed)" if arm == fixed else ""
        table.add_row(
            f"always {name}{mark}", f"{quality[:, arm].mean():.4f}", f"{steps[:, arm].mean():.2f}"
        )
    table.add_row("best arm per dataset, in hindsight", f"{hindsight:.4f}")
    table.add_row("oracle", f"{quality.max(axis=1).mean():.4f}", end_section=True)
    for name, rows in found.items():
        means, spread = np.mean(rows, axis=0), np.std(rows, axis=0)
        table.add_row(
            name,
            f"{means[0]:.4f} ± {spread[0]:.4f}",
            f"{means[1]:.3f}",
            f"{means[2]:.4f}",
            f"{means[3]:+.4f}, {means[4]:.4f}",
            f"{means[5]:.4f} ± {spread[5]:.4f}",
        )
    return table


def apgr(quality: Floats, gain: Floats, weak: int, strong: int) -> float:
    """The average share of the gap recovered, sending the queries with the greatest gain first."""
    order = np.argsort(-gain, kind="stable")
    ahead = (quality[:, strong] - quality[:, weak])[order]
    recovered = np.concatenate([[0.0], np.cumsum(ahead)]) / ahead.sum()
    return float(np.trapezoid(recovered, dx=1.0 / len(ahead)))


def two_arms(path: Path, group: str, seeds: int) -> Table:
    """APGR in folds, and with groups left out."""
    rows = read_split(path, None)
    quality = rows.metric("quality")
    weak, strong = (int(arm) for arm in np.argsort(quality.mean(axis=0)))
    with gzip.open(path, "rt", encoding="utf-8") as file:
        groups_of = {row["id"]: str(row.get(group, "")) for row in map(json.loads, file)}
    groups = group_numbers([groups_of[name] for name in rows.table.ids])
    alike = group_numbers([query_hash(query) for query in rows.table.queries])
    table = Table(title=f"{path.name}: APGR, {len(quality):,} rows, {seeds} seeds")
    for column in ("left out", "APGR", "± over seeds", "random"):
        table.add_column(column, justify="left" if column == "left out" else "right")
    for name, units in (
        (f"{FOLDS} folds", alike),
        (f"{FOLDS * 2} folds of whole {group}s", groups),
    ):
        found = []
        count = FOLDS if units is alike else FOLDS * 2
        for seed in track(range(seeds), description=name, transient=True):
            gain = np.zeros(len(quality))
            outer = grouped_folds(units, count, seed)
            for fold in range(count):
                kept = outer != fold
                # As `rag-policy train` makes them, which knows nothing of the groups.
                inner = grouped_folds(alike, FOLDS, seed + 1)[kept]
                model = fit_rewards(
                    rows.features[kept],
                    rows.table.values[kept],
                    inner,
                    rows.table.metrics,
                    seed=seed,
                ).model
                told = model.expected(rows.features[~kept])[:, :, 0]
                gain[~kept] = told[:, strong] - told[:, weak]
            found.append(apgr(quality, gain, weak, strong))
        table.add_row(name, f"{np.mean(found):.4f}", f"{np.std(found):.4f}", "0.5000")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("outcomes", nargs="*", type=Path, help="tables with train and test rows")
    parser.add_argument("--budgets", default="1.80,1.85,2.17", help="mean steps, comma-separated")
    parser.add_argument("--two-arms", type=Path, help="a table of a cheap and a strong arm")
    parser.add_argument("--group", default="dataset", help="its field whose values are left out")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    if not arguments.outcomes and arguments.two_arms is None:
        parser.error("name a table, or one with --two-arms")
    console = Console(width=130)
    budgets = [float(part) for part in arguments.budgets.split(",")]
    for path in arguments.outcomes:
        console.print(report(path, budgets, arguments.seeds))
    if arguments.two_arms is not None:
        console.print(two_arms(arguments.two_arms, arguments.group, arguments.seeds))


if __name__ == "__main__":
    main()
