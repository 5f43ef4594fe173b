"""Vowpal Wabbit's contextual bandits on a replayed table; `regret.py` runs it in VW's environment.

Needs nothing but `vowpalwabbit`. One JSON object on standard input:

    {"arms": [..], "contexts": {name: [["text", [numbers]], ..]}, "rewards": {name: [[..], ..]},
     "runs": [{"contexts": name, "rewards": name, "options": "--squarecb",
               "features": "text" | "embedding" | "both", "order": [row, ..], "seed": int}, ..]}

and on standard output one JSON object a run: {"rewards": [the drawn arm's reward, round by round]}.
"""

import json
import random
import re
import sys
from typing import Any

from vowpalwabbit import Workspace

_WORDS = re.compile(r"\w+")
# Each namespace of the query crossed with the arm's; a regressor of an arm's own for every feature.
_INTERACTIONS = {"text": "-q ta", "embedding": "-q ea", "both": "-q ta -q ea"}


def main() -> None:
    """Run what standard input asks for."""
    task = json.load(sys.stdin)
    arms = [f"|a {name}" for name in task["arms"]]
    lines: dict[tuple[str, str], list[str]] = {}
    for run in task["runs"]:
        key = (run["contexts"], run["features"])
        if key not in lines:
            rows = task["contexts"][run["contexts"]]
            lines[key] = [shared_line(text, numbers, key[1]) for text, numbers in rows]
        earned = replay(run, lines[key], task["rewards"][run["rewards"]], arms)
        print(json.dumps({"rewards": earned}), flush=True)


def shared_line(text: str, numbers: list[float], features: str) -> str:
    """The query's own line in VW's text format."""
    parts = ["shared"]
    if features in ("text", "both"):
        parts.append("|t " + " ".join(_WORDS.findall(text.lower())))
    if features in ("embedding", "both"):
        parts.append("|e " + " ".join(f"{i}:{x:.5f}" for i, x in enumerate(numbers) if x))
    return " ".join(parts)


def replay(
    run: dict[str, Any], shared: list[str], rewards: list[list[float]], arms: list[str]
) -> list[float]:
    """The drawn arms' rewards; after every round VW learns from the one it saw."""
    options = f"--cb_explore_adf {run['options']} {_INTERACTIONS[run['features']]}"
    learner = Workspace(f"{options} -b 20 --quiet --random_seed {run['seed'] + 1}")
    rng = random.Random(run["seed"])
    earned = []
    for row in run["order"]:
        probabilities = learner.predict([shared[row], *arms])
        drawn = rng.choices(range(len(arms)), weights=probabilities)[0]
        reward = rewards[row][drawn]
        label = f"0:{-reward:.6f}:{probabilities[drawn]:.6f} "
        labelled = [label + arm if a == drawn else arm for a, arm in enumerate(arms)]
        learner.learn([shared[row], *labelled])
        earned.append(reward)
    learner.finish()
    return earned


if __name__ == "__main__":
    main()
