"""The outlook on each case as plain numbers, from which its event and its answer are written."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.features import pack_rows
from policies.policy import Floats
from router.deciding.cases import Case
from router.deciding.outlook import Outlook


class Row(NamedTuple):
    """Case `number` of those decided together.

    `expected` has by metric one number per arm; `utilities` and `probabilities` are per arm; `best`
    is the eligible arm of greatest utility; `features` are as the log holds them.
    """

    number: int
    case: Case
    expected: dict[str, list[float]]
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
    by_metric = outlook.expected.transpose(0, 2, 1).tolist()
    columns = zip(
        cases,
        by_metric,
        outlook.utilities.tolist(),
        probabilities.tolist(),
        outlook.best().tolist(),
        pack_rows(features),
        strict=True,
    )
    metrics = outlook.metrics
    return [
        Row(number, case, dict(zip(metrics, expected, strict=True)), *rest)
        for number, (case, expected, *rest) in enumerate(columns)
    ]
