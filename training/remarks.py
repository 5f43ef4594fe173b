"""What a person should know of a log before trusting what is made of it."""

from collections.abc import Iterator, Sequence

import numpy as np

from training.log.rounds import LoggedRounds
from training.reporting.audit import MIN_ANSWERED, audit_test
from training.reporting.probabilities import FLOOR, ReportingCounts
from training.reporting.shares import shares_of


def remarks(
    rounds: LoggedRounds, reporting: Sequence[ReportingCounts] | None = None
) -> Iterator[str]:
    """A line for each thing that was left out, counted apart or taken on trust.

    Args:
        rounds: the log's, or a sample in which audits may be more frequent.
        reporting: of the whole log, by metric; without it, of the rounds.
    """
    counts = rounds.counts
    silent = counts.decisions - counts.with_feedback
    for number, what in (
        (silent, "have no feedback yet: they count as unknown, neither bad nor good"),
        (counts.pending, "are so young that feedback may be on its way: they wait for a later log"),
        (counts.unexplored, "could only have gone one way: nothing is learned or judged from them"),
        (counts.fallbacks, "were answered by another arm than the drawn one; the drawn one counts"),
        (counts.other_features, "were logged with other features and are left out"),
    ):
        if number:
            yield f"note: {number:,} of {counts.decisions:,} decisions {what}"
    if counts.orphan_feedback:
        yield f"note: {counts.orphan_feedback:,} values of feedback are for no decision in the log"
    if counts.absurd_feedback:
        yield f"note: {counts.absurd_feedback:,} values beyond ±1e9 are left out as mistakes"
    if counts.rare_metrics:
        yield (
            f"note: {', '.join(counts.rare_metrics)}: reported for too few decisions to learn "
            "from, so it counts as never reported"
        )
    weighed = np.any(rounds.weights != 0.0, axis=0)
    for metric, known, weight in zip(rounds.metrics, rounds.observed, weighed, strict=True):
        if weight and not known:
            yield (
                f"note: {metric!r} is weighed but was never reported: it counts as what the "
                "serving policy expected of it"
            )
    yield from _audits(rounds, reporting)


def _audits(
    rounds: LoggedRounds, reporting: Sequence[ReportingCounts] | None = None
) -> Iterator[str]:
    """What audited decisions say of volunteered feedback, metric by metric."""
    for m in np.flatnonzero(rounds.observed).tolist() if rounds.audited.any() else ():
        known = ~np.isnan(rounds.values[:, m])
        if known.all():
            continue
        values = np.nan_to_num(rounds.values[:, m])
        counts = ReportingCounts.of(rounds, known) if reporting is None else reporting[m]
        # Audits are reported for another reason: they would make their tenant look talkative.
        shares = np.maximum(shares_of(counts.volunteers, rounds), FLOOR)
        found = audit_test(rounds, known, values, shares)
        asked = int(counts.audited.total.sum())
        name = rounds.metrics[m]
        if found.answered < MIN_ANSWERED:
            yield (
                f"note: {found.answered:.0%} of audited decisions have {name}: ask for the outcome "
                "of every one, or they say nothing of the others"
            )
        elif found.alarm:
            yield (
                f"warning: {name} is {found.audited:.3f} on {asked:,} audited decisions, but "
                f"{found.volunteered:.3f} in volunteered feedback on the same arms ({found.z:+.1f} "
                "standard errors): who reports depends on the outcome, and is weighed accordingly"
            )
