"""The only place that draws an arm."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from policies.errors import ArmError

# Copying a hash that is begun takes half as long as beginning one.
_DRAW = blake2b(digest_size=8, person=b"arm-draw")


def uniform_draw(decision_id: str) -> float:
    """A number in [0, 1) that the decision id alone fixes, so that the draw can be replayed."""
    draw = _DRAW.copy()
    draw.update(decision_id.encode())
    # 53 bits: the division is exact, and < 1.
    return (int.from_bytes(draw.digest(), "big") >> 11) / 2**53


def choose(probabilities: NDArray[np.float64] | Sequence[float], decision_id: str) -> int:
    """The index of the arm drawn from one row of probabilities, (A,) of an array or a list.

    The same probabilities and decision id always give the same arm; an arm with probability 0 is
    never drawn.

    Raises:
        ArmError: no arm has a positive probability.
    """
    row = probabilities.tolist() if isinstance(probabilities, np.ndarray) else probabilities
    remaining = uniform_draw(decision_id)
    drawn = -1
    for index, probability in enumerate(row):
        if probability <= 0.0:
            continue
        drawn = index  # the last positive arm takes what rounding leaves over
        remaining -= probability
        if remaining < 0.0:
            break
    if drawn < 0:
        raise ArmError("no arm has a positive probability", field="arms")
    return drawn
