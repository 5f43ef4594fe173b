"""A policy on logged rounds: its probabilities, and the samples that estimators take.

The incumbent is what served: the logged probabilities, exploration included. The candidate is
judged with the exploration that it would serve with, so both are compared as they would be met.
"""

from typing import NamedTuple

import numpy as np

from policies.errors import PolicyFitError
from policies.exploration import Exploration, arm_probabilities
from policies.policy import Policy
from training.errors import EmptyLogError
from training.fit.feature_scale import fit_scale
from training.fit.folds import grouped_folds
from training.fit.pseudo_outcomes import choose_alphas, draws_of, out_of_fold
from training.fit.threads import one_thread
from training.judge.ope import Sample
from training.log.rounds import Floats, LoggedRounds
from training.utility import judge_rounds, policy_beliefs, policy_utilities, sample_of

_FOLDS = 5
# Intervals count near-duplicate queries as one, and say nothing from a handful.
MIN_QUERIES = 20


class OnRounds(NamedTuple):
    """A candidate and the incumbent on the same rounds, under one objective.

    sample: the estimators' input for the candidate; incumbent (n, A): the logged probabilities;
    greedy (n,): the arm the candidate likes best; incumbent_greedy (n, A): the incumbent without
    its exploration, that is its likeliest arms; metrics: a sample per reported metric, whose
    reward is the metric itself.
    """

    sample: Sample
    incumbent: Floats
    greedy: np.ndarray[tuple[int], np.dtype[np.intp]]
    incumbent_greedy: Floats
    metrics: dict[str, Sample]


def unseen(rounds: LoggedRounds, policy: Policy) -> LoggedRounds:
    """The explored rounds after the policy's training window, of the policy that served last.

    A policy trained on outcomes alone has no window: all rounds are unseen. Rounds of policies that
    served before the last are left out, since to beat a mixture of old and new proves nothing.
    """
    keep = rounds.explored
    window = policy.artifact().manifest.training.get("window")
    if window:
        keep = keep & (rounds.at > float(window[1]))
    if keep.any():
        keep = keep & (rounds.policy_versions == rounds.policy_versions[keep][-1])
    return rounds.rows(keep)


@one_thread()
def put_on_rounds(
    policy: Policy,
    rounds: LoggedRounds,
    weights: Floats,
    exploration: Exploration,
    *,
    seed: int = 0,
) -> OnRounds:
    """The policy on these rounds.

    Raises:
        PolicyFitError: it reads other features than were logged, or lacks an arm of the log.
        EmptyLogError: there are too few rounds to fit the reward models of the estimators.
    """
    _check_fit(policy, rounds)
    distinct = len(np.unique(rounds.groups))
    if distinct < MIN_QUERIES:
        raise EmptyLogError(
            f"{len(rounds)} logged decisions on {distinct} distinct queries are left to judge "
            f"policy {policy.version} by (explored ones after its training window); at least "
            f"{MIN_QUERIES} queries are needed: let the service run on and export again, or train "
            "with a larger --holdout"
        )
    scaled = fit_scale(rounds.features).apply(rounds.features)
    draws = draws_of(rounds, scaled)
    folds = grouped_folds(rounds.groups, _FOLDS, seed)
    predictions = out_of_fold(draws, folds, choose_alphas(draws, folds))
    utilities = policy_utilities(policy, rounds, weights)
    beliefs = policy_beliefs(policy, rounds, weights)
    probabilities = arm_probabilities(utilities, rounds.eligible, exploration, beliefs)
    samples = {}
    for m in np.flatnonzero(rounds.observed):
        only = np.zeros_like(weights)
        only[:, m] = 1.0
        judged = judge_rounds(rounds, only, predictions)
        samples[rounds.metrics[m]] = sample_of(rounds, judged, probabilities)
    return OnRounds(
        sample=sample_of(rounds, judge_rounds(rounds, weights, predictions), probabilities),
        incumbent=rounds.probabilities,
        greedy=np.where(rounds.eligible, utilities, -np.inf).argmax(axis=1),
        incumbent_greedy=_likeliest(rounds.probabilities),
        metrics=samples,
    )


def _likeliest(probabilities: Floats) -> Floats:
    """(n, A) all probability on each row's likeliest arm, shared between equals."""
    best = probabilities >= probabilities.max(axis=1, keepdims=True) - 1e-12
    return np.asarray(best / best.sum(axis=1, keepdims=True))


def _check_fit(policy: Policy, rounds: LoggedRounds) -> None:
    if policy.feature_version not in ("", rounds.feature_version):
        raise PolicyFitError(
            f"policy {policy.version} reads features {policy.feature_version!r}, the log has "
            f"{rounds.feature_version!r}: train a policy on this log",
            field="features",
        )
    missing = [arm for arm in rounds.arms if arm not in policy.arms]
    if missing:
        raise PolicyFitError(
            f"policy {policy.version} doesn't know the log's arms {', '.join(missing)} (it knows "
            f"{', '.join(policy.arms)}): train a policy on this log",
            field="arms",
        )
