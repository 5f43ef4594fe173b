"""What only a whole log can tell, from what its buckets tell of themselves.

A bucket holds all rows of some decisions. Its facts add up, and once they are all there it is known
which arms and metrics there are and in which order, which metrics are too rare, and which decisions
are too young for their feedback to have come.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from policies.loading import MOST
from training.log.delay import waiting_age
from training.log.rounds import Floats

# A metric reported in fewer rounds than these (or this share of them) is taken as never reported.
MIN_VALUES = 20
RARE_SHARE = 0.01

# When and where something was first seen: sorting by it gives the order of a log read in one piece.
FirstSeen = tuple[int | float | str, ...]


class LogFacts(NamedTuple):
    """Of a bucket's decisions with the wanted features, unless it says otherwise.

    at (n,) when they were made, and reported_at (n,) when their last feedback came, NaN where none
    has; end: the time of its last event of any kind; arms, metrics and expected: what is named in
    them and where first; values: by metric, in how many rounds it was reported; counted: numbers
    for RoundCounts, by name.
    """

    at: Floats
    reported_at: Floats
    end: float
    arms: Mapping[str, FirstSeen]
    metrics: Mapping[str, FirstSeen]
    expected: Mapping[str, FirstSeen]
    values: Mapping[str, int]
    counted: Mapping[str, int]


class Whole(NamedTuple):
    """What holds for every bucket: `waiting` is the age at the log's `end` below which decisions
    wait for a later log; `rare` metrics count as never reported.
    """

    feature_version: str
    arms: tuple[str, ...]
    metrics: tuple[str, ...]
    rare: tuple[str, ...]
    end: float
    waiting: float
    counted: Mapping[str, int]


def added(facts: Iterable[LogFacts]) -> LogFacts:
    """The facts of all buckets together."""
    buckets = list(facts)
    return LogFacts(
        at=np.concatenate([bucket.at for bucket in buckets]),
        reported_at=np.concatenate([bucket.reported_at for bucket in buckets]),
        end=max(bucket.end for bucket in buckets),
        arms=_earliest(bucket.arms for bucket in buckets),
        metrics=_earliest(bucket.metrics for bucket in buckets),
        expected=_earliest(bucket.expected for bucket in buckets),
        values=reduce(sums, (bucket.values for bucket in buckets), {}),
        counted=reduce(sums, (bucket.counted for bucket in buckets), {}),
    )


def whole_of(facts: LogFacts, feature_version: str, arms: Sequence[str] = ()) -> Whole:
    """What follows from the facts of a whole log; `arms` come first, in their order."""
    n = len(facts.at)
    enough = max(MIN_VALUES, RARE_SHARE * n) if n >= MIN_VALUES else 1
    reported, expected = _in_order(facts.metrics), _in_order(facts.expected)
    # A metric that is only weighed, never reported nor expected, counts as 0: it has no column.
    metrics = sorted(dict.fromkeys((*reported, *expected)), key=lambda name: name != "quality")
    return Whole(
        feature_version=feature_version,
        arms=tuple(dict.fromkeys((*arms, *_in_order(facts.arms)))),
        metrics=tuple(metrics[:MOST]),
        rare=tuple(name for name in reported if facts.values[name] < enough),
        end=facts.end,
        waiting=waiting_age(facts.at, facts.reported_at, facts.end),
        counted=facts.counted,
    )


def sums(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Both, name by name."""
    return {name: one.get(name, 0) + other.get(name, 0) for name in dict.fromkeys((*one, *other))}


def _earliest(seen: Iterable[Mapping[str, FirstSeen]]) -> dict[str, FirstSeen]:
    found: dict[str, FirstSeen] = {}
    for names in seen:
        for name, first in names.items():
            found[name] = min(found.get(name, first), first)
    return found


def _in_order(seen: Mapping[str, FirstSeen]) -> list[str]:
    return sorted(seen, key=lambda name: seen[name])
