"""Audited decisions against volunteered feedback: does reporting depend on the outcome itself?

Volunteered outcomes that are missing because of what they are (the pleased stay silent) can't be
weighed right from volunteered feedback alone. An audited decision's outcome is asked of everyone,
so the audited mean is unbiased. Where volunteered feedback of the same arms has another mean, the
log-odds of volunteering are taken to change by γ with each unit of the outcome, with the γ for
which the weighted means agree: exponential tilting (Scharfstein, Rotnitzky and Robins 1999),
calibrated to the audited sample. One γ serves all arms: whether a person reports may depend on how
well they were served, less on which arm served them.
"""

import math
from typing import NamedTuple

import numpy as np

from training.fit.folds import Ints
from training.log.rounds import Bools, Floats, LoggedRounds

# Audited decisions with an outcome from which anything is said.
MIN_AUDITED = 50
# An audit in which fewer answer is itself volunteered.
MIN_ANSWERED = 0.8
# Two-sided false alarms of 1 %.
ALARM_Z = 2.5758293035489004
# The most that tilting may make one outcome weigh over another.
_MOST_TILT = math.log(50.0)
_HALVINGS = 40


class AuditTest(NamedTuple):
    """The audited mean of an outcome, the volunteered mean of the same arms, and how many standard
    errors they are apart; `answered` is the share of audited decisions that have an outcome.
    """

    audited: float
    volunteered: float
    z: float
    rows: int
    answered: float

    @property
    def usable(self) -> bool:
        """Whether enough audited decisions have an outcome."""
        return self.rows >= MIN_AUDITED and self.answered >= MIN_ANSWERED

    @property
    def alarm(self) -> bool:
        """Whether volunteered feedback is significantly off."""
        return self.usable and abs(self.z) > ALARM_Z


def audit_test(rounds: LoggedRounds, known: Bools, outcome: Floats, reporting: Floats) -> AuditTest:
    """Compare the means, arm by arm, each arm as often as it was audited.

    Null: outcomes are missing at random given what `reporting` knows; |z| > ALARM_Z once in 100.

    Args:
        rounds: n rounds.
        known: (n,) whether the outcome was reported.
        outcome: (n,) its value, anything where it isn't known.
        reporting: (n,) each volunteered round's probability of being reported.
    """
    asked = rounds.audited & known
    answered = float(known[rounds.audited].mean()) if rounds.audited.any() else 0.0
    audited = volunteered = variance = 0.0
    total = 0
    for arm in range(len(rounds.arms)):
        ours = outcome[asked & (rounds.action == arm)]
        theirs = known & ~rounds.audited & (rounds.action == arm)
        if len(ours) < 2 or theirs.sum() < 2:
            continue
        weights = 1.0 / reporting[theirs]
        mean = float(np.average(outcome[theirs], weights=weights))
        spread = float((weights**2 * (outcome[theirs] - mean) ** 2).sum()) / weights.sum() ** 2
        count = len(ours)
        total += count
        audited, volunteered = audited + count * ours.mean(), volunteered + count * mean
        variance += count**2 * (float(ours.var(ddof=1)) / count + spread)
    if not total:
        return AuditTest(math.nan, math.nan, 0.0, 0, answered)
    error = math.sqrt(variance) / total
    difference = (audited - volunteered) / total
    z = difference / error if error > 0.0 else 0.0
    return AuditTest(audited / total, volunteered / total, z, total, answered)


def tilted(rounds: LoggedRounds, known: Bools, outcome: Floats, shares: Floats) -> Floats:
    """(n,) the volunteers' probabilities of being reported, given arm, tenant and outcome: those
    for which the weighted mean of volunteered outcomes is the audited one.

    log-odds(reported) = h(cell) + γ·outcome, with cells of one arm and one share, so that

        1 / P(reported) = 1 + (1 − share) / share · e^(−γ·outcome) / mean over reports of e^(−γ·y)

    Arguments as for `audit_test`; `shares` depend on nothing that tells of the outcome, or the
    outcome would count twice. Unreported rounds keep theirs.
    """
    theirs = known & ~rounds.audited
    target = audit_test(rounds, known, outcome, shares).audited
    cells = np.unique(np.column_stack([rounds.action, shares])[theirs], axis=0, return_inverse=True)
    cell = cells[1].reshape(-1)
    y, share = outcome[theirs], shares[theirs]
    spread = float(np.ptp(y)) or 1.0
    low, high = -_MOST_TILT / spread, _MOST_TILT / spread
    found = shares.copy()
    for _ in range(_HALVINGS):
        gamma = (low + high) / 2.0
        found[theirs] = _given_outcome(y - y.mean(), share, cell, gamma)
        # The more γ, the less a high outcome weighs.
        above = audit_test(rounds, known, outcome, found).volunteered > target
        low, high = (gamma, high) if above else (low, gamma)
    return found


def _given_outcome(y: Floats, share: Floats, cell: Ints, gamma: float) -> Floats:
    tilt = np.exp(-gamma * y)
    mean = np.bincount(cell, weights=tilt) / np.bincount(cell)
    return np.asarray(1.0 / (1.0 + (1.0 - share) / share * tilt / mean[cell]))
