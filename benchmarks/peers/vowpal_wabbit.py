"""Vowpal Wabbit's contextual bandit: `cb_explore_adf` with SquareCB.

Its features are the query's words, as VW is used as a rule, or this project's embedding of the
query. Either is crossed with the arm, so that each arm has a weight of its own for every feature;
all of them linear, in one hashed table of 2^20 weights.
"""

import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from protocol import Peer, Way, serve
from vowpalwabbit import Workspace

from policies.encoders import load_encoder

OPTIONS = "--cb_explore_adf --squarecb -b 20 --quiet --random_seed 1"
PREDICTS = (
    "its example's text, built beforehand, is parsed; one reward an arm, linear in its features; "
    "SquareCB's probabilities. One metric, no objective, no draw, no record"
)
_WORDS = re.compile(r"\w+")


def build(arms: list[str], train: list[dict[str, Any]]) -> Peer:
    """Learners that have seen one uniform draw of every training query."""
    actions = [f"|a {arm}" for arm in arms]
    encode = load_encoder().encode

    def of_words(query: str) -> str:
        return "\n".join(["shared |t " + " ".join(_WORDS.findall(query.lower())), *actions])

    def of_embedding(query: str) -> str:
        numbers = " ".join(f"{i}:{x:.5f}" for i, x in enumerate(encode([query])[0].tolist()))
        return "\n".join([f"shared |t {numbers}", *actions])

    words, embedding = trained(of_words, arms, train), trained(of_embedding, arms, train)
    rng = random.Random(1)
    return Peer(
        ["vowpalwabbit"],
        [
            Way("predict", PREDICTS, words.predict, prepare=of_words),
            Way(
                "predict from the query",
                "the same, with the example built from the query's words",
                lambda query: words.predict(of_words(query)),
            ),
            Way("predict, embedding ready", PREDICTS, embedding.predict, prepare=of_embedding),
            Way(
                "learn",
                "one online step on a logged draw: parse, predict, update. This project learns "
                "offline, from its log: no step on the decision's path compares with it",
                words.learn,
                prepare=lambda query: labelled(
                    of_words(query), rng.randrange(len(arms)), 0.5, arms
                ),
            ),
        ],
    )


def trained(
    example: Callable[[str], str], arms: list[str], train: list[dict[str, Any]]
) -> Workspace:
    """A learner on what `example` makes of the training queries."""
    workspace = Workspace(f"{OPTIONS} -q ta")
    rng = random.Random(0)
    for row in train:
        drawn = rng.randrange(len(arms))
        reward = row["quality"][arms[drawn]]
        workspace.learn(labelled(example(row["query"]), drawn, reward, arms))
    return workspace


def labelled(example: str, drawn: int, reward: float, arms: list[str]) -> str:
    """The example with the drawn action's cost and its uniform probability before it."""
    lines = example.split("\n")
    lines[1 + drawn] = f"0:{-reward:.6f}:{1 / len(arms):.6f} {lines[1 + drawn]}"
    return "\n".join(lines)


if __name__ == "__main__":
    serve(build)
