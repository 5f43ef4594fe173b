"""A policy on the rounds of a log in parts: three passes, in which features stay where they are.

1. What there is to choose from (`training.judge.choice`).
2. The chosen rounds without their features, sums for the estimators' reward models, and a sample on
   which it is fitted how rounds come to be reported.
3. For each round, what the reward models predict, what the policy expects, and how probable its
   report was: a few numbers, from which everything else is estimated as on a log in memory.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Artifact
from policies.loading import load_policy
from policies.policy import Policy
from policies.posterior import Beliefs
from training.engines import Engine
from training.fit.feature_scale import FeatureScale, scale_of
from training.fit.folds import Ints
from training.fit.row_sample import Sample, joined_samples, sample_of, sample_share
from training.fit.row_sums import HeadSums, RowSums, added, head_sums
from training.fit.threads import one_thread
from training.fit.training_rows import FoldRows, TrainingPart
from training.judge.choice import Choice
from training.judge.fold_models import FoldModels, fold_models
from training.judge.judged_policy import RowValues
from training.log.partitions import RoundsPart, RoundsParts
from training.log.rounds import Bools, Floats, LoggedRounds, time_order
from training.reporting.probabilities import Reporting, ReportingCounts, fit_reporting
from training.utility import objective_weights, rewards_of

Objective = Mapping[str, float] | None

# Rows that are read of at once: what is computed of them stays in the processor's cache, and in
# memory that is used again and again. On a whole part at once, fresh memory takes most of the time.
_BLOCK = 8_192


class Gathered(NamedTuple):
    """The chosen rounds of some parts, in order of time and without features or hashes; whether
    each one's query was trained on; how they lay in their parts; the sums; the sample.
    """

    rounds: LoggedRounds
    trained: Bools
    order: Ints
    sums: dict[tuple[int, int, int], HeadSums]
    everyone: RowSums
    sample: Sample


class _Part(NamedTuple):
    rounds: LoggedRounds
    trained: Bools
    sums: dict[tuple[int, int, int], HeadSums]
    everyone: RowSums
    sample: Sample


@one_thread()
def gather(parts: RoundsParts, choice: Choice, rows: int, engine: Engine, *, seed: int) -> Gathered:
    """The second pass, over `rows` chosen rounds, at least one."""
    step = partial(_gather, choice, sample_share(rows), seed)
    rounds: list[LoggedRounds] = []
    trained: list[Bools] = []
    samples: list[Sample] = []
    sums: dict[tuple[int, int, int], HeadSums] = {}
    everyone = RowSums.empty(parts.dimension)
    for found in engine.map(step, parts.parts):
        if found is None:
            continue
        rounds.append(found.rounds)
        trained.append(found.trained)
        samples.append(found.sample)
        sums = added(sums, found.sums)
        everyone = everyone.plus(found.everyone)
    order = time_order(
        np.concatenate([one.at for one in rounds]),
        np.concatenate([one.decision_ids for one in rounds]),
    )
    return Gathered(
        _joined(rounds).rows(order),
        np.concatenate(trained)[order],
        order,
        sums,
        everyone,
        joined_samples(samples),
    )


def _gather(choice: Choice, share: float, seed: int, part: RoundsPart) -> _Part | None:
    rounds = part.read()
    mine, trained = choice.rows(rounds)
    if not len(mine):
        return None
    rounds = rounds.rows(mine)
    sums: dict[tuple[int, int, int], HeadSums] = {}
    total, squares = np.zeros((2, rounds.features.shape[1]))
    samples = []
    for rows in _folds(part, rounds, seed):
        for arm in range(len(rounds.arms)):
            drew = np.flatnonzero(rows.rounds.action == arm)
            x = rows.features[drew].astype(np.float64)
            total += x.sum(axis=0)
            squares += np.einsum("nd,nd->d", x, x)
            for m, head in enumerate(head_sums(x, rows.rounds.values[drew])):
                sums[rows.fold, arm, m] = head
        samples.append(sample_of(rows, share))
    slim = replace(
        rounds,
        features=np.zeros((len(rounds), 0), dtype=np.float32),
        query_hashes=np.full(len(rounds), "", dtype=object),
    )
    everyone = RowSums(float(len(rounds)), total, np.diag(squares))
    return _Part(slim, trained, sums, everyone, joined_samples(samples))


def _folds(part: RoundsPart, rounds: LoggedRounds, seed: int) -> Iterator[FoldRows]:
    return TrainingPart(part, math.inf, seed, None).folds_of(rounds)


def _joined(parts: Sequence[LoggedRounds]) -> LoggedRounds:
    """One after the other; groups of different parts stay apart."""
    starts = np.cumsum([0, *(int(part.groups.max()) + 1 for part in parts)])
    numbered = [part.groups + start for part, start in zip(parts, starts, strict=False)]
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in LoggedRounds.__slots__
        if isinstance(getattr(parts[0], name), np.ndarray)
    }
    return replace(parts[0], **{**arrays, "groups": np.concatenate(numbered)})


class _Reading(NamedTuple):
    """What the third pass needs. asked: the objectives, and then each reported metric alone;
    reporting: how rounds come to be reported, and which of these holds for each of them; beliefs:
    whether they are wanted.
    """

    choice: Choice
    seed: int
    scale: FeatureScale
    models: FoldModels
    policy: Artifact
    asked: tuple[Objective, ...]
    reporting: tuple[Reporting, ...]
    which: tuple[int, ...]
    observed: Bools
    beliefs: bool


class _Read(NamedTuple):
    predictions: Floats
    expected: Floats
    means: Floats | None
    variances: Floats | None
    reporting: tuple[Floats, ...]


@one_thread()
def read_values(
    parts: RoundsParts,
    choice: Choice,
    found: Gathered,
    policy: Policy,
    objectives: Sequence[Objective],
    engine: Engine,
    *,
    seed: int,
    beliefs: bool,
) -> list[RowValues]:
    """The third pass: for each objective, what its samples are made of; the policy's beliefs only
    where they are wanted.
    """
    rounds, observed = found.rounds, found.rounds.observed
    metrics = [rounds.metrics[m] for m in np.flatnonzero(observed)]
    asked: tuple[Objective, ...] = (*objectives, *({metric: 1.0} for metric in metrics))
    scale = scale_of(found.everyone)
    reporting_of, which = _reporting(found, asked, observed)
    reading = _Reading(
        choice,
        seed,
        scale,
        fold_models({key: sums.scaled(scale) for key, sums in found.sums.items()}, rounds),
        policy.artifact(),
        asked,
        reporting_of,
        which,
        observed,
        beliefs,
    )
    reads = [one for part in engine.map(partial(_read, reading), parts.parts) for one in part]
    in_order = [
        np.concatenate([one.reporting[number] for one in reads])[found.order]
        for number in range(len(reporting_of))
    ]
    reporting = [in_order[number] for number in which]
    means, variances = (
        None
        if getattr(reads[0], name) is None
        else np.concatenate([getattr(one, name) for one in reads])[found.order]
        for name in ("means", "variances")
    )
    shared = RowValues(
        predictions=np.concatenate([one.predictions for one in reads])[found.order],
        expected=np.concatenate([one.expected for one in reads])[found.order],
        beliefs=None if means is None or variances is None else Beliefs(means, variances),
        reporting=reporting[0],
        by_metric=dict(zip(metrics, reporting[len(objectives) :], strict=True)),
    )
    return [shared._replace(reporting=reporting[number]) for number in range(len(objectives))]


def _reporting(
    found: Gathered, asked: Sequence[Objective], observed: Bools
) -> tuple[tuple[Reporting, ...], tuple[int, ...]]:
    """How rounds come to be reported, fitted on the sample (what audits show, on all rounds), and
    which of these holds for each objective: without audits, objectives that are known on the same
    rounds share one.
    """
    rounds, some = found.rounds, found.sample.rounds.rows(found.sample.for_reporting)
    fitted: list[Reporting] = []
    shared: dict[bytes, int] = {}
    which = []
    for objective in asked:
        known, rewards = rewards_of(rounds, objective_weights(rounds, objective), observed)
        counts = ReportingCounts.of(rounds, known)
        key = np.packbits(known).tobytes()
        if counts.asked or key not in shared:
            told, reward = rewards_of(some, objective_weights(some, objective), observed)
            shared[key] = len(fitted)
            one = fit_reporting(some, told, reward, counts)
            if one.tilt is not None and len(some) < len(rounds):
                one = one.tilted(one.reports(rounds, known, rewards))
            fitted.append(one)
        which.append(shared[key])
    return tuple(fitted), tuple(which)


def _read(reading: _Reading, part: RoundsPart) -> list[_Read]:
    """Block by block; nothing of a part without chosen rounds."""
    rounds = part.read()
    mine, _ = reading.choice.rows(rounds)
    policy = load_policy(reading.policy)
    return [
        _read_block(reading, part, policy, rounds.rows(mine[start : start + _BLOCK]))
        for start in range(0, len(mine), _BLOCK)
    ]


def _read_block(reading: _Reading, part: RoundsPart, policy: Policy, rounds: LoggedRounds) -> _Read:
    tenants = rounds.tenants.tolist()
    beliefs = policy.beliefs(rounds.features, tenants) if reading.beliefs else None
    reporting: dict[int, Floats] = {}
    for objective, number in zip(reading.asked, reading.which, strict=True):
        if number not in reporting:
            weights = objective_weights(rounds, objective)
            known, reward = rewards_of(rounds, weights, reading.observed)
            reporting[number] = reading.reporting[number].probabilities(rounds, known, reward)
    return _Read(
        _predictions(reading, part, rounds),
        policy.expected(rounds.features, tenants),
        None if beliefs is None else beliefs.means,
        None if beliefs is None else beliefs.variances,
        tuple(reporting[number] for number in range(len(reading.reporting))),
    )


def _predictions(reading: _Reading, part: RoundsPart, rounds: LoggedRounds) -> Floats:
    """(n, A, M) by models that never saw the round's fold."""
    predictions = np.zeros((len(rounds), len(rounds.arms), len(rounds.metrics)))
    row_of: NDArray[np.intp] = np.arange(len(rounds))
    marked = replace(rounds, groups=row_of)
    for rows in _folds(part, marked, reading.seed):
        scaled = reading.scale.apply(rows.features)
        predictions[rows.groups] = reading.models.predict(scaled, rows.fold)
    return predictions
