"""Recent queries as calibration sees them: what a policy expects of each arm, and what it costs.

`prices` (n, A) average to an arm's true mean metric, whatever the policy expects, so that a mean
over them is a fair account of what would be spent. Where the metric was measured on explored
decisions they are doubly robust values, Γ = q + 1[drawn]/pscore · (measured − q) with a
cross-fitted q (Dudík et al. 2011); on an outcomes table the recorded values themselves; a metric
that was never measured leaves only the policy's own expectations.
"""

from typing import NamedTuple

import numpy as np

from policies.arms import did_you_mean
from policies.errors import ObjectiveError
from policies.exploration import Exploration, Floats
from policies.policy import Policy, utilities
from policies.retrieval_rate import RETRIEVAL_RATE, with_retrieval_rate
from policies.spend_curve import Queries
from training.errors import EmptyLogError
from training.fit.folds import Ints
from training.judge.judged_policy import MIN_QUERIES, put_on_rounds
from training.judge.ope import Sample
from training.judge.outcome_report import require_arms
from training.log.replay import known_arms
from training.log.rounds import LoggedRounds
from training.tables.outcomes import OutcomeTable
from training.tables.query_features import QueryFeatures


class RecentQueries(NamedTuple):
    """n queries, A arms of the policy or the log.

    queries: what the policy expects; prices (n, A) of the budget's metric; qualities (n, A) or None
    where quality was never measured; groups (n,) near-duplicates; basis: where prices come from.
    """

    arms: tuple[str, ...]
    queries: Queries
    prices: Floats
    qualities: Floats | None
    groups: Ints
    basis: str


class Asked(NamedTuple):
    """What is calibrated: a policy, its objective without the budget, the budget's metric, which
    arms retrieve (in the policy's order; needed for RETRIEVAL_RATE only).
    """

    policy: Policy
    base: dict[str, float]
    metric: str
    retrieves: list[bool]

    def expected(self, expected: Floats, columns: list[int]) -> tuple[Floats, Floats]:
        """(n, A) utilities and costs of some arms, from the policy's expectations (n, all, M).

        Raises:
            ObjectiveError: the policy expects nothing of the budget's metric.
        """
        metrics = self.policy.metrics
        if self.metric == RETRIEVAL_RATE or RETRIEVAL_RATE in self.base:
            expected, metrics = with_retrieval_rate(expected, metrics, self.retrieves)
        if self.metric not in metrics:
            raise ObjectiveError(
                f"policy {self.policy.version} expects nothing of {self.metric!r}"
                f"{did_you_mean(self.metric, metrics)}, only of {', '.join(metrics)}: budget one "
                f"of these or {RETRIEVAL_RATE}, or train on data that has {self.metric}",
                field="budget",
            )
        expected = expected[:, columns]
        costs = expected[:, :, metrics.index(self.metric)]
        return utilities(expected, metrics, self.base), costs


def queries_of_outcomes(
    asked: Asked, table: OutcomeTable, features: QueryFeatures
) -> RecentQueries:
    """A table's rows: the truth for every arm.

    Raises:
        PolicyFitError: the policy doesn't fit the table's arms or features.
        ObjectiveError: the policy expects nothing of the budget's metric.
    """
    columns = list(require_arms(asked.policy, table, features.version))
    liked, costs = asked.expected(asked.policy.expected(features.matrix), columns)
    known = known_arms(table)
    prices, basis = costs, "what the policy expects: the table doesn't record it"
    if asked.metric == RETRIEVAL_RATE:
        basis = "the arms' routes"
    elif asked.metric in table.metrics:
        recorded = table.values[:, :, table.metrics.index(asked.metric)]
        prices, basis = np.where(np.isnan(recorded), costs, recorded), "every arm's recorded value"
    qualities = None
    if "quality" in table.metrics:
        qualities = np.nan_to_num(table.values[:, :, table.metrics.index("quality")])
    return RecentQueries(
        table.arms,
        Queries(liked, costs, known),
        np.where(known, prices, 0.0),
        qualities,
        np.arange(len(table), dtype=np.intp),
        basis,
    )


def queries_of_rounds(
    asked: Asked, rounds: LoggedRounds, exploration: Exploration, seed: int
) -> RecentQueries:
    """Logged rounds, with the eligible arms that each had.

    Only explored rounds are taken where they can be weighed; a handful of them can't.

    Raises:
        PolicyFitError: the policy doesn't fit the log's arms or features.
        ObjectiveError: the policy expects nothing of the budget's metric.
    """
    explored = rounds.rows(rounds.explored)
    samples: dict[str, Sample] = {}
    if len(np.unique(explored.groups)) >= MIN_QUERIES and explored.observed.any():
        try:
            weights = np.zeros(explored.weights.shape)
            on = put_on_rounds(asked.policy, explored, weights, exploration, seed=seed)
            samples, rounds = on.metrics, explored
        except EmptyLogError:
            samples = {}
    columns = [asked.policy.arms.index(arm) for arm in rounds.arms]
    liked, costs = asked.expected(
        asked.policy.expected(rounds.features, rounds.tenants.tolist()), columns
    )
    prices, basis = costs, "what the policy expects: the log has too few measured values"
    if asked.metric == RETRIEVAL_RATE:
        basis = "the arms' routes"
    elif asked.metric in samples:
        sample = samples[asked.metric]
        drawn = int(np.isfinite(sample.pscore).sum())
        prices, basis = _doubly_robust(sample), f"doubly robust over {drawn:,} measured decisions"
    return RecentQueries(
        rounds.arms,
        Queries(liked, costs, rounds.eligible),
        np.where(rounds.eligible, prices, 0.0),
        _doubly_robust(samples["quality"]) if "quality" in samples else None,
        rounds.groups,
        basis,
    )


def _doubly_robust(sample: Sample) -> Floats:
    """(n, A) Γ, whose mean under any probabilities is the DR estimate of that policy."""
    gamma = sample.estimated_rewards.copy()
    rows = np.arange(len(gamma))
    gamma[rows, sample.action] += sample.residuals / sample.pscore
    return gamma
