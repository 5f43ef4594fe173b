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


class Tilt(NamedTuple):
    """How volunteering depends on the outcome: log-odds(reported) = h(cell) + γ·outcome, so that

        1 / P(reported) = 1 + (1 − share) / share · e^(−γ·outcome) / mean over reports of e^(−γ·y)

    with cells of one arm and one share. `centre` is taken off outcomes; means: by cell.
    """

    gamma: float
    centre: float
    means: dict[tuple[int, float], float]

    def probabilities(
        self, rounds: LoggedRounds, known: Bools, outcome: Floats, shares: Floats
    ) -> Floats:
        """(n,) the volunteers' probabilities of being reported, given arm, tenant and outcome;
        other rounds keep their shares. Arguments as for `audit_test`.
        """
        theirs = known & ~rounds.audited
        tilt = np.exp(-self.gamma * (outcome[theirs] - self.centre))
        found = shares.copy()
        keys = _cells(rounds, shares, theirs)
        mean = np.array([self.means.get(key, 1.0) for key in keys])
        found[theirs] = _given(tilt / mean, shares[theirs])
        return found


def fit_tilt(rounds: LoggedRounds, known: Bools, outcome: Floats, shares: Floats) -> Tilt:
    """The tilt for which the weighted mean of volunteered outcomes is the audited one.

    Arguments as for `audit_test`; `shares` depend on nothing that tells of the outcome, or the
    outcome would count twice.
    """
    theirs = known & ~rounds.audited
    target = audit_test(rounds, known, outcome, shares).audited
    names = _cells(rounds, shares, theirs)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    cell = np.array([numbers[name] for name in names], dtype=np.intp)
    centre = float(outcome[theirs].mean())
    y, share = outcome[theirs] - centre, shares[theirs]
    spread = float(np.ptp(y)) or 1.0
    low, high = -_MOST_TILT / spread, _MOST_TILT / spread
    found = shares.copy()
    for _ in range(_HALVINGS):
        gamma = (low + high) / 2.0
        tilt = np.exp(-gamma * y)
        mean = np.bincount(cell, weights=tilt) / np.bincount(cell)
        found[theirs] = _given(tilt / mean[cell], share)
        # The more γ, the less a high outcome weighs.
        above = audit_test(rounds, known, outcome, found).volunteered > target
        low, high = (gamma, high) if above else (low, gamma)
    return Tilt(gamma, centre, dict(zip(numbers, mean.tolist(), strict=True)))


def _cells(rounds: LoggedRounds, shares: Floats, theirs: Bools) -> list[tuple[int, float]]:
    arms, found = rounds.action[theirs].tolist(), shares[theirs].round(12).tolist()
    return list(zip(arms, found, strict=True))


def _given(tilt: Floats, share: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + (1.0 - share) / share * tilt))
