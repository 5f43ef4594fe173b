"""Cross-fitting: what judges a fold has never seen it."""

import dataclasses

import numpy as np

from tests.training.worlds import features_of, rounds_of
from training.fit.candidates import fit_candidates, recipes
from training.fit.joint_model import JointModel
from training.fit.log_evidence import LogEvidence, WarmRows
from training.fit.pseudo_outcomes import pseudo_outcomes


def evidence_of(values: np.ndarray, log: LogEvidence | None = None) -> LogEvidence:
    rounds = rounds_of(600, np.random.default_rng(4))
    rounds = dataclasses.replace(rounds, values=values if len(values) else rounds.values)
    fresh = LogEvidence(rounds, rounds.weights, 0, None, lambda _: None)
    if log is not None:
        # The settings alone are learned on all rows.
        fresh.joint = JointModel(fresh._draws, fresh._groups, fresh._folds, log.joint.settings)
    return fresh


def test_neither_reward_models_nor_candidates_of_a_fold_saw_its_outcomes() -> None:
    """One fold's outcomes are changed beyond recognition; what judges that fold stays."""
    log = evidence_of(np.empty(0))
    rounds = rounds_of(600, np.random.default_rng(4))
    for fold in range(2):
        mine = log._folds == fold
        changed = evidence_of(np.where(mine[:, None], 100.0, rounds.values), log)
        found = [dict(each._nested_predictions())[fold][~mine] for each in (log, changed)]
        np.testing.assert_allclose(found[0], found[1])
        heads = []
        for each in (log, changed):
            predictions = dict(each._nested_predictions())[fold]
            evidence = each.evidence(pseudo_outcomes(each._draws, predictions), {fold}).rows(~mine)
            fitted = fit_candidates(evidence, recipes(evidence))
            heads += [candidate.coefficients for _, candidate in fitted]
        half = len(heads) // 2
        for one, other in zip(heads[:half], heads[half:], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)


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
    log = LogEvidence(rounds, rounds.weights, 0, warm, lambda _: None)
    np.testing.assert_allclose(log._draws.inverse[:1_500].sum(axis=0), 1_500.0)
    np.testing.assert_array_equal(log._draws.inverse[1_500:, :, 0], 1.0)
    np.testing.assert_array_equal(log._draws.inverse[1_500:, :, 1], 0.0)
