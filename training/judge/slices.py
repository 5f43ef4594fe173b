"""The advantage by tenant and by logged attribute, by Holm (1979) corrected over all slices."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.fit.folds import Ints
from training.judge.ope import Estimate, Sample, dr
from training.log.rounds import Bools, LoggedRounds
from training.reporting.shares import tenant_numbers

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
    names, tenants = tenant_numbers(rounds.tenants)
    for number, tenant in enumerate(names):
        yield _Member("tenant", tenant, tenants == number)
    different, which = _different(rounds.attributes)
    sizes = np.bincount(which, minlength=len(different)).tolist()
    for attribute in sorted({name for row in different for name in row}):
        labels = [_label(row.get(attribute)) for row in different]
        found: Counter[str] = Counter()
        for label, size in zip(labels, sizes, strict=True):
            found[label] += size
        del found[""]
        for value, _ in sorted(found.most_common(MOST_SLICES)):
            yield _Member(attribute, value, np.array([v == value for v in labels])[which])


def _different(attributes: NDArray[np.object_]) -> tuple[list[dict[str, Any]], Ints]:
    """The objects among them in order of first appearance, and (n,) the position of each row's:
    equal ones are mostly one object.
    """
    ids = np.fromiter(map(id, attributes), dtype=np.int64, count=len(attributes))
    _, first, number = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return attributes[first[order]].tolist(), np.argsort(order)[number]


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
