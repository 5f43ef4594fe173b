"""Feedback takes its time: which decisions are too young for theirs to have arrived.

Reports that have arrived of young decisions are the quick ones, so the delays at hand are right-
truncated at each decision's age. Their distribution is the product-limit estimate for such data
(Lynden-Bell 1971; Woodroofe 1985), F(t) = Π_{s > t} (1 − reports after s / reports at risk at s).
"""

import numpy as np

from training.log.rounds import Bools, Floats

# Fewer reports say little of how long they take.
MIN_REPORTS = 200
# A decision has had its time when this share of the reports that ever come would be here.
ARRIVED = 0.95
# However slow reports are, no more than this share of a log is set aside.
MOST_PENDING = 0.5


def pending(at: Floats, reported_at: Floats, now: float) -> Bools:
    """(n,) decisions that can't be said to lack feedback yet; arguments as for `waiting_age`."""
    return np.asarray(np.maximum(now - at, 0.0) < waiting_age(at, reported_at, now))


def waiting_age(at: Floats, reported_at: Floats, now: float) -> float:
    """The age below which decisions can't be said to lack feedback yet, in seconds.

    0 where feedback doesn't tarry, or where there is too little of it to say.

    Args:
        at: (n,) when each was made, in seconds.
        reported_at: (n,) when its feedback came, NaN where it hasn't.
        now: when the log ends.
    """
    age = np.maximum(now - at, 0.0)
    came = ~np.isnan(reported_at)
    if came.sum() < MIN_REPORTS:
        return 0.0
    delays = np.clip(reported_at[came] - at[came], 0.0, age[came])
    oldest = delay_quantile(delays, age[came], ARRIVED)
    young = age < oldest
    if not (young & ~came).any():
        return 0.0
    return float(np.quantile(age, MOST_PENDING)) if young.mean() > MOST_PENDING else oldest


def delay_quantile(delays: Floats, ages: Floats, share: float) -> float:
    """The delay within which this share of reports arrives.

    Args:
        delays: (n,) of reports that have arrived.
        ages: (n,) of their decisions, never below the delays.
        share: 0..1.
    """
    order = np.sort(delays)
    times, events = np.unique(order, return_counts=True)
    # At risk at s: reports no later than s, of decisions at least as old as s.
    at_risk = np.searchsorted(order, times, side="right") - np.searchsorted(
        np.sort(ages), times, side="left"
    )
    kept = 1.0 - events / np.maximum(at_risk, events)
    # F at each time is the product over later times; at the last one it is 1.
    later = np.append(np.cumprod(kept[::-1])[::-1][1:], 1.0)
    return float(times[np.searchsorted(later, share)])
