"""Cross-fitting: what judges a fold has never seen it."""

import dataclasses

import numpy as np

from tests.training.worlds import rounds_of
from training.fit.candidates import fit_candidates, recipes
from training.fit.joint_model import JointModel
from training.fit.log_evidence import LogEvidence
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
