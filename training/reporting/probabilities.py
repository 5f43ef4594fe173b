"""The probability that a round's outcome is reported."""

from typing import NamedTuple

import numpy as np

from training.log.rounds import Bools, Floats, LoggedRounds
from training.reporting.audit import MIN_AUDITED, Reports, Tilt, audit_test, fit_tilt
from training.reporting.model import ReportingModel, fit_reporting_model
from training.reporting.shares import CellSums, shares_of

# Whoever reports more rarely counts as if reporting this often: a report in a thousand would
# otherwise outweigh all others.
FLOOR = 0.02


class ReportingCounts(NamedTuple):
    """Rounds and reported ones by tenant and arm, volunteers and audited rounds apart; those of a
    log's parts add up.
    """

    volunteers: CellSums
    audited: CellSums

    @classmethod
    def of(cls, rounds: LoggedRounds, known: Bools) -> "ReportingCounts":
        """Of the rounds, `known` (n,) whether each was reported."""
        free = ~rounds.audited
        return cls(
            CellSums.of(rounds.rows(free), known[free]),
            CellSums.of(rounds.rows(~free), known[~free]),
        )

    def plus(self, other: "ReportingCounts") -> "ReportingCounts":
        """Over both sets of rounds."""
        return ReportingCounts(
            self.volunteers.plus(other.volunteers), self.audited.plus(other.audited)
        )

    @property
    def asked(self) -> bool:
        """Whether audited rounds are enough to be counted apart."""
        return float(self.audited.drawn.sum()) >= MIN_AUDITED


class Reporting(NamedTuple):
    """How rounds come to be reported, fitted on a log; small enough to be sent with a step.

    certain: 1 or 0 where all rounds or none are reported; asked: the share of audited rounds that
    are, None where there are too few; volunteers: the table of others' shares; what replaces them.
    """

    certain: float | None
    asked: float | None = None
    volunteers: CellSums | None = None
    model: ReportingModel | None = None
    tilt: Tilt | None = None

    def probabilities(self, rounds: LoggedRounds, known: Bools, outcome: Floats) -> Floats:
        """(n,) each round's probability of being reported, FLOOR or more.

        Args:
            rounds: n rounds of the log.
            known: (n,) whether the outcome was reported.
            outcome: (n,) its value, anything where it isn't known.
        """
        if self.certain is not None:
            return np.full(len(rounds), self.certain)
        if self.tilt is not None:
            shares = np.maximum(self._by(rounds, None), FLOOR)
            found = self.tilt.probabilities(rounds, known, outcome, shares)
            return np.maximum(found, FLOOR)
        return np.maximum(self._by(rounds, self.model), FLOOR)

    def reports(self, rounds: LoggedRounds, known: Bools, outcome: Floats) -> Reports:
        """What a tilt is fitted to: reported rounds with the shares of those like them; arguments
        as for `probabilities`.
        """
        shares = np.maximum(self._by(rounds, None), FLOOR)
        return Reports.of(rounds, known, outcome, shares)

    def tilted(self, reports: Reports) -> "Reporting":
        """With the tilt that these tell of, in the model's place."""
        return self._replace(model=None, tilt=fit_tilt(reports))

    def _by(self, rounds: LoggedRounds, model: ReportingModel | None) -> Floats:
        """(n,) by the model, or by the shares."""
        assert self.volunteers is not None
        free = np.ones(len(rounds), np.bool_) if self.asked is None else ~rounds.audited
        found = np.full(len(rounds), self.asked or 0.0)
        theirs = rounds if free.all() else rounds.rows(free)
        if len(theirs):
            found[free] = (
                model.probabilities(theirs) if model else shares_of(self.volunteers, theirs)
            )
        return found


def fit_reporting(
    rounds: LoggedRounds, known: Bools, outcome: Floats, counts: ReportingCounts
) -> Reporting:
    """How rounds come to be reported.

    Audited rounds are asked, so they report as often as audited rounds do. Others follow the shares
    of their arm and tenant, or a model where it predicts better. Where audits show that they depend
    on the outcome itself, that enters beside arm and tenant, in the model's place: what a query
    tells of its outcome must not count twice.

    Args:
        rounds: n rounds, the log's or a sample of them, on which model and audits are fitted. A
            tilt must be fitted anew, by `tilted`, to the reports of all rounds that it is for.
        known: (n,) whether the outcome was reported.
        outcome: (n,) its value, anything where it isn't known.
        counts: of the whole log.
    """
    everyone = counts.volunteers.plus(counts.audited)
    reported, total = float(everyone.total.sum()), float(everyone.drawn.sum())
    if reported in (0.0, total):
        return Reporting(certain=float(reported > 0.0))
    if not counts.asked:
        return Reporting(None, None, everyone, fit_reporting_model(rounds, known))
    free = ~rounds.audited
    found = Reporting(
        None,
        float(counts.audited.total.sum() / counts.audited.drawn.sum()),
        counts.volunteers,
        fit_reporting_model(rounds.rows(free), known[free]) if free.any() else None,
    )
    if audit_test(rounds, known, outcome, found.probabilities(rounds, known, outcome)).alarm:
        return found.tilted(found.reports(rounds, known, outcome))
    return found


def reporting_probabilities(rounds: LoggedRounds, known: Bools, outcome: Floats) -> Floats:
    """(n,) each round's probability of being reported, FLOOR or more, fitted on these rounds.

    Arguments as for `fit_reporting`.
    """
    fitted = fit_reporting(rounds, known, outcome, ReportingCounts.of(rounds, known))
    return fitted.probabilities(rounds, known, outcome)
