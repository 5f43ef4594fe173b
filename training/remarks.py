"""What a person should know of a log before trusting what is made of it."""

from collections.abc import Iterator

import numpy as np

from training.log.rounds import LoggedRounds


def remarks(rounds: LoggedRounds) -> Iterator[str]:
    """A line for each thing that was left out, counted apart or taken on trust."""
    counts = rounds.counts
    silent = counts.decisions - counts.with_feedback
    for number, what in (
        (silent, "have no feedback yet: they count as unknown, neither bad nor good"),
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
            f"note: {', '.join(counts.rare_metrics)} were reported for too few decisions to learn "
            "from, and count as never reported"
        )
    weighed = np.any(rounds.weights != 0.0, axis=0)
    for metric, known, weight in zip(rounds.metrics, rounds.observed, weighed, strict=True):
        if weight and not known:
            yield (
                f"note: {metric!r} is weighed but was never reported: it counts as what the "
                "serving policy expected of it"
            )
