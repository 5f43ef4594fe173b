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


def reporting_by_arm(rounds: LoggedRounds, reporting: Floats) -> Floats:
    """(n, A) how often each round would have been reported, had it drawn each arm.

    The harmonic mean of the probabilities of rounds like it, since what they enter is a variance,
    as 1 / P(reported): a tenant of two that reports one time in twenty makes it ten times as large,
    not twice. Like it are those of its tenant that drew the arm; where they are fewer than
    MIN_LIKE, all that drew the arm, or all rounds if none did.

    Args:
        rounds: n rounds.
        reporting: (n,) each round's probability of being reported, with the arm it drew.
    """
    n, arms = len(rounds), len(rounds.arms)
    if not reporting.any():
        return np.zeros((n, arms))
    inverse = 1.0 / reporting
    names, tenants = np.unique(rounds.tenants.astype(str), return_inverse=True)
    cells = tenants * arms + rounds.action
    count = np.bincount(cells, minlength=len(names) * arms)
    total = np.bincount(cells, weights=inverse, minlength=len(names) * arms)
    by_arm = np.bincount(rounds.action, weights=inverse, minlength=arms)
    draws = np.bincount(rounds.action, minlength=arms)
    by_arm = np.where(draws > 0, by_arm / np.maximum(draws, 1), inverse.mean())
    own = (total / np.maximum(count, 1)).reshape(-1, arms)
    like = np.where(count.reshape(-1, arms) >= MIN_LIKE, own, by_arm)
    return np.asarray(1.0 / like[tenants])


def _share(cells: np.ndarray[tuple[int], np.dtype[np.intp]], known: Bools, size: int) -> Floats:
    """(size,) the share of each cell's rounds that are known; 0 for an empty one."""
    counts = np.bincount(cells, minlength=size)
    return np.asarray(np.bincount(cells[known], minlength=size) / np.maximum(counts, 1))
