"""What a log tells, cross-fitted: pseudo-outcomes for candidates to learn from and be judged by."""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.posterior import Posterior
from training.amounts import good_direction
from training.fit.candidates import MIN_ARM_ROWS, Evidence, Recipe, fit_candidates, recipes
from training.fit.feature_scale import fit_scale
from training.fit.folds import Ints, group_numbers, grouped_folds
from training.fit.heads import Heads, arm_means
from training.fit.joint_model import JointModel
from training.fit.posterior import fit_posterior
from training.fit.pseudo_outcomes import (
    OneDraw,
    draws_of,
    full_information,
    pseudo_outcomes,
    self_normalised,
)
from training.fit.tenant_effects import TenantRows
from training.log.rounds import Bools, Floats, LoggedRounds

FOLDS = 5


class WarmRows(NamedTuple):
    """Full-information rows beside a log: features (k, d), values (k, A, M) in the log's order."""

    features: NDArray[np.float32]
    values: Floats
    query_hashes: list[str]


class CrossFitted(NamedTuple):
    """Candidates on the log's rounds, cross-fitted: by candidate, each round's DR value (n,) less
    the incumbent's, the arm it would take (n,), and its heads by the fold they never saw.
    """

    advantage: dict[Recipe, Floats]
    choice: dict[Recipe, Ints]
    heads: dict[Recipe, dict[int, Heads]]


class LogEvidence:
    """The log's rounds, any warm rows behind them, and their folds."""

    def __init__(
        self,
        rounds: LoggedRounds,
        weights: Floats,
        seed: int,
        warm: WarmRows | None,
        advance: Callable[[int], None],
    ) -> None:
        self._rounds, self._weights = rounds, weights
        features, hashes = rounds.features, rounds.query_hashes.tolist()
        if warm is not None:
            features = np.concatenate([features, warm.features])
            hashes = hashes + warm.query_hashes
        self.scale = fit_scale(features)
        scaled = self.scale.apply(features)
        self._groups = group_numbers(hashes)
        self._folds = grouped_folds(self._groups, FOLDS, seed)
        draws = draws_of(rounds, scaled[: len(rounds)])
        self._expected, self._usable = rounds.expected, rounds.eligible
        # Before warm rows come in: those lack metrics for which no draw may stand in.
        self._draws = self_normalised(draws, self._usable, self.folds)
        if warm is not None:
            self._append(full_information(scaled[len(rounds) :], warm.values))
        self.joint = JointModel(self._draws, self._groups, self._folds)
        advance(1)
        self.reported = np.asarray((~np.isnan(self._draws.values)).any(axis=2).sum(axis=0))

    def _append(self, rows: OneDraw) -> None:
        joined = zip(self._draws, rows, strict=True)
        self._draws = OneDraw(*(np.concatenate(pair) for pair in joined))
        self._expected = np.concatenate([self._expected, np.full(rows.values.shape, np.nan)])
        known = (~np.isnan(rows.values)).any(axis=2)
        self._usable = np.concatenate([self._usable, known])

    def gamma(self) -> Floats:
        """(N, A, M) pseudo-outcomes of all rows, from models that never saw the row's fold."""
        predictions = np.empty(self._draws.values.shape)
        for fold in range(FOLDS):
            mine = self._folds == fold
            predictions[mine] = self._predict(mine, {fold})
        return pseudo_outcomes(self._draws, predictions)

    def _predict(self, rows: Bools, without: AbstractSet[int]) -> Floats:
        """(rows, A, M) predictions by a model that saw none of these folds."""
        return self.joint.heads(without).expected(self._draws.scaled[rows])

    def posterior(self) -> Posterior:
        """What the draws themselves tell, for exploration."""
        prior = arm_means(self._rounds.expected, np.zeros(len(self._rounds.metrics)))
        return fit_posterior(self._draws.scaled, self._draws.values, self.scale, prior)

    def evidence(self, gamma: Floats, without: AbstractSet[int] = frozenset()) -> Evidence:
        """What candidates are fitted on, given pseudo-outcomes of all rows; the joint heads are
        those that saw none of the folds in `without`.

        A metric that was never reported keeps what the serving policy expected of each arm.
        """
        observed = self._rounds.observed
        prior = arm_means(self._rounds.expected, np.zeros(len(observed)))
        weights = self._weights.mean(axis=0).tolist()
        signs = [
            good_direction(metric, self._draws.values[:, :, m], weights[m])
            for m, metric in enumerate(self._rounds.metrics)
        ]
        return Evidence(
            scaled=self._draws.scaled,
            gamma=np.where(observed, gamma, prior),
            usable=self._usable,
            expected=self._expected,
            supported=self.reported >= MIN_ARM_ROWS,
            signs=np.array(signs),
            joint=self._joint_heads(prior, without),
        )

    def _joint_heads(self, prior: Floats, without: AbstractSet[int]) -> Heads:
        observed, heads = self._rounds.observed, self.joint.heads(without)
        return heads._replace(
            coefficients=np.where(observed[:, None], heads.coefficients, 0.0),
            intercepts=np.where(observed, heads.intercepts, prior),
        )

    def cross_fit(self, advance: Callable[[int], None]) -> CrossFitted:
        """Every candidate, fitted without a fold and judged on it, fold by fold."""
        n = len(self._rounds)
        result = CrossFitted({}, {}, {})
        for fold, predictions in self._nested_predictions():
            train, test = self._folds != fold, (self._folds == fold)[:n]
            if train.any() and test.any():
                evidence = self.evidence(pseudo_outcomes(self._draws, predictions), {fold})
                gamma = self._held_out(fold)[: int(test.sum())]
                for recipe, heads in fit_candidates(evidence.rows(train), recipes(evidence)):
                    chosen, earned = self._judge(heads, gamma, test)
                    result.choice.setdefault(recipe, np.zeros(n, dtype=np.intp))[test] = chosen
                    result.advantage.setdefault(recipe, np.zeros(n))[test] = earned
                    result.heads.setdefault(recipe, {})[fold] = heads
            advance(1)
        return result

    def _nested_predictions(self) -> Iterator[tuple[int, Floats]]:
        """For each fold, (N, A, M) predictions for the other folds' rows that saw neither that fold
        nor the row's own.
        """
        by_fold = {fold: np.zeros(self._draws.values.shape) for fold in range(FOLDS)}
        for one, other in combinations(range(FOLDS), 2):
            in_one, in_other = self._folds == one, self._folds == other
            heads = self.joint.heads({one, other})
            by_fold[one][in_other] = heads.expected(self._draws.scaled[in_other])
            by_fold[other][in_one] = heads.expected(self._draws.scaled[in_one])
        yield from by_fold.items()

    def _held_out(self, fold: int) -> Floats:
        """Pseudo-outcomes of the fold's rows, the log's rounds first."""
        mine = self._folds == fold
        return pseudo_outcomes(self._draws.rows(mine), self._predict(mine, {fold}))

    def _judge(self, heads: Heads, gamma: Floats, test: Bools) -> tuple[Ints, Floats]:
        """The arms these heads take on the test rounds, and what that earns over the incumbent."""
        scaled = self._draws.scaled[: len(self._rounds)][test]
        liked = self.utilities(heads.expected(scaled), test)
        chosen = np.where(self._rounds.eligible[test], liked, -np.inf).argmax(axis=1)
        earned = self.utilities(gamma, test)
        advantage = earned[np.arange(len(chosen)), chosen] - self.incumbent(gamma, test)
        return chosen, advantage

    def tenant_rows(self, heads: dict[int, Heads], evidence: Evidence, tenants: Ints) -> TenantRows:
        """The rounds as tenants' offsets are learned from them, around cross-fitted heads.

        Args:
            heads: by the fold they never saw.
            evidence: of all rows.
            tenants: (n,) each round's tenant by number.
        """
        n = len(self._rounds)
        scores = np.zeros(self._draws.values[:n].shape)
        for fold, fitted in heads.items():
            test = self.folds == fold
            scores[test] = fitted.scores(self._draws.scaled[:n][test])
        return TenantRows(
            tenants=tenants,
            groups=self._rounds.groups,
            scores=scores,
            links=next(iter(heads.values())).links,
            gamma=evidence.gamma[:n],
            inverse=self._draws.inverse[:n],
            usable=evidence.usable[:n],
        )

    @property
    def folds(self) -> Ints:
        """(n,) each round's fold."""
        return self._folds[: len(self._rounds)]

    def utilities(self, metrics: Floats, rows: Bools) -> Floats:
        """(rows, A) from (rows, A, M), under each round's objective."""
        prior = np.nan_to_num(self._rounds.expected[rows])
        metrics = np.where(self._rounds.observed, metrics, prior)
        return np.asarray(np.einsum("nam,nm->na", metrics, self._weights[rows]))

    def incumbent(self, gamma: Floats, rows: Bools) -> Floats:
        """(rows,) each round's DR value under the logged probabilities."""
        utilities = self.utilities(gamma, rows)
        return np.asarray((utilities * self._rounds.probabilities[rows]).sum(axis=1))
