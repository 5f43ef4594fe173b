"""A policy on logged rounds: its probabilities, and the samples that estimators take.

The incumbent is what served: the logged probabilities, exploration included. The candidate is
judged with the exploration that it would serve with, so both are compared as they would be met.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from policies.arms import did_you_mean
from policies.errors import PolicyFitError
from policies.exploration import Exploration, arm_probabilities
from policies.policy import Policy
from policies.posterior import Beliefs
from training.errors import EmptyLogError
from training.fit.feature_scale import fit_scale
from training.fit.folds import grouped_folds
from training.fit.pseudo_outcomes import OneDraw
from training.fit.threads import one_thread
from training.judge.cross_fit import cross_fit
from training.judge.ope import Sample
from training.log.rounds import Bools, Floats, LoggedRounds
from training.trained_queries import QUERY_FILTER, trained_on
from training.utility import beliefs_of, judge_rounds, sample_of, utilities_of

_FOLDS = 5
# Intervals count near-duplicate queries as one, and say nothing from a handful.
MIN_QUERIES = 20
# So many rounds whose queries are new can be judged by alone: they mostly amount to half their
# number, at best, and the gate needs an effective 1,000.
MIN_NEW_ROUNDS = 2_000


class OnRounds(NamedTuple):
    """A candidate and the incumbent on the same rounds, under one objective.

    sample: the estimators' input for the candidate; incumbent (n, A): what served, canaries aside;
    greedy (n,): the arm the candidate likes best; incumbent_greedy (n, A): the incumbent without
    its exploration, that is its likeliest arms; metrics: a sample per reported metric, whose
    reward is the metric itself.
    """

    sample: Sample
    incumbent: Floats
    greedy: np.ndarray[tuple[int], np.dtype[np.intp]]
    incumbent_greedy: Floats
    metrics: dict[str, Sample]


class RowValues(NamedTuple):
    """What the rounds' features say of them, so that they can be judged without.

    predictions (n, A, M): by cross-fitted reward models; expected (n, A, M'): the policy's own, its
    arms and metrics in its order; beliefs: the same of what it is how sure of; reporting (n,): how
    probable it was that what the objective weighs is known, and by_metric each metric alone; None
    and none for what is fitted on the rounds themselves.
    """

    predictions: Floats
    expected: Floats
    beliefs: Beliefs | None
    reporting: Floats | None
    by_metric: dict[str, Floats]


class Unseen(NamedTuple):
    """Rounds to judge a policy by: n of them, whether each one's query was trained on (n,), and how
    many more were left out for that reason.
    """

    rounds: LoggedRounds
    trained: Bools
    left_out: int

    @property
    def enough(self) -> bool:
        """Whether anything can be estimated from them."""
        return len(np.unique(self.rounds.groups)) >= MIN_QUERIES

    @property
    def explanation(self) -> str:
        """For people: how the rounds relate to the queries that the policy was trained on."""
        if self.left_out:
            return (
                f"{self.left_out:,} later rounds repeat queries that it was trained on and are "
                f"left out; {len(self.rounds):,} don't"
            )
        repeated = int(self.trained.sum())
        if not repeated:
            return "no query of these rounds was trained on"
        return (
            f"{repeated:,} of {len(self.rounds):,} rounds repeat queries that it was trained on; "
            f"the others are too few to judge by alone ({MIN_NEW_ROUNDS:,} are needed), so this "
            "holds for traffic that repeats itself as much"
        )


def unseen(rounds: LoggedRounds, policy: Policy, tenant: str | None = None) -> Unseen:
    """The explored rounds after the policy's training window, of the policy that served last.

    A policy trained on outcomes alone has no window: all rounds are unseen. Rounds of policies that
    served before the last are left out, since to beat a mixture of old and new proves nothing; so
    are repetitions of queries that the policy was trained on, which flatter it, where enough other
    rounds remain.

    Args:
        rounds: the log's.
        policy: the one to be judged.
        tenant: only this tenant's rounds; None for all.

    Raises:
        EmptyLogError: no round is of that tenant.
    """
    if tenant is not None:
        rounds = rounds.rows(of_tenant(rounds, tenant))
    rounds = _later(rounds, policy)
    encoded = policy.artifact().manifest.training.get(QUERY_FILTER, "")
    trained = trained_on(encoded, rounds.query_hashes.tolist())
    new = int((~trained).sum())
    if trained.any() and new >= MIN_NEW_ROUNDS:
        return Unseen(rounds.rows(~trained), np.zeros(new, dtype=np.bool_), len(rounds) - new)
    return Unseen(rounds, trained, 0)


def of_tenant(rounds: LoggedRounds, tenant: str) -> Bools:
    """(n,) which rounds are a tenant's.

    Raises:
        EmptyLogError: none is.
    """
    mine = np.asarray(rounds.tenants == tenant)
    if not mine.any():
        require_tenant(tenant, sorted(set(rounds.tenants.tolist())))
    return mine


def require_tenant(tenant: str, known: Sequence[str]) -> None:
    """That a tenant is among those of the log; raises EmptyLogError."""
    if tenant not in known:
        raise EmptyLogError(
            f"no decision of the log is for tenant {tenant!r}{did_you_mean(tenant, known)}; it "
            f"has {', '.join(name or '(none)' for name in known[:10])}"
        )


def training_window(policy: Policy) -> float:
    """The time of the last round it was trained on; before all, if it was trained on none."""
    window = policy.artifact().manifest.training.get("window")
    return float(window[1]) if window else -math.inf


def _later(rounds: LoggedRounds, policy: Policy) -> LoggedRounds:
    keep = rounds.explored
    keep = keep & (rounds.at > training_window(policy))
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
    read: RowValues | None = None,
) -> OnRounds:
    """The policy on these rounds; `read` is for rounds that have no features.

    Raises:
        PolicyFitError: it reads other features than were logged, or lacks an arm of the log.
        EmptyLogError: there are too few rounds to fit the reward models of the estimators.
    """
    check_fit(policy, rounds.feature_version, rounds.arms)
    distinct = len(np.unique(rounds.groups))
    if distinct < MIN_QUERIES:
        raise too_few(policy, len(rounds), distinct)
    if read is None:
        read = _values(policy, rounds, seed)
    utilities = utilities_of(read.expected, policy, rounds, weights)
    beliefs = None
    if reads_beliefs(exploration) and read.beliefs is not None:
        beliefs = beliefs_of(read.beliefs, policy, rounds, weights)
    probabilities = arm_probabilities(utilities, rounds.eligible, exploration, beliefs)
    incumbent = incumbent_probabilities(rounds)
    samples = {}
    for m in np.flatnonzero(rounds.observed):
        only = np.zeros_like(weights)
        only[:, m] = 1.0
        name = rounds.metrics[m]
        judged = judge_rounds(rounds, only, read.predictions, read.by_metric.get(name))
        samples[name] = sample_of(rounds, judged, probabilities)
    return OnRounds(
        sample=sample_of(
            rounds, judge_rounds(rounds, weights, read.predictions, read.reporting), probabilities
        ),
        incumbent=incumbent,
        greedy=np.where(rounds.eligible, utilities, -np.inf).argmax(axis=1),
        incumbent_greedy=_likeliest(incumbent),
        metrics=samples,
    )


def reads_beliefs(exploration: Exploration) -> bool:
    """Whether it asks how sure the policy is."""
    return exploration.kind == "thompson"


def too_few(policy: Policy, rounds: int, queries: int) -> EmptyLogError:
    """The error that so many rounds, on so many different queries, are nothing to judge by."""
    return EmptyLogError(
        f"{rounds} logged decisions on {queries} distinct queries are left to judge "
        f"policy {policy.version} by (explored ones after its training window); at least "
        f"{MIN_QUERIES} queries are needed: let the service run on and export again, or train "
        "with a larger --holdout"
    )


def _values(policy: Policy, rounds: LoggedRounds, seed: int) -> RowValues:
    """The same, of rounds that have their features."""
    n, tenants = len(rounds), rounds.tenants.tolist()
    values = np.full((n, len(rounds.arms), len(rounds.metrics)), np.nan)
    values[np.arange(n), rounds.action] = rounds.values
    scaled = fit_scale(rounds.features).apply(rounds.features)
    # How a value came to be known is for the estimators, not for a regression on it.
    draws = OneDraw(scaled, values, values, values)
    folds = grouped_folds(rounds.groups, _FOLDS, seed)
    return RowValues(
        predictions=cross_fit(draws, folds).predictions,
        expected=policy.expected(rounds.features, tenants),
        beliefs=policy.beliefs(rounds.features, tenants),
        reporting=None,
        by_metric={},
    )


def incumbent_probabilities(rounds: LoggedRounds) -> Floats:
    """(n, A) what the incumbent alone would have drawn with: while a canary had a share s, the log
    has the mixture (1 − s) · incumbent + s · candidate.
    """
    share = np.minimum(rounds.candidate_share, 1.0 - 1e-9)[:, None]
    alone = (rounds.probabilities - share * rounds.candidate_probabilities) / (1.0 - share)
    alone = np.maximum(alone, 0.0)
    alone /= alone.sum(axis=1, keepdims=True)
    return np.where(share > 0.0, alone, rounds.probabilities)


def _likeliest(probabilities: Floats) -> Floats:
    """(n, A) all probability on each row's likeliest arm, shared between equals."""
    best = probabilities >= probabilities.max(axis=1, keepdims=True) - 1e-12
    return np.asarray(best / best.sum(axis=1, keepdims=True))


def check_fit(policy: Policy, feature_version: str, arms: Sequence[str]) -> None:
    """That a policy can be judged on a log; raises PolicyFitError."""
    if policy.feature_version not in ("", feature_version):
        raise PolicyFitError(
            f"policy {policy.version} reads features {policy.feature_version!r}, the log has "
            f"{feature_version!r}: train a policy on this log",
            field="features",
        )
    missing = [arm for arm in arms if arm not in policy.arms]
    if missing:
        raise PolicyFitError(
            f"policy {policy.version} doesn't know the log's arms {', '.join(missing)} (it knows "
            f"{', '.join(policy.arms)}): train a policy on this log",
            field="arms",
        )
