"""The rounds of joined decisions, checked, without those whose feedback may still be on its way.

The drawn arm counts, whichever arm a fallback ran in its place: that is what a policy decides.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from training.errors import InputError
from training.fit.folds import Ints
from training.log import columns
from training.log.distinct import rows_at
from training.log.joined_values import JoinedValues
from training.log.log_facts import Whole
from training.log.log_folder import LogPlace
from training.log.rounds import Bools, Floats, RoundCounts
from training.log.rounds_table import rounds_table

# How far a logged propensity may lie from the logged probability of the drawn arm.
_ROUNDING = 1e-6


class Settled(NamedTuple):
    """Rounds in order of time, as a table; how many decisions wait for a later log, and how many
    could only have gone one way.
    """

    table: pa.Table
    pending: int
    unexplored: int


def settled(
    joined: JoinedValues, whole: Whole, source: LogPlace, since: float = -math.inf
) -> Settled:
    """The rounds, without those whose feedback may still be on its way.

    Args:
        joined: the decisions, and the values reported for them.
        whole: what the whole log tells.
        source: for messages.
        since: only rounds made later than this. Others are checked and counted all the same, but
            need no features.

    Raises:
        InputError: a propensity or an arm is wrong.
    """
    decisions: Any = joined.decisions
    probabilities = columns.by_arm(decisions, "probabilities", whole.arms)
    eligible = columns.eligible(decisions, whole.arms)
    action = columns.positions(decisions["arm"], whole.arms)
    pscore = columns.numbers(decisions["propensity"])
    _check_propensities(decisions, action, pscore, probabilities, eligible, source)
    at = joined.facts.at
    grown = ~(np.maximum(whole.end - at, 0.0) < whole.waiting)
    kept = np.flatnonzero(grown & (at > since))
    kept = kept[np.argsort(at[kept], kind="stable")]
    rows = rows_at(decisions, kept)
    nothing = np.full(len(at), np.nan)
    values = {**joined.values, **dict.fromkeys(whole.rare, nothing)}
    arrays = {
        "action": action[kept],
        "pscore": pscore[kept],
        "probabilities": probabilities[kept],
        "eligible": eligible[kept],
        "values": np.column_stack([values.get(m, nothing)[kept] for m in whole.metrics]),
        "expected": np.stack(
            [columns.expected(rows, whole.arms, m) for m in whole.metrics], axis=2
        ),
        "weights": np.column_stack([columns.weights(rows, metric) for metric in whole.metrics]),
        "candidate_probabilities": _candidate_probabilities(rows, whole.arms),
    }
    return Settled(
        table=rounds_table(rows, arrays),
        pending=int((~grown).sum()),
        unexplored=int((~((probabilities > 0.0) | ~eligible).all(axis=1)).sum()),
    )


def counts_of(whole: Whole, settled: Iterable[Settled]) -> RoundCounts:
    """What the join found, from all buckets' rounds."""
    pending, unexplored = np.sum([(one.pending, one.unexplored) for one in settled], axis=0)
    return RoundCounts(
        **whole.counted,
        rare_metrics=list(whole.rare),
        pending=int(pending),
        unexplored=int(unexplored),
    )


def _candidate_probabilities(decisions: Any, names: Sequence[str]) -> Floats:
    """(n, A), 0 in rows without a candidate."""
    lists = columns.one_array(decisions["candidate_probabilities"])
    given = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) > 0
    matrix = np.zeros((decisions.num_rows, len(names)))
    if given.any():
        with_one = decisions.filter(pa.array(given))
        matrix[given] = columns.by_arm(with_one, "candidate_probabilities", names)
    return matrix


def _check_propensities(
    decisions: Any,
    drawn: Ints,
    pscore: Floats,
    probabilities: Floats,
    eligible: Bools,
    source: LogPlace,
) -> None:
    def refuse(wrong: Bools, field: str, what: str) -> None:
        if wrong.any():
            first = decisions["decision_id"][int(wrong.argmax())]
            raise InputError(
                f"{what} in {int(wrong.sum())} decisions, first in {first}: the log was altered "
                "or its writer is broken; export it again",
                path=source / "decisions",
                field=field,
            )

    refuse(drawn < 0, "arm", "the drawn arm isn't among the decision's arms")
    refuse(~((pscore > 0.0) & (pscore <= 1.0)), "propensity", "isn't within (0, 1]")
    logged = probabilities[np.arange(len(drawn)), drawn]
    # Written so that NaN is refused as well.
    differs = ~(np.abs(logged - pscore) <= _ROUNDING)
    refuse(differs, "propensity", "isn't the drawn arm's probability")
    total = np.abs(probabilities.sum(axis=1) - 1.0)
    refuse(~(total <= _ROUNDING), "probabilities", "don't sum to 1")
    refuse(~eligible[np.arange(len(drawn)), drawn], "eligible", "lacks the drawn arm")
