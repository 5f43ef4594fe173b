"""Learning from logged rounds: fit the candidates, choose one by its doubly robust value.

Everything is cross-fitted over folds grouped by near-duplicate query: a candidate's value on a fold
comes from pseudo-outcomes and heads of which neither saw that fold (the reward models behind the
heads' training targets included).

DEFAULT, the joint model, is kept unless another candidate's value is above it by two standard
errors of the paired difference: the best-looking of a dozen noisy values is mostly the luckiest.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from policies.posterior import Posterior
from training.fit.candidates import JOINT, Evidence, Recipe, fit_candidates, recipes
from training.fit.feature_scale import FeatureScale
from training.fit.folds import Ints
from training.fit.heads import Heads
from training.fit.log_evidence import FOLDS, LogEvidence, WarmRows
from training.fit.tenant_offsets import (
    NO_TENANTS,
    TenantFit,
    Trial,
    fit_offsets,
    large_tenants,
    numbered,
)
from training.fit.threads import one_thread
from training.judge.ope import standard_error
from training.log.rounds import Floats, LoggedRounds

DEFAULT = JOINT
# Standard errors by which another candidate must be better.
_CLEARLY = 2.0


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
    tenants: TenantFit
    posterior: Posterior
    contrast_penalties: dict[str, dict[str, float]]
    alike: dict[str, dict[str, float]]


@one_thread()
def fit_from_rounds(
    rounds: LoggedRounds,
    weights: Floats,
    *,
    seed: int,
    warm: WarmRows | None = None,
    tenants: bool = True,
    advance: Callable[[int], None] = lambda _: None,
) -> LogFit:
    """Learn heads from the rounds.

    Args:
        rounds: training rounds, all explored.
        weights: (n, M) the objective of each round, by which candidates are compared.
        seed: of the folds.
        warm: rows whose every outcome is known, to learn from but not to be judged on.
        tenants: whether to learn what tenants' outcomes add.
        advance: told of steps done, of `STEPS`.
    """
    log = LogEvidence(rounds, weights, seed, warm, advance)
    judged = log.cross_fit(advance)
    gamma = log.gamma()
    evidence = log.evidence(gamma)
    wanted = recipes(evidence)
    values = np.array([judged.advantage[recipe] for recipe in wanted])
    chosen = wanted[clearly_best(values, rounds.groups, wanted.index(DEFAULT))]
    ((_, heads),) = fit_candidates(evidence, [chosen])
    everywhere = np.ones(len(rounds), dtype=np.bool_)
    return LogFit(
        heads=heads,
        scale=log.scale,
        chosen=chosen,
        candidates=[
            _summary(recipe.name, judged.advantage[recipe], judged.choice[recipe], rounds)
            for recipe in wanted
        ],
        fixed_arms=_fixed_arms(log, gamma[: len(rounds)], rounds),
        incumbent_value=float(log.incumbent(gamma[: len(rounds)], everywhere).mean()),
        draws=dict(zip(rounds.arms, log.reported.tolist(), strict=True)),
        tenants=_tenants(log, judged.heads[chosen], evidence, rounds, weights)
        if tenants
        else NO_TENANTS,
        posterior=log.posterior(),
        contrast_penalties=log.joint.averages(rounds.metrics),
        alike=log.joint.correlations(rounds.metrics),
    )


def _tenants(
    log: LogEvidence,
    heads: dict[int, Heads],
    evidence: Evidence,
    rounds: LoggedRounds,
    weights: Floats,
) -> TenantFit:
    """What tenants' outcomes add to the chosen candidate, as its cross-fitted heads tell."""
    reported = np.asarray((~np.isnan(rounds.values)).any(axis=1))
    large, too_small = large_tenants(rounds.tenants, rounds.groups, reported)
    rows = log.tenant_rows(heads, evidence, numbered(rounds.tenants, large))
    learnable = evidence.supported[:, None] & rounds.observed
    trial = Trial(log.folds, weights, learnable, evidence.signs)
    return fit_offsets(rows, large, too_small, rounds.metrics, trial)


def _fixed_arms(log: LogEvidence, gamma: Floats, rounds: LoggedRounds) -> list[CandidateValue]:
    """Always taking one arm: what no policy should fall below."""
    everywhere = np.ones(len(rounds), dtype=np.bool_)
    earned = log.utilities(gamma, everywhere) - log.incumbent(gamma, everywhere)[:, None]
    return [
        _summary(arm, earned[:, a], np.full(len(rounds), a), rounds)
        for a, arm in enumerate(rounds.arms)
        if log.reported[a]
    ]


# Calls of `advance`: the joint model, then one a fold.
STEPS = 1 + FOLDS


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
