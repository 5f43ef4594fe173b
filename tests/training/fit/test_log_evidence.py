"""Cross-fitting: what judges a fold has never seen it."""

import dataclasses

import numpy as np

from tests.training.fit.fitting import passes_over
from tests.training.worlds import features_of, rounds_of
from training.fit.candidates import fit_candidates, recipes
from training.fit.folds import hashed_folds, row_digests
from training.fit.joint_model import JointModel
from training.fit.joint_pass import joint_part
from training.fit.log_evidence import LogEvidence, nested_heads
from training.fit.preparation import Prepared, prepare, reading_of
from training.fit.target_pass import Nuisance, TargetSums, target_sums
from training.fit.training_rows import FOLDS, WarmRows, training_parts
from training.log.partitions import one_part
from training.log.rounds import LoggedRounds


def learned(
    rounds: LoggedRounds, like: tuple[Prepared, JointModel] | None = None
) -> tuple[LogEvidence, Nuisance, tuple[Prepared, JointModel]]:
    """What the passes find; settings, learned on all rows, may be those of another log."""
    [part] = training_parts(one_part(rounds), float(rounds.at.max()), 0, None)
    _, first = passes_over(rounds)
    prepared = prepare(first, reading_of(first), None, 0) if like is None else like[0]
    found, _ = joint_part(part, prepared.reading, prepared.basis, prepared.settings)
    averages = None if like is None else like[1].averages
    joint = JointModel(prepared.basis, found.joint, prepared.settings, 3, averages)
    normaliser = {fold: sums.normaliser for fold, sums in found.inverse.items()}
    counts = first.counts
    nuisance = Nuisance(
        prepared.reading, normaliser, nested_heads(joint), counts.observed, counts.prior
    )
    evidence = LogEvidence(
        counts,
        prepared.moments,
        prepared.reading.scale,
        joint,
        target_sums(part, nuisance),
        rounds.metrics,
        prepared.sampled,
    )
    return evidence, nuisance, (prepared, joint)


def test_neither_reward_models_nor_candidates_of_a_fold_saw_its_outcomes() -> None:
    """One fold's outcomes are changed beyond recognition; what judges that fold stays."""
    rounds = rounds_of(600, np.random.default_rng(4))
    evidence, nuisance, settings = learned(rounds)
    digests = row_digests(rounds.query_hashes.tolist(), rounds.decision_ids.tolist())
    folds = hashed_folds(digests, FOLDS, 0)
    for fold in range(2):
        values = np.where((folds == fold)[:, None], 100.0, rounds.values)
        changed, others, _ = learned(dataclasses.replace(rounds, values=values), settings)
        arms = slice(3 * fold, 3 * fold + 3)
        for other in range(FOLDS):
            np.testing.assert_allclose(
                nuisance.nested[other].coefficients[arms],
                others.nested[other].coefficients[arms],
            )
        fitted = [
            [heads for _, heads in fit_candidates(one.without(fold), recipes(False))]
            for one in (evidence, changed)
        ]
        for one, two in zip(*fitted, strict=True):
            np.testing.assert_allclose(one.coefficients, two.coefficients, atol=1e-9)
            np.testing.assert_allclose(one.intercepts, two.intercepts, atol=1e-9)


def test_candidates_are_ridge_regressions_on_the_pseudo_outcomes_of_other_folds() -> None:
    """The sums are of the rows' pseudo-outcomes, by heads that saw neither fold."""
    rounds = rounds_of(600, np.random.default_rng(5))
    evidence, nuisance, _ = learned(rounds)
    [part] = training_parts(one_part(rounds), float(rounds.at.max()), 0, None)
    x, gamma = [], []
    for rows in part.read():
        if rows.fold != 2:
            draws = nuisance.draws(rows)
            x.append(draws.scaled)
            gamma.append(nuisance.all_gamma(draws, rows.fold)[:, 2])
    without = evidence.without(2)
    assert without is not None
    rows, targets = np.concatenate(x), np.concatenate(gamma)
    np.testing.assert_allclose(without.xy, np.einsum("nd,nam->dam", rows, targets), atol=1e-9)
    np.testing.assert_allclose(without.yy, (targets**2).sum(axis=0))
    assert isinstance(evidence.targets[0], TargetSums)


def test_draws_dont_stand_for_warm_rows_that_lack_a_metric() -> None:
    """They stand for the log's rounds: 1,500, whatever 2,000 warm rows know."""
    rng = np.random.default_rng(4)
    rounds = rounds_of(1_500, rng)
    rounds = dataclasses.replace(
        rounds,
        metrics=("quality", "cost_usd"),
        values=np.column_stack([rounds.values[:, 0], rng.random(1_500)]),
        expected=np.full((1_500, 3, 2), np.nan),
        weights=np.ones((1_500, 2)),
    )
    values = np.stack([rng.random((2_000, 3)), np.full((2_000, 3), np.nan)], axis=2)
    warm = WarmRows(features_of(2_000, rng), values, [f"warm-{row}" for row in range(2_000)])
    passes, first = passes_over(rounds, warm=warm)
    known = passes.second(first)
    total = np.zeros((3, 2))
    [part] = training_parts(one_part(rounds), float(rounds.at.max()), 0, None, warm)
    for rows in part.read():
        inverse, logged = known.nuisance.draws(rows).inverse, len(rows.rounds)
        total += inverse[:logged].sum(axis=0)
        np.testing.assert_array_equal(inverse[logged:, :, 0], 1.0)
        np.testing.assert_array_equal(inverse[logged:, :, 1], 0.0)
    np.testing.assert_allclose(total, 1_500.0)
