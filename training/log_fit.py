"""Learning from logged rounds: fit the candidates, choose one by its doubly robust value.

Everything is cross-fitted over folds grouped by near-duplicate query: a candidate's value on a fold
comes from pseudo-outcomes and heads of which neither saw that fold (the reward models behind the
heads' training targets included).

DEFAULT is kept unless another candidate's value is above it by two standard errors of the paired
difference. Cross-fitted on the train rows of three recorded tables, replayed as logs of 3,000
decisions by uniform, ε-greedy and query-dependent loggers, that lost 0.0006 to 0.0009 against the
best fixed arm under uniform logging where the best-looking candidate lost 0.006, and the simplest
within one standard error, mostly no heads at all, did worse at other objectives.
"""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.amounts import good_direction
from training.candidates import MIN_ARM_ROWS, Evidence, Recipe, fit_candidates, recipes
from training.feature_scale import FeatureScale, fit_scale
from training.folds import Ints, group_numbers, grouped_folds
from training.heads import Heads, arm_means
from training.ope import standard_error
from training.pseudo_outcomes import (
    OneDraw,
    choose_alphas,
    draws_of,
    full_information,
    out_of_fold,
    predict,
    pseudo_outcomes,
)
from training.rounds import Floats, LoggedRounds
from training.threads import one_thread

FOLDS = 5
DEFAULT = Recipe("learned", 1_000.0)
# Standard errors by which another candidate must be better.
_CLEARLY = 2.0


class WarmRows(NamedTuple):
    """Full-information rows beside a log: features (k, d), values (k, A, M) in the log's order."""

    features: NDArray[np.float32]
    values: Floats
    query_hashes: list[str]


class CandidateValue(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate's cross-fitted value above the incumbent's, as logged, on the training rounds."""

    name: str
    advantage: float
    standard_error: float
    share: dict[str, float]


class LogFit(NamedTuple):
    """The chosen heads, and what they were chosen on and from."""

    heads: Heads
    scale: FeatureScale
    chosen: Recipe
    candidates: list[CandidateValue]
    fixed_arms: list[CandidateValue]
    incumbent_value: float
    draws: dict[str, int]
    nuisance_alphas: dict[str, float]


@one_thread()
def fit_from_rounds(
    rounds: LoggedRounds,
    weights: Floats,
    *,
    seed: int,
    warm: WarmRows | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> LogFit:
    """Learn heads from the rounds.

    Args:
        rounds: training rounds, all explored.
        weights: (n, M) the objective of each round, by which candidates are compared.
        seed: of the folds.
        warm: rows whose every outcome is known, to learn from but not to be judged on.
        advance: told of steps done, of `STEPS`.
    """
    work = _Work(rounds, weights, seed, warm)
    work.alphas = choose_alphas(work.draws, work.folds, advance=advance)
    values = work.cross_fitted_values(advance)
    gamma = pseudo_outcomes(work.draws, out_of_fold(work.draws, work.folds, work.alphas))
    evidence = work.evidence(gamma)
    wanted = recipes(evidence)
    chosen = wanted[clearly_best(values, rounds.groups, wanted.index(DEFAULT))]
    ((_, heads),) = fit_candidates(evidence, [chosen])
    return LogFit(
        heads=heads,
        scale=work.scale,
        chosen=chosen,
        candidates=[
            _summary(recipe.name, value, work.choices[recipe], rounds)
            for recipe, value in zip(wanted, values, strict=True)
        ],
        fixed_arms=work.fixed_arms(gamma[: len(rounds)]),
        incumbent_value=float(work.incumbent(gamma[: len(rounds)]).mean()),
        draws=dict(zip(rounds.arms, work.reported.tolist(), strict=True)),
        nuisance_alphas=dict(zip(rounds.metrics, work.alphas.tolist(), strict=True)),
    )


# Calls of `advance`: the grid of the reward models, then one a fold.
STEPS = 5 + FOLDS


class _Work:
    """The arrays that all steps share: the log's rounds first, warm rows behind them."""

    def __init__(
        self, rounds: LoggedRounds, weights: Floats, seed: int, warm: WarmRows | None
    ) -> None:
        self.rounds, self.weights = rounds, weights
        features, hashes = rounds.features, rounds.query_hashes.tolist()
        if warm is not None:
            features = np.concatenate([features, warm.features])
            hashes = hashes + warm.query_hashes
        self.scale = fit_scale(features)
        scaled = self.scale.apply(features)
        n = len(rounds)
        self.draws = draws_of(rounds, scaled[:n])
        self.expected, self.usable = rounds.expected, rounds.eligible
        if warm is not None:
            self._append(full_information(scaled[n:], warm.values))
        self.folds = grouped_folds(group_numbers(hashes), FOLDS, seed)
        self.alphas: Floats = np.ones(len(rounds.metrics))
        self.reported = self._reported()
        self.choices: dict[Recipe, Ints] = {}

    def _append(self, rows: OneDraw) -> None:
        self.draws = OneDraw(*(np.concatenate(pair) for pair in zip(self.draws, rows, strict=True)))
        self.expected = np.concatenate([self.expected, np.full(rows.values.shape, np.nan)])
        known = (~np.isnan(rows.values)).any(axis=2)
        self.usable = np.concatenate([self.usable, known])

    def _reported(self) -> NDArray[np.intp]:
        """(A,) rows that tell something of each arm."""
        return np.asarray((~np.isnan(self.draws.values)).any(axis=2).sum(axis=0))

    def evidence(self, gamma: Floats) -> Evidence:
        """Everything but a fold, or everything."""
        observed = self.rounds.observed
        prior = arm_means(self.rounds.expected, np.zeros(len(observed)))
        gamma = np.where(observed, gamma, prior)
        weights = self.weights.mean(axis=0).tolist()
        signs = [
            good_direction(metric, self.draws.values[:, :, m], weights[m])
            for m, metric in enumerate(self.rounds.metrics)
        ]
        return Evidence(
            scaled=self.draws.scaled,
            gamma=gamma,
            usable=self.usable,
            expected=self.expected,
            supported=self.reported >= MIN_ARM_ROWS,
            signs=np.array(signs),
            draws=self.reported,
        )

    def cross_fitted_values(self, advance: Callable[[int], None]) -> Floats:
        """(candidates, n) each round's DR value under each candidate, less the incumbent's."""
        n = len(self.rounds)
        nested = self._nested_predictions()
        columns: dict[Recipe, Floats] = {}
        for fold, predictions in nested:
            train = self.folds != fold
            evidence = self.evidence(pseudo_outcomes(self.draws, predictions))
            test = (self.folds == fold)[:n]
            held = pseudo_outcomes(
                self.draws,
                _filled(predictions, predict(self.draws, train, ~train, self.alphas), ~train),
            )[:n][test]
            incumbent = self._incumbent(held, test)
            scaled = self.draws.scaled[:n][test]
            for recipe, heads in fit_candidates(evidence.rows(train), recipes(evidence)):
                utilities = self._utilities(heads.expected(scaled), test)
                utilities = np.where(self.rounds.eligible[test], utilities, -np.inf)
                choice = utilities.argmax(axis=1)
                earned = self._utilities(held, test)[np.arange(len(choice)), choice]
                columns.setdefault(recipe, np.empty(n))[test] = earned - incumbent
                self.choices.setdefault(recipe, np.empty(n, dtype=np.intp))[test] = choice
            advance(1)
        return np.array(list(columns.values()))

    def _nested_predictions(self) -> Iterator[tuple[int, Floats]]:
        """For each fold, (N, A, M) predictions for the other folds' rows that saw neither the fold
        nor the row's own.
        """
        by_fold = {fold: np.zeros(self.draws.values.shape) for fold in range(FOLDS)}
        for one, other in combinations(range(FOLDS), 2):
            pair = (self.folds == one) | (self.folds == other)
            if pair.all() or not pair.any():
                continue
            both = np.zeros(self.draws.values.shape)
            both[pair] = predict(self.draws, ~pair, pair, self.alphas)
            by_fold[one][self.folds == other] = both[self.folds == other]
            by_fold[other][self.folds == one] = both[self.folds == one]
        yield from by_fold.items()

    def _utilities(self, metrics: Floats, rows: NDArray[np.bool_]) -> Floats:
        """(rows, A) from (rows, A, M), under each round's objective."""
        prior = np.nan_to_num(self.rounds.expected[rows])
        metrics = np.where(self.rounds.observed, metrics, prior)
        return np.asarray(np.einsum("nam,nm->na", metrics, self.weights[rows]))

    def _incumbent(self, gamma: Floats, rows: NDArray[np.bool_]) -> Floats:
        utilities = self._utilities(gamma, rows)
        return np.asarray((utilities * self.rounds.probabilities[rows]).sum(axis=1))

    def incumbent(self, gamma: Floats) -> Floats:
        """(n,) each round's DR value under the logged probabilities."""
        return self._incumbent(gamma, np.ones(len(self.rounds), dtype=np.bool_))

    def fixed_arms(self, gamma: Floats) -> list[CandidateValue]:
        """Always taking one arm, where it is eligible: what no policy should fall below."""
        everywhere = np.ones(len(self.rounds), dtype=np.bool_)
        utilities, incumbent = self._utilities(gamma, everywhere), self.incumbent(gamma)
        return [
            _summary(arm, utilities[:, a] - incumbent, np.full(len(self.rounds), a), self.rounds)
            for a, arm in enumerate(self.rounds.arms)
            if self.reported[a]
        ]


def _filled(into: Floats, values: Floats, rows: NDArray[np.bool_]) -> Floats:
    filled = into.copy()
    filled[rows] = values
    return filled


def clearly_best(values: Floats, groups: Ints, default: int) -> int:
    """The candidate (of c, by n) whose lower bound over the default is highest and above 0.

    The bound is two standard errors of the paired difference, robust to near-duplicate rows;
    without such a candidate it is the default.
    """
    chosen, highest = default, 0.0
    for index, candidate in enumerate(values):
        ahead = candidate - values[default]
        if index != default and ahead.any():
            bound = float(ahead.mean()) - _CLEARLY * standard_error(ahead, groups)
            if bound > highest:
                chosen, highest = index, bound
    return chosen


def _summary(name: str, advantage: Floats, choice: Ints, rounds: LoggedRounds) -> CandidateValue:
    share = np.bincount(choice, minlength=len(rounds.arms)) / len(choice)
    return CandidateValue(
        name=name,
        advantage=float(advantage.mean()),
        standard_error=standard_error(advantage, rounds.groups),
        share=dict(zip(rounds.arms, share.tolist(), strict=True)),
    )
