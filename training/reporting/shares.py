"""Reporting as a table: the share of like rounds whose outcome was reported."""

import numpy as np

from training.log.rounds import Bools, Floats, LoggedRounds

# Draws of one arm for one tenant from which a reporting share is taken.
MIN_LIKE = 50


def reporting_shares(rounds: LoggedRounds, known: Bools) -> Floats:
    """(n,) for each round, the share of rounds like it whose outcome was reported.

    Like it are those that drew its arm for its tenant, since tenants report differently; where they
    are fewer than MIN_LIKE, all that drew its arm.
    """
    if not len(rounds):
        return np.zeros(0)
    arms = len(rounds.arms)
    tenants = np.unique(rounds.tenants.astype(str), return_inverse=True)[1]
    by_arm = _share(rounds.action, known, arms)[rounds.action]
    cells = tenants * arms + rounds.action
    count = np.bincount(cells)[cells]
    return np.where(count >= MIN_LIKE, _share(cells, known, int(cells.max()) + 1)[cells], by_arm)


def _share(cells: np.ndarray[tuple[int], np.dtype[np.intp]], known: Bools, size: int) -> Floats:
    """(size,) the share of each cell's rounds that are known; 0 for an empty one."""
    counts = np.bincount(cells, minlength=size)
    return np.asarray(np.bincount(cells[known], minlength=size) / np.maximum(counts, 1))
