"""Which metrics are amounts to be spared, such as cost, and which are shares of a full success."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Amounts even where all recorded values happen to lie below 1.
AMOUNTS = frozenset({"cost_usd", "latency_s", "steps"})


def is_amount(metric: str, values: Floats) -> bool:
    """Whether the metric is an amount: by its name, or because a value leaves 0..1."""
    known = values[~np.isnan(values)]
    return metric in AMOUNTS or bool(known.size and (known.min() < 0.0 or known.max() > 1.0))


def good_direction(metric: str, values: Floats, weight: float) -> float:
    """+1 where more of the metric is better, −1 where less is: as the objectives weigh it, and
    where they don't, less of an amount and more of anything else.
    """
    if weight != 0.0:
        return 1.0 if weight > 0.0 else -1.0
    return -1.0 if is_amount(metric, values) else 1.0
