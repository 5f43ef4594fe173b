"""What tenants' offsets are worth, by how much a tenant has been logged.

    python benchmarks/tenants.py [--outcomes TABLE.jsonl.gz]...

prints one table for a synthetic world of eight tenants, largest first, whose arms' success rates
differ from everybody's by a normal effect; one for the same world where no tenant differs; and one
for each recorded table, whose datasets play the tenants: trained on the split `train`, replayed
under uniform logging, and worth what the chosen arms truly earn on the split `test`.

`everybody's` is the same policy not told whose the queries are. Gains are means over seeds with
their standard errors (of a table's logs, not of its test rows, which all seeds share).
"""

import argparse
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import platform
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.policy import Policy
from policies.question import QUESTION_FEATURES
from training.fit.trained_policy import train_on_rounds
from training.log.join import join_rounds
from training.log.log_files import decisions_table, feedback_table, read_log, write_part
from training.log.replay import replay, uniform_logger
from training.log.rounds import LoggedRounds
from training.tables.outcomes import OutcomeTable, read_outcomes
from training.tables.query_features import QueryFeatures, query_features

TENANTS = [f"tenant {number}" for number in range(1, 9)]
# Traffic falls as one over the tenant's rank.
SHARES = 1.0 / np.arange(1, len(TENANTS) + 1) / (1.0 / np.arange(1, len(TENANTS) + 1)).sum()
EMBEDDING, TEST_ROWS = 32, 2_000
QUALITY = {"quality": 1.0}


class World(NamedTuple):
    """Rows to log and rows to judge by; a row's dataset is its tenant."""

    train: OutcomeTable
    train_features: QueryFeatures
    test: OutcomeTable
    test_features: QueryFeatures


class Worth(NamedTuple):
    """One seed's mean quality by tenant (T,), and whether offsets were kept."""

    decisions: NDArray[np.float64]
    everybodys: NDArray[np.float64]
    own: NDArray[np.float64]
    best: NDArray[np.float64]
    kept: bool


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outcomes", type=Path, action="append", default=[])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--n", type=int, default=4_000, help="decisions logged")
    parser.add_argument("--spread", type=float, default=0.1, help="of the effects, by arm")
    arguments = parser.parse_args()
    now = datetime.now(UTC).date()
    print(f"{now}, {platform.machine()}, numpy {np.__version__}, seeds 0..{arguments.seeds - 1}")
    for spread in (arguments.spread, 0.0):
        found = [
            worth(synthetic(spread, arguments.n, seed), arguments.n, seed)
            for seed in range(arguments.seeds)
        ]
        show(f"synthetic, effects ± {spread:g}", TENANTS, found, "knowing the rates")
    for path in arguments.outcomes:
        world = recorded(path)
        found = [worth(world, arguments.n, seed) for seed in range(arguments.seeds)]
        show(path.name, sorted(set(world.test.datasets)), found, "oracle")


def synthetic(spread: float, n: int, seed: int) -> World:
    """n queries to log; the test rows' outcomes are the true success rates."""
    rng = np.random.default_rng(seed)
    effects = rng.normal(scale=spread, size=(len(TENANTS), 3))
    direction = rng.normal(size=(EMBEDDING, 3))
    tables = []
    for tenants in (
        rng.choice(len(TENANTS), size=n, p=SHARES),
        np.repeat(np.arange(len(TENANTS)), TEST_ROWS),
    ):
        embedding = rng.normal(size=(len(tenants), EMBEDDING))
        embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
        rates = np.clip(0.5 + 0.5 * embedding @ direction * 0.4 + effects[tenants], 0.0, 1.0)
        drawn = (rng.random(rates.shape) < rates).astype(np.float64)
        values = drawn if not tables else rates
        features = np.pad(embedding, ((0, 0), (0, len(QUESTION_FEATURES)))).astype(np.float32)
        names = [TENANTS[tenant] for tenant in tenants]
        tables += [table_of(names, values, len(tables)), QueryFeatures(features, "synthetic")]
    return World(*tables)


def table_of(tenants: list[str], values: NDArray[np.float64], number: int) -> OutcomeTable:
    rows = [f"{number}-{row}" for row in range(len(tenants))]
    return OutcomeTable(
        ids=rows,
        queries=[f"query {row}" for row in rows],
        datasets=tenants,
        splits=["train"] * len(rows),
        arms=("none", "single", "multi"),
        metrics=("quality",),
        values=values[:, :, None],
        sources=("synthetic",),
        sha256="",
    )


def recorded(path: Path) -> World:
    """A recorded table's two splits."""
    parts: list[OutcomeTable | QueryFeatures] = []
    for split in ("train", "test"):
        table = read_outcomes([path], split=split)
        parts += [table, query_features(table.queries)]
    return World(*parts)  # type: ignore[arg-type]


def worth(world: World, n: int, seed: int) -> Worth:
    """Log, train, and judge on the test rows, told whose they are and not told."""
    rounds = logged(world, n, seed)
    policy = train_on_rounds(rounds, objective=QUALITY, seed=seed)
    tenants = sorted(set(world.test.datasets))
    of_row = np.array([tenants.index(name) for name in world.test.datasets])
    count = np.bincount(of_row)
    everybodys = earned(policy, world, None)
    own = earned(policy, world, world.test.datasets)
    best = world.test.values[:, :, 0].max(axis=1)
    return Worth(
        np.array([float((rounds.tenants == tenant).sum()) for tenant in tenants]),
        *(np.bincount(of_row, weights=value) / count for value in (everybodys, own, best)),
        kept=policy.artifact().manifest.evaluation["tenants"]["tenants"] > 0,
    )


def logged(world: World, n: int, seed: int) -> LoggedRounds:
    """A log of uniform draws, through its files."""
    table = world.train
    logger, names = uniform_logger(table), table.datasets
    events = list(
        replay(
            table,
            world.train_features,
            logger,
            n=n,
            seed=seed,
            objective="quality",
            weights=QUALITY,
            tenants=names,
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        values = [value for _, given in events for value in given]
        write_part(decisions_table([made for made, _ in events]), Path(folder), "decisions", "log")
        write_part(feedback_table(values), Path(folder), "feedback", "log")
        return join_rounds(read_log(Path(folder)), source=Path(folder), arms=table.arms)


def earned(policy: Policy, world: World, tenants: Sequence[str] | None) -> NDArray[np.float64]:
    """(n,) quality of the arms chosen on the test rows."""
    columns = [policy.arms.index(arm) for arm in world.test.arms]
    expected = policy.expected(world.test_features.matrix, tenants)[:, columns]
    chosen = expected[:, :, policy.metrics.index("quality")].argmax(axis=1)
    return np.asarray(world.test.values[np.arange(len(chosen)), chosen, 0])


def show(title: str, tenants: Sequence[str], found: Sequence[Worth], best: str) -> None:
    """One row a tenant, then all of them by their traffic."""
    kept = sum(one.kept for one in found)
    print(f"\n{title}: offsets kept in {kept} of {len(found)} logs")
    print(f"{'tenant':<18}{'decisions':>10}{'everybody’s':>13}{'gain':>9}{'s.e.':>8}{best:>19}")
    decisions = np.array([one.decisions for one in found])
    columns = [np.array([getattr(one, name) for one in found]) for name in Worth._fields[1:4]]
    for number, tenant in enumerate(tenants):
        row([tenant, decisions[:, number]], [column[:, number] for column in columns])
    weights = decisions / decisions.sum(axis=1, keepdims=True)
    row(["all, by traffic", decisions.sum(axis=1)], [(c * weights).sum(axis=1) for c in columns])


def row(head: list[object], values: Sequence[NDArray[np.float64]]) -> None:
    name, decisions = head
    everybodys, own, best = values
    gain = own - everybodys
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else float("nan")
    print(
        f"{name:<18}{np.mean(decisions):>10.0f}{everybodys.mean():>13.4f}{gain.mean():>+9.4f}"
        f"{error:>8.4f}{best.mean():>19.4f}"
    )


if __name__ == "__main__":
    main()
