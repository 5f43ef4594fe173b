"""The first pass over a log's parts: moments of the features, counts, and a sample of rows.

Ridge regression needs only sums of squares and products, so what all rows are needed for is added
up part by part. A few things are fitted on rows themselves: how draws on one query go together, who
reports, what queries are known. They see a sample (`training.fit.row_sample`); of a log that is
smaller than it, all rows.
"""

from hashlib import sha256, sha512
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.fit.log_counts import Counts, counts_of
from training.fit.moments import Moments, moments_of
from training.fit.row_sample import Sample, joined_samples, sample_of
from training.fit.training_rows import TrainingPart
from training.log.rounds import LoggedRounds

Sums = NDArray[np.uint64]


class PartSummary(NamedTuple):
    """What a part gives: sums of the hashes of all its rounds, and of those that are learned from,
    (8,) each.
    """

    moments: Moments
    counts: Counts | None
    sample: Sample | None
    hashes: tuple[Sums, Sums]


class FirstPass(NamedTuple):
    """Of all parts together; `hashes` as hexadecimal digits."""

    moments: Moments
    counts: Counts
    sample: Sample
    hashes: tuple[str, str]


def summary_of(part: TrainingPart, share: float) -> PartSummary:
    """A part's; `share` of its queries, and of its rows, are sampled."""
    rounds = part.part.read()
    moments, counts, samples = Moments({}, {}, {}, {}, {}), None, []
    learned = np.flatnonzero(rounds.explored & (rounds.at <= part.until))
    digests = _digests(rounds)
    for rows in part.folds_of(rounds):
        moments = moments.plus(moments_of(rows))
        if len(rows.rounds):
            found = counts_of(rows)
            counts = found if counts is None else counts.plus(found)
            samples.append(sample_of(rows, share))
    return PartSummary(
        moments,
        counts,
        joined_samples(samples) if samples else None,
        (digests.sum(axis=0), digests[learned].sum(axis=0)),
    )


class Summaries:
    """Adds up parts' summaries, in the order in which they are given."""

    def __init__(self) -> None:
        self._moments = Moments({}, {}, {}, {}, {})
        self._counts: Counts | None = None
        self._samples: list[Sample] = []
        self._hashes = (np.zeros(8, dtype=np.uint64), np.zeros(8, dtype=np.uint64))

    def add(self, part: PartSummary) -> None:
        """One more."""
        self._moments = self._moments.plus(part.moments)
        if part.counts is not None:
            self._counts = part.counts if self._counts is None else self._counts.plus(part.counts)
        if part.sample is not None:
            self._samples.append(part.sample)
        for total, mine in zip(self._hashes, part.hashes, strict=True):
            np.add(total, mine, out=total)  # modulo 2^64

    def total(self) -> FirstPass | None:
        """All of them, None where there is no round to learn from."""
        if self._counts is None:
            return None
        everyone, learned = (sha256(total.tobytes()).hexdigest() for total in self._hashes)
        return FirstPass(
            self._moments, self._counts, joined_samples(self._samples), (everyone, learned)
        )


def _digests(rounds: LoggedRounds) -> Sums:
    """(n, 8) a SHA-512 of each round's id and metrics. Their sums are the same in whichever order,
    and in whichever parts, rounds come: a multiset hash (Bellare and Micciancio 1997).
    """
    content = np.ascontiguousarray(rounds.values)
    hashes = [
        sha512(name.encode("utf-8", "surrogatepass") + row.tobytes()).digest()
        for name, row in zip(rounds.decision_ids.tolist(), content, strict=True)
    ]
    return np.frombuffer(b"".join(hashes), dtype=np.uint64).reshape(-1, 8)
