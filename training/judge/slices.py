"""The advantage by tenant and by logged attribute, by Holm (1979) corrected over all slices."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from training.judge.ope import Estimate, Sample, dr
from training.log.rounds import Bools, LoggedRounds

# A slice with fewer reported rounds can't be told from noise.
MIN_SLICE_ROWS = 100
# Of one attribute, no more than its most frequent values.
MOST_SLICES = 50
# One-sided, over all slices together.
SLICE_ALPHA = 0.05


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """One slice; `worse_p` and `better_p` are one-sided p-values, corrected for all slices."""

    by: str
    value: str
    rows: int
    advantage: Estimate
    worse_p: float
    better_p: float

    @property
    def worse(self) -> bool:
        """Whether the candidate is significantly worse here."""
        return self.worse_p <= SLICE_ALPHA

    @property
    def named(self) -> str:
        """For people."""
        return f"{self.by} {self.value or '(none)'}"


class _Member(NamedTuple):
    by: str
    value: str
    rows: Bools


def slices_of(advantage: Sample, rounds: LoggedRounds, trained: Bools) -> list[Slice]:
    """Every slice with at least MIN_SLICE_ROWS reported rounds.

    Args:
        advantage: a sample whose DR value is the advantage, of these rounds.
        rounds: for their tenants and attributes.
        trained: (n,) whether each round's query was trained on; those and the others are slices.
    """
    reported = np.isfinite(advantage.pscore)
    members = [
        member
        for member in _members(rounds, trained)
        if int((member.rows & reported).sum()) >= MIN_SLICE_ROWS
    ]
    estimates = [dr(advantage.rows(member.rows)) for member in members]
    scores = [_score(estimate) for estimate in estimates]
    worse = holm([0.5 * math.erfc(-score / math.sqrt(2.0)) for score in scores])
    better = holm([0.5 * math.erfc(score / math.sqrt(2.0)) for score in scores])
    return [
        Slice(
            by=member.by,
            value=member.value,
            rows=int(member.rows.sum()),
            advantage=estimate,
            worse_p=worse[index],
            better_p=better[index],
        )
        for index, (member, estimate) in enumerate(zip(members, estimates, strict=True))
    ]


def _members(rounds: LoggedRounds, trained: Bools) -> Iterator[_Member]:
    if trained.any():
        yield _Member("queries", "new", ~trained)
        yield _Member("queries", "trained on", trained)
    tenants = rounds.tenants.astype(str)
    for tenant in sorted(set(tenants.tolist())):
        yield _Member("tenant", tenant, tenants == tenant)
    rows = rounds.attributes.tolist()
    for attribute in sorted({name for row in rows for name in row}):
        values = np.array([_label(row.get(attribute)) for row in rows], dtype=object)
        common = Counter(value for value in values.tolist() if value).most_common(MOST_SLICES)
        for value, _ in sorted(common):
            yield _Member(attribute, value, np.asarray(values == value))


def _label(value: object) -> str:
    """A value for people; lists, numbers and flags as text, nothing where it is missing."""
    return "" if value is None else str(value)


def _score(estimate: Estimate) -> float:
    """Standard errors from 0."""
    error = estimate.standard_error or 0.0
    if error > 0.0:
        return estimate.value / error
    return math.copysign(math.inf, estimate.value) if estimate.value else 0.0


def holm(p_values: list[float]) -> list[float]:
    """The p-values corrected by Holm's step-down procedure, in their order."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = highest
    return corrected
