"""The outlook on each case as plain numbers, from which its event and its answer are written."""

from collections.abc import Sequence
from itertools import compress, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.features import pack_rows
from policies.policy import Floats
from router.deciding.cases import Case
from router.deciding.outlook import Outlook


class Row(NamedTuple):
    """Case `number` of those decided together.

    `expected` has by metric one number per arm, `by_arm` the same the other way about; `utilities`
    and `probabilities` are per arm; `best` is the eligible arm of greatest utility; `features` are
    as the log holds them.
    """

    number: int
    case: Case
    expected: dict[str, list[float]]
    by_arm: list[dict[str, float]]
    utilities: list[float]
    probabilities: list[float]
    best: int
    features: bytes


def rows_of(
    cases: Sequence[Case],
    outlook: Outlook,
    probabilities: Floats,
    features: NDArray[np.float32],
) -> list[Row]:
    """One row a case, drawn with these probabilities (n, A); `features` (n, d).

    Arrays become lists all at once: taking numbers out of an array one by one costs more than
    making them.
    """
    by_metric, by_arm = outlook.expected.transpose(0, 2, 1).tolist(), outlook.expected.tolist()
    utilities = outlook.utilities.tolist()
    return list(
        map(
            Row,
            range(len(cases)),
            cases,
            map(dict, map(zip, outlook.metrics, by_metric)),
            [
                list(map(dict, map(zip, repeat(metrics), arms)))
                for metrics, arms in zip(outlook.metrics, by_arm, strict=True)
            ],
            utilities,
            probabilities.tolist(),
            map(_best, utilities, [case.eligibility.mask for case in cases]),
            pack_rows(features),
        )
    )


def _best(utilities: Sequence[float], eligible: Sequence[bool]) -> int:
    """The first eligible arm of greatest utility."""
    if False not in eligible:
        return utilities.index(max(utilities))
    return max(compress(range(len(eligible)), eligible), key=utilities.__getitem__)
