"""After the first pass: the features' scale, who reports, and what a sample of rows tells."""

from typing import NamedTuple

import numpy as np

from training.fit.feature_scale import scale_of
from training.fit.first_pass import FirstPass
from training.fit.folds import drawn, group_numbers, hashed_folds, row_digests
from training.fit.joint_pass import Reading
from training.fit.joint_settings import Settings, learn_settings
from training.fit.joint_solver import basis_of
from training.fit.log_evidence import SampledRows
from training.fit.moments import Moments
from training.fit.row_sample import BY_QUERY, sample_share
from training.fit.training_rows import FOLDS, FoldRows, WarmRows
from training.log.rounds import Floats
from training.reporting.probabilities import Reporting, fit_reporting


class Prepared(NamedTuple):
    """moments of scaled features; how rows are read; a basis (d, k) in which queries are seen; by
    metric, the joint model's settings; sampled rows.
    """

    moments: Moments
    reading: Reading
    basis: Floats
    settings: tuple[Settings, ...]
    sampled: SampledRows


def reading_of(first: FirstPass) -> Reading:
    """How rows are read, as far as the first pass tells."""
    return Reading(scale_of(first.moments.everyone), _reporting(first))


def prepare(first: FirstPass, reading: Reading, warm: WarmRows | None, seed: int) -> Prepared:
    """What the passes after the first need; `seed` is the folds'."""
    moments = first.moments.scaled(reading.scale)
    basis = basis_of(moments.everyone.xx)
    rows, folds = _sampled(first, warm, seed)
    draws = reading.draws(rows)
    settings = learn_settings(draws, draws.scaled @ basis, rows.groups, folds)
    sampled = SampledRows(draws.scaled, folds)
    return Prepared(moments, reading, basis, tuple(settings), sampled)


def _reporting(first: FirstPass) -> tuple[Reporting, ...]:
    """By metric; those known on the same rounds share theirs where no audit looks at values."""
    rounds = first.sample.rounds.rows(first.sample.for_reporting)
    fitted: dict[bytes, Reporting] = {}
    found = []
    for m, counts in enumerate(first.counts.reporting):
        known = ~np.isnan(rounds.values[:, m])
        key = bytes([m]) if counts.asked else known.tobytes()
        if key not in fitted:
            outcome = np.nan_to_num(rounds.values[:, m])
            fitted[key] = fit_reporting(rounds, known, outcome, counts)
        found.append(fitted[key])
    return tuple(found)


def _sampled(first: FirstPass, warm: WarmRows | None, seed: int) -> tuple[FoldRows, np.ndarray]:
    """Sampled queries with all their rounds and warm rows, and each row's fold."""
    rounds = first.sample.rounds.rows(first.sample.by_query)
    hashes = rounds.query_hashes.tolist()
    digests = row_digests(hashes, rounds.decision_ids.tolist())
    groups, features = rounds.groups, rounds.features
    outcomes = np.zeros((0, *rounds.expected.shape[1:]))
    if warm is not None:
        some = warm.rows(drawn(warm.digests, BY_QUERY) < sample_share(first.counts.rows))
        digests = np.concatenate([digests, some.digests])
        groups = group_numbers([*hashes, *some.query_hashes])
        features, outcomes = np.concatenate([features, some.features]), some.values
    rows = FoldRows(
        fold=-1,
        rounds=rounds,
        weights=rounds.weights,
        features=features,
        groups=groups,
        digests=digests,
        warm=outcomes,
    )
    return rows, hashed_folds(digests, FOLDS, seed)
