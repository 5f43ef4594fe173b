"""A sample of the logged rounds, for what is fitted on rows themselves, not on sums over them."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from training.fit.folds import drawn, row_digests
from training.fit.training_rows import FoldRows, joined_rounds
from training.log.rounds import Bools, LoggedRounds, time_order

SAMPLE_ROWS = 60_000
# Audited rounds are few, and each is worth many others: so many times as many of them are taken.
_AUDITED_TIMES = 20.0
# Seeds of what is drawn, far from those of the folds.
BY_QUERY, _BY_ROW = 101_000, 102_000


class Sample(NamedTuple):
    """Sampled rounds, in order of time.

    by_query (s,): drawn with all rounds of their query; by_row (s,): drawn alone; audits (s,):
    audited and drawn as such.
    """

    rounds: LoggedRounds
    by_query: Bools
    by_row: Bools
    audits: Bools

    @property
    def for_reporting(self) -> Bools:
        """(s,) volunteers by query, and the audits."""
        return np.asarray((self.by_query & ~self.rounds.audited) | self.audits)


def sample_share(rows: int) -> float:
    """The share to sample of so many rows."""
    return min(1.0, SAMPLE_ROWS / max(rows, 1))


def sample_of(rows: FoldRows, share: float) -> Sample:
    """About this share of one fold's logged rounds, each way."""
    rounds = rows.rounds
    by_query = drawn(rows.digests[: len(rounds)], BY_QUERY) < share
    ids = rounds.decision_ids.tolist()
    alone = drawn(row_digests(ids, ids), _BY_ROW)
    by_row, audits = alone < share, rounds.audited & (alone < _AUDITED_TIMES * share)
    kept = np.flatnonzero(by_query | by_row | audits)
    groups = rows.groups[: len(rounds)]
    some = replace(rounds, groups=groups).rows(kept)
    return Sample(some, by_query[kept], by_row[kept], audits[kept])


def joined_samples(samples: list[Sample]) -> Sample:
    """Several as one."""
    if len(samples) == 1:
        return samples[0]
    order = time_order(
        np.concatenate([one.rounds.at for one in samples]),
        np.concatenate([one.rounds.decision_ids for one in samples]),
    )
    return Sample(
        joined_rounds([one.rounds for one in samples]),
        np.concatenate([one.by_query for one in samples])[order],
        np.concatenate([one.by_row for one in samples])[order],
        np.concatenate([one.audits for one in samples])[order],
    )
