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
from collections.abc import Sequence
from typing import NamedTuple, Protocol

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


class Drawn(Protocol):
    """What of n rounds is asked here: which arm each drew (n,), whether it was audited (n,)."""

    @property
    def arms(self) -> tuple[str, ...]: ...
    @property
    def action(self) -> Ints: ...
    @property
    def audited(self) -> Bools: ...


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


def audit_test(rounds: Drawn, known: Bools, outcome: Floats, reporting: Floats) -> AuditTest:
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

    with cells of one arm and one share. `centre` is taken off outcomes; means: by cell, and
    by_arm (A,) over all of an arm's.
    """

    gamma: float
    centre: float
    means: dict[tuple[int, float], float]
    by_arm: Floats

    def probabilities(
        self, rounds: LoggedRounds, known: Bools, outcome: Floats, shares: Floats
    ) -> Floats:
        """(n,) the volunteers' probabilities of being reported, given arm, tenant and outcome;
        other rounds keep their shares. Arguments as for `audit_test`.
        """
        theirs = known & ~rounds.audited
        tilt = np.exp(-self.gamma * (outcome[theirs] - self.centre))
        found = shares.copy()
        keys, cell = _cells(rounds.action[theirs], shares[theirs])
        means = np.array([self.means.get(key, float(self.by_arm[key[0]])) for key in keys])
        found[theirs] = _given(tilt / means[cell], shares[theirs])
        return found


class Reports(NamedTuple):
    """The reported ones of some rounds, n of them: drawn arm, whether it was audited, outcome, and
    the share of rounds like it that are reported, (n,) each. 25 bytes a report.
    """

    arms: tuple[str, ...]
    action: Ints
    audited: Bools
    outcome: Floats
    shares: Floats

    @classmethod
    def of(cls, rounds: Drawn, known: Bools, outcome: Floats, shares: Floats) -> "Reports":
        """Arguments as for `audit_test`."""
        return cls(
            rounds.arms, rounds.action[known], rounds.audited[known], outcome[known], shares[known]
        )

    @classmethod
    def joined(cls, parts: Sequence["Reports"]) -> "Reports":
        """Of several parts of a log, at least one."""
        arrays = (np.concatenate(column) for column in zip(*(p[1:] for p in parts), strict=True))
        return cls(parts[0].arms, *arrays)


def fit_tilt(reports: Reports) -> Tilt:
    """The tilt for which the weighted mean of volunteered outcomes is the audited one.

    Of the whole log's reports: from a sample's, a cell would be left with a report or two, whose
    mean says nothing. Their shares depend on nothing that tells of the outcome, or the outcome
    would count twice.
    """
    known, theirs = np.ones(len(reports.action), dtype=np.bool_), ~reports.audited
    shares, outcome = reports.shares, reports.outcome
    target = audit_test(reports, known, outcome, shares).audited
    keys, cell = _cells(reports.action[theirs], shares[theirs])
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
        above = audit_test(reports, known, outcome, found).volunteered > target
        low, high = (gamma, high) if above else (low, gamma)
    count = np.bincount(reports.action[theirs], minlength=len(reports.arms))
    total = np.bincount(reports.action[theirs], weights=tilt, minlength=len(reports.arms))
    by_arm = np.where(count > 0, total / np.maximum(count, 1), tilt.mean())
    return Tilt(gamma, centre, dict(zip(keys, mean.tolist(), strict=True)), by_arm)


def _cells(action: Ints, shares: Floats) -> tuple[list[tuple[int, float]], Ints]:
    """The different cells of some rounds, and (n,) the number of each round's."""
    levels, level = np.unique(shares.round(12), return_inverse=True)
    codes, cell = np.unique(action * len(levels) + level, return_inverse=True)
    keys = [(code // len(levels), float(levels[code % len(levels)])) for code in codes.tolist()]
    return keys, cell


def _given(tilt: Floats, share: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + (1.0 - share) / share * tilt))
