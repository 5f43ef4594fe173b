"""In which order a seed's learners see the rows and the arms; the same for all of them."""

import numpy as np
from numpy.typing import NDArray


def shuffled_arms(seed: int, count: int) -> NDArray[np.intp]:
    """(A,) the arms' places: ties and starting values favour some place, which would be luck."""
    return np.random.default_rng([seed, 1]).permutation(count)


def row_order(seed: int, count: int) -> NDArray[np.intp]:
    """(n,) each row once, as `training.simulation.online.learn_online` has them."""
    return np.random.default_rng(seed).permutation(count)
