"""The probability that a round's outcome is reported."""

import numpy as np

from training.log.rounds import Bools, Floats, LoggedRounds
from training.reporting.audit import MIN_AUDITED, audit_test, tilted
from training.reporting.model import modelled_reporting
from training.reporting.shares import reporting_shares

# Whoever reports more rarely counts as if reporting this often: a report in a thousand would
# otherwise outweigh all others.
FLOOR = 0.02


def reporting_probabilities(rounds: LoggedRounds, known: Bools, outcome: Floats) -> Floats:
    """(n,) each round's probability of being reported, FLOOR or more.

    Audited rounds are asked, so they report as often as audited rounds do. Others follow the shares
    of their arm and tenant, or a model where it predicts better. Where audits show that they depend
    on the outcome itself, that enters beside arm and tenant, in the model's place: what a query
    tells of its outcome must not count twice.

    Args:
        rounds: n rounds.
        known: (n,) whether the outcome was reported.
        outcome: (n,) its value, anything where it isn't known.
    """
    if known.all() or not known.any():
        return known.astype(np.float64)
    asked = rounds.audited if rounds.audited.sum() >= MIN_AUDITED else np.zeros_like(known)
    free = ~asked
    reporting = np.ones(len(rounds))
    if asked.any():
        reporting[asked] = known[asked].mean()
    volunteers, told = rounds.rows(free), known[free]
    modelled = modelled_reporting(volunteers, told)
    reporting[free] = reporting_shares(volunteers, told)
    shares = np.maximum(reporting, FLOOR)
    if modelled is not None:
        reporting[free] = modelled
    reporting = np.maximum(reporting, FLOOR)
    if asked.any() and audit_test(rounds, known, outcome, reporting).alarm:
        return np.maximum(tilted(rounds, known, outcome, shares), FLOOR)
    return reporting
