"""What every peer is asked, and what it learns from first."""

import gzip
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

ARMS = ["finetuned", "retrieve", "hybrid"]
_SUBJECTS = ["the director", "the author", "the first owner", "the lead singer", "the architect"]
_THINGS = ["film", "novel", "bridge", "band", "museum", "river", "company", "opera", "stadium"]
_SYLLABLES = [
    "hal",
    "den",
    "or",
    "si",
    "ni",
    "ve",
    "la",
    "kes",
    "tr",
    "el",
    "ma",
    "du",
    "lo",
    "wick",
]
_FORMS = [
    "When was {subject} of the {thing} {name} born, and where?",
    "Who is {subject} of the {thing} {name}?",
    "Which {thing} is older, {name} or {other}?",
    "In which year did {subject} of the {thing} called {name} first visit {other}?",
    "Summarise in our house style what {subject} of {name} said about the {thing} {other}.",
]


class Questions(NamedTuple):
    """arms: names; train: `{"query", "quality": {arm: number}}` rows; queries: to be timed on."""

    arms: list[str]
    train: list[dict[str, Any]]
    queries: list[str]
    source: str


def recorded(table: Path, count: int) -> Questions:
    """The train rows of an outcomes table to learn from, the first `count` others to decide on.

    A table whose rows have one split is cut in half.
    """
    read = gzip.open if table.suffix == ".gz" else open
    with read(table, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    learn = [row for row in rows if row.get("split") == "train"] or rows[: len(rows) // 2]
    learnt = {id(row) for row in learn}
    queries = [row["query"] for row in rows if id(row) not in learnt]
    random.Random(0).shuffle(queries)
    train = [
        {"query": row["query"], "quality": {a: o["quality"] for a, o in row["outcomes"].items()}}
        for row in learn
    ]
    return Questions(list(rows[0]["outcomes"]), train, queries[:count], table.name)


def generated(count: int, learn_from: int = 3000) -> Questions:
    """Questions from a few forms; an arm's quality is chance, which costs the same time.

    The names are made up anew for each, as a query's rare words are: none is in anyone's cache.
    """
    rng = random.Random(0)

    def name() -> str:
        return "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 4))).capitalize()

    def question() -> str:
        return rng.choice(_FORMS).format(
            subject=rng.choice(_SUBJECTS),
            thing=rng.choice(_THINGS),
            name=f"{name()} {name()}",
            other=name(),
        )

    train = [
        {"query": question(), "quality": {arm: float(rng.random() < 0.5) for arm in ARMS}}
        for _ in range(learn_from)
    ]
    return Questions(ARMS, train, [question() for _ in range(count)], "generated questions")
