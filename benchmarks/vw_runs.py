"""Vowpal Wabbit's side of `regret.py`: its settings, and its runs in an interpreter of its own."""

import json
import subprocess
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from replay_order import row_order, shuffled_arms

Floats = NDArray[np.float64]

RATES = ("0.03", "0.1", "0.5", "2")
FEATURES = ("text", "embedding", "both")
# Explorers with the learning rate and features (the query's words, this project's, or both) that
# `regret.py --tune-vw` found best for each on another table: the train rows of flan_t5_xxl, seeds
# 100 to 109, quality alone.
VW = {
    "vw squarecb": ("--squarecb -l 0.1", "embedding"),
    "vw squarecb, γ × 10": ("--squarecb --gamma_scale 100 -l 0.03", "embedding"),
    "vw bag 5": ("--bag 5 -l 0.1", "text"),
    "vw cover 5, ε = 0": ("--cover 5 --epsilon 0 -l 0.1", "text"),
    "vw epsilon .1": ("--epsilon 0.1 -l 0.03", "text"),
}


def grid(explorer: str) -> list[tuple[str, str]]:
    """Options and features to try of an explorer."""
    kind = VW[explorer][0].partition(" -l ")[0]
    return [(f"{kind} -l {rate}", features) for rate, features in product(RATES, FEATURES)]


def vowpal_wabbit(
    python: Path,
    queries: Sequence[str],
    features: NDArray[np.float32],
    rewards: Floats,
    seeds: Sequence[int],
    settings: Sequence[tuple[str, str]],
) -> Floats:
    """(settings, seeds, n) the drawn arms' rewards, round by round.

    Args:
        python: an interpreter that has vowpalwabbit.
        queries: n texts.
        features: (n, d).
        rewards: (n, A).
        seeds: of the orders and draws.
        settings: options and features of each run.
    """
    arms = {seed: shuffled_arms(seed, rewards.shape[1]) for seed in seeds}
    rows = [[round(float(x), 5) for x in row] for row in features]
    task: dict[str, Any] = {
        "arms": [f"arm{place}" for place in range(rewards.shape[1])],
        "contexts": {"rows": list(zip(queries, rows, strict=True))},
        "rewards": {str(order.tolist()): rewards[:, order].tolist() for order in arms.values()},
        "runs": [
            {
                "contexts": "rows",
                "rewards": str(arms[seed].tolist()),
                "options": options,
                "features": read,
                "order": row_order(seed, len(rewards)).tolist(),
                "seed": seed,
            }
            for (options, read), seed in product(settings, seeds)
        ],
    }
    script = Path(__file__).with_name("vw_learner.py")
    done = subprocess.run(
        [python, script], input=json.dumps(task), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{python} can't run Vowpal Wabbit: {done.stderr[-500:]}")
    earned = [json.loads(line)["rewards"] for line in done.stdout.splitlines()]
    return np.array(earned).reshape(len(settings), len(seeds), len(rewards))
