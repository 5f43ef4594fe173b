"""What a policy makes of cases: expected metrics, utilities, and the probabilities to draw with."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.exploration import (
    GREEDY,
    Bools,
    Exploration,
    Floats,
    arm_probabilities,
    until_first_promotion,
)
from policies.posterior import Beliefs
from policies.retrieval_rate import RETRIEVAL_RATE, with_retrieval_rate
from policies.settings import PolicySettings
from router.api.schemas import RouteRequest
from router.deciding.cases import Case
from router.serving_policy import ServingPolicy


class Outlook(NamedTuple):
    """Of n cases: expected (n, A, M) of these metrics; of each arm (n, A) utility, whether it is
    eligible, and its probability.
    """

    expected: Floats
    metrics: tuple[str, ...]
    utilities: Floats
    eligible: Bools
    probabilities: Floats

    def best(self) -> NDArray[np.intp]:
        """(n,) the eligible arm of greatest utility."""
        if self.eligible.all():
            return np.asarray(self.utilities.argmax(axis=1))
        return np.asarray(np.where(self.eligible, self.utilities, -np.inf).argmax(axis=1))


class Outlooks:
    """Asks policies, each request under its own objective and exploration."""

    def __init__(self, settings: PolicySettings) -> None:
        """Take the arms and the tenants' explorations."""
        self._retrieves = [arm.retrieves for arm in settings.arm_list()]
        own = {
            tenant: settings.exploration_of(tenant)
            for tenant, configured in settings.tenants.items()
            if configured.exploration
        }
        self._explorations = own
        self._cold_explorations = {
            tenant: until_first_promotion(exploration) for tenant, exploration in own.items()
        }

    def of(
        self, serving: ServingPolicy, features: NDArray[np.float32], cases: Sequence[Case]
    ) -> Outlook:
        """A policy's outlook on cases with features (n, d)."""
        tenants = [case.request.tenant for case in cases]
        objectives = [case.objective.weights for case in cases]
        explorations = [self.exploration(case.request, serving) for case in cases]
        expected, metrics = serving.expected(features, tenants), serving.policy.metrics
        beliefs = None
        if "thompson" in [exploration.kind for exploration in explorations]:
            beliefs = self._beliefs(serving.beliefs(features, tenants), metrics, objectives)
        if [weights for weights in objectives if RETRIEVAL_RATE in weights]:
            expected, metrics = with_retrieval_rate(expected, metrics, self._retrieves)
        weights = np.array([[own.get(metric, 0.0) for metric in metrics] for own in objectives])
        # Not a matrix product, whose order of summation may depend on n.
        utilities = np.add.reduce(expected * weights[:, None], axis=2)
        eligible = np.array([case.eligibility.mask for case in cases])
        probabilities = _probabilities(utilities, eligible, explorations, beliefs)
        return Outlook(expected, metrics, utilities, eligible, probabilities)

    def exploration(self, request: RouteRequest, serving: ServingPolicy) -> Exploration:
        """With which a request is decided: none if it asks so, its tenant's, or the service's."""
        if not request.explore:
            return GREEDY
        own = self._explorations if serving.promoted else self._cold_explorations
        return own.get(request.tenant, serving.exploration)

    def _beliefs(
        self,
        known: Beliefs | None,
        metrics: Sequence[str],
        objectives: Sequence[Mapping[str, float]],
    ) -> Beliefs | None:
        """What is believed of utilities, (n, A), from what is believed of metrics, (n, A, M)."""
        if known is None:
            return None
        vectors = np.array([[own.get(metric, 0.0) for metric in metrics] for own in objectives])
        retrieval = np.array([own.get(RETRIEVAL_RATE, 0.0) for own in objectives])
        if RETRIEVAL_RATE in metrics:
            vectors[:, metrics.index(RETRIEVAL_RATE)] = 0.0
        means = np.add.reduce(known.means * vectors[:, None], axis=2)
        means += retrieval[:, None] * np.asarray(self._retrieves, dtype=np.float64)
        variances = np.add.reduce(known.variances * (vectors * vectors)[:, None], axis=2)
        return Beliefs(means, variances)


def _probabilities(
    utilities: Floats,
    eligible: Bools,
    explorations: Sequence[Exploration],
    beliefs: Beliefs | None,
) -> Floats:
    """(n, A) each case's by its own exploration."""
    first = explorations[0]
    if len(explorations) == 1 or all(exploration is first for exploration in explorations):
        return arm_probabilities(utilities, eligible, first, beliefs)
    probabilities = np.empty(utilities.shape)
    for exploration in set(explorations):
        rows = np.array([one == exploration for one in explorations])
        own = None if beliefs is None else Beliefs(beliefs.means[rows], beliefs.variances[rows])
        probabilities[rows] = arm_probabilities(utilities[rows], eligible[rows], exploration, own)
    return probabilities
