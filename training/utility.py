"""From metrics to the one number a policy is judged by, under each round's own objective or one.

A metric that carries weight but was never reported (an owner's prior on cost, say, in a service
that doesn't answer itself) counts as what the serving policy expected of it, for every policy
alike; where nothing was expected it counts as 0. A metric reported for some rounds is never filled
in: its absence has a propensity (`training.reporting`) that enters the weight.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from policies.arms import did_you_mean
from policies.errors import ObjectiveError
from policies.policy import Policy
from policies.posterior import Beliefs, utility_beliefs
from training.judge.sample import Sample
from training.log.rounds import Bools, Floats, LoggedRounds
from training.reporting.probabilities import reporting_probabilities
from training.reporting.shares import reporting_by_arm


class Judged(NamedTuple):
    """Rounds under an objective.

    weights (n, M); reward (n,), 0 where unknown; known (n,) whether every weighted metric was
    reported; reporting (n,) how probable that was; predicted (n, A) the reward model's utilities;
    pscore (n,) the propensity of the draw and of its being reported, infinite where it wasn't.
    """

    weights: Floats
    reward: Floats
    known: np.ndarray[tuple[int], np.dtype[np.bool_]]
    reporting: Floats
    predicted: Floats
    pscore: Floats


def objective_weights(rounds: LoggedRounds, objective: Mapping[str, float] | None) -> Floats:
    """(n, M) weights: each round's own, or one objective for all.

    Raises:
        ObjectiveError: the objective weighs a metric that the log doesn't have, or no round's
            objective weighs anything that is known.
    """
    if objective is None:
        return rounds.weights
    check_objective(objective, rounds.metrics)
    vector = np.array([objective.get(metric, 0.0) for metric in rounds.metrics])
    return np.broadcast_to(vector, rounds.weights.shape)


def check_objective(objective: Mapping[str, float] | None, metrics: Sequence[str]) -> None:
    """Refuse an objective that weighs a metric that a log doesn't have.

    Raises:
        ObjectiveError: it does.
    """
    for metric in objective or ():
        if metric not in metrics:
            raise ObjectiveError(
                f"the log has no metric {metric!r}{did_you_mean(metric, metrics)}; it has "
                f"{', '.join(metrics)}",
                field=f"objective.{metric}",
            )


def rewards_of(rounds: LoggedRounds, weights: Floats, observed: Bools) -> tuple[Bools, Floats]:
    """(n,) whether every weighted metric was reported, and (n,) the reward, 0 where it wasn't.

    `observed` (M,) says which metrics were reported at all; another counts as what the serving
    policy expected.
    """
    values = rounds.values
    if not observed.all():
        values = values.copy()
        prior = np.nan_to_num(rounds.expected[:, :, ~observed])
        values[:, ~observed] = prior[np.arange(len(rounds)), rounds.action]
    known = np.asarray((~np.isnan(values) | (weights == 0.0)).all(axis=1))
    return known, np.where(known, (np.nan_to_num(values) * weights).sum(axis=1), 0.0)


def judge_rounds(
    rounds: LoggedRounds, weights: Floats, predictions: Floats, reporting: Floats | None = None
) -> Judged:
    """The rounds' rewards under these weights.

    Args:
        rounds: n rounds.
        weights: (n, M).
        predictions: (n, A, M) a reward model's predictions, made without the row's own values.
        reporting: (n,) how probable it was that the reward is known, fitted here without.
    """
    observed = rounds.observed
    metrics = predictions
    if not observed.all():
        metrics = predictions.copy()
        metrics[:, :, ~observed] = np.nan_to_num(rounds.expected[:, :, ~observed])
    known, reward = rewards_of(rounds, weights, observed)
    if reporting is None:
        reporting = reporting_probabilities(rounds, known, reward)
    with np.errstate(divide="ignore"):
        pscore = np.where(known, rounds.pscore * reporting, np.inf)
    return Judged(
        weights=weights,
        reward=reward,
        known=known,
        reporting=reporting,
        predicted=np.einsum("nam,nm->na", metrics, weights),
        pscore=pscore,
    )


def sample_of(rounds: LoggedRounds, judged: Judged, probabilities: Floats) -> Sample:
    """The rounds as an estimator's input, for a policy with these probabilities (n, A)."""
    return Sample(
        action=rounds.action,
        reward=judged.reward,
        pscore=judged.pscore,
        action_dist=probabilities,
        estimated_rewards=judged.predicted,
        clusters=rounds.groups,
        logging=rounds.probabilities * reporting_by_arm(rounds, judged.reporting),
    )


def utilities_of(expected: Floats, policy: Policy, rounds: LoggedRounds, weights: Floats) -> Floats:
    """(n, A) utilities under the rounds' weights, in the rounds' arm order.

    `expected` (n, A, M) is what the policy expects, in its own order. A metric that it doesn't know
    counts as 0, as it does in the service.
    """
    columns = [policy.arms.index(arm) for arm in rounds.arms]
    shared = [metric for metric in rounds.metrics if metric in policy.metrics]
    learned = [policy.metrics.index(metric) for metric in shared]
    ours = [rounds.metrics.index(metric) for metric in shared]
    aligned = expected[:, columns][:, :, learned]
    return np.asarray(np.einsum("nam,nm->na", aligned, weights[:, ours]))


def beliefs_of(
    beliefs: Beliefs, policy: Policy, rounds: LoggedRounds, weights: Floats
) -> Beliefs | None:
    """Beliefs (n, A) of the same utilities, for Thompson sampling.

    `beliefs` (n, A, M) are the policy's of its metrics, in its own order.
    """
    columns = [policy.arms.index(arm) for arm in rounds.arms]
    aligned = np.zeros((len(rounds), len(policy.metrics)))
    for m, metric in enumerate(policy.metrics):
        if metric in rounds.metrics:
            aligned[:, m] = weights[:, rounds.metrics.index(metric)]
    return utility_beliefs(Beliefs(*(part[:, columns] for part in beliefs)), aligned)
