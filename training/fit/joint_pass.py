"""The second pass: the joint model's equations, and what inverse propensities sum to."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from training.fit.feature_scale import FeatureScale
from training.fit.joint_equations import JointSums
from training.fit.joint_model import joint_sums_of
from training.fit.joint_settings import Settings
from training.fit.pseudo_outcomes import InverseSums, OneDraw, draws_of, full_information
from training.fit.row_sums import added
from training.fit.training_rows import FoldRows, TrainingPart
from training.log.rounds import Floats
from training.reporting.audit import Reports
from training.reporting.probabilities import Reporting
from training.trained_queries import Digests, query_digests


class Reading(NamedTuple):
    """How rows are read once the first pass is done: the features' scale, and by metric how rounds
    come to be reported.
    """

    scale: FeatureScale
    reporting: tuple[Reporting, ...]

    def draws(self, rows: FoldRows) -> OneDraw:
        """The logged rounds, then the warm rows."""
        scaled, logged = self.scale.apply(rows.features), len(rows.rounds)
        draws = draws_of(rows.rounds, scaled[:logged], self.reporting)
        # Concatenating would copy the features of a log without warm rows too.
        if not len(rows.warm):
            return draws
        return draws.with_rows(full_information(scaled[logged:], rows.warm))


def reports_of(part: TrainingPart, reading: Reading, metrics: Sequence[int]) -> list[list[Reports]]:
    """What a tilt of each of these metrics is fitted to, fold by fold."""
    found = []
    for rows in part.read():
        values = rows.rounds.values
        known, outcome = ~np.isnan(values), np.nan_to_num(values)
        found.append(
            [reading.reporting[m].reports(rows.rounds, known[:, m], outcome[:, m]) for m in metrics]
        )
    return found


class JointPart(NamedTuple):
    """A part's, or several parts': sums by fold and metric, inverse propensities by fold."""

    joint: dict[tuple[int, int], JointSums]
    inverse: dict[int, InverseSums]

    def plus(self, other: "JointPart") -> "JointPart":
        """Of both."""
        return JointPart(added(self.joint, other.joint), added(self.inverse, other.inverse))


def joint_part(
    part: TrainingPart, reading: Reading, basis: Floats, settings: tuple[Settings, ...]
) -> tuple[JointPart, Digests]:
    """A part's sums, in a basis (d, k), and its queries for the filter of trained ones."""
    found = JointPart({}, {})
    hashes: set[str] = set()
    for rows in part.read():
        draws, logged = reading.draws(rows), len(rows.rounds)
        sums = joint_sums_of(draws, rows.groups, basis, settings)
        joint = {(rows.fold, m): one for m, one in sums.items()}
        inverse = {}
        if logged:
            # Before warm rows come in: those lack metrics for which no draw may stand in.
            some = OneDraw(*(one[:logged] for one in draws))
            inverse = {rows.fold: InverseSums.of(some, rows.rounds.eligible)}
        found = found.plus(JointPart(joint, inverse))
        hashes.update(rows.rounds.query_hashes.tolist())
    if part.warm is not None:
        hashes.update(part.warm.query_hashes)
    return found, query_digests(hashes)
