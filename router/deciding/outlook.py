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
    """Of n cases: expected (n, A, M), of these metrics, by case (some may have none for the last
    column); of each arm (n, A) its utility and its probability.
    """

    expected: Floats
    metrics: Sequence[tuple[str, ...]]
    utilities: Floats
    probabilities: Floats


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
        # The objective of the latest decisions: weights, metrics, and the weights in their order.
        self._latest: tuple[Mapping[str, float], tuple[str, ...], Floats] = (
            {},
            (),
            np.empty((1, 0)),
        )
        self._cold_explorations = {
            tenant: until_first_promotion(exploration) for tenant, exploration in own.items()
        }

    def of(
        self, serving: ServingPolicy, features: NDArray[np.float32], cases: Sequence[Case]
    ) -> Outlook:
        """A policy's outlook on cases with features (n, d)."""
        requests = [case.request for case in cases]
        tenants = [request.tenant for request in requests]
        objectives = [case.objective.weights for case in cases]
        explorations = [self.exploration(request, serving) for request in requests]
        expected, metrics = serving.expected(features, tenants), serving.policy.metrics
        beliefs = None
        if "thompson" in [exploration.kind for exploration in explorations]:
            beliefs = self._beliefs(serving.beliefs(features, tenants), metrics, objectives)
        metrics_by_case = [metrics] * len(cases)
        weighing = [RETRIEVAL_RATE in weights for weights in objectives]
        if True in weighing:
            expected, metrics = self._with_retrieval_rate(expected, metrics, weighing)
            metrics_by_case = [
                metrics if weighs else own
                for weighs, own in zip(weighing, metrics_by_case, strict=True)
            ]
        weights = self._weights(objectives, metrics)
        # Not a matrix product, whose order of summation may depend on n.
        utilities = np.add.reduce(expected * weights[:, None], axis=2)
        eligible = np.array([case.eligibility.mask for case in cases])
        probabilities = _probabilities(utilities, eligible, explorations, beliefs)
        return Outlook(expected, metrics_by_case, utilities, probabilities)

    def exploration(self, request: RouteRequest, serving: ServingPolicy) -> Exploration:
        """With which a request is decided: none if it asks so, its tenant's, or the service's."""
        if not request.explore:
            return GREEDY
        own = self._explorations if serving.promoted else self._cold_explorations
        return own.get(request.tenant, serving.exploration)

    def _with_retrieval_rate(
        self, expected: Floats, metrics: tuple[str, ...], weighing: Sequence[bool]
    ) -> tuple[Floats, tuple[str, ...]]:
        """Expectations (n, A, M) with the retrieval rate last; what a policy has learned of it is
        left to the cases that don't weigh it, whose log mustn't depend on the others.
        """
        together, names = with_retrieval_rate(expected, metrics, self._retrieves)
        if RETRIEVAL_RATE in metrics:
            others = np.logical_not(weighing)
            together[others, :, -1] = expected[others, :, metrics.index(RETRIEVAL_RATE)]
        return together, names

    def _weights(
        self, objectives: Sequence[Mapping[str, float]], metrics: tuple[str, ...]
    ) -> Floats:
        """(n, M) weights, or (1, M) where all have the same objective."""
        first = objectives[0]
        if any(weights is not first for weights in objectives):
            return np.array([[own.get(metric, 0.0) for metric in metrics] for own in objectives])
        known, of_metrics, vector = self._latest
        if known is not first or of_metrics != metrics:
            vector = np.array([[first.get(metric, 0.0) for metric in metrics]])
            self._latest = first, metrics, vector
        return vector

    def _beliefs(
        self,
        known: Beliefs | None,
        metrics: tuple[str, ...],
        objectives: Sequence[Mapping[str, float]],
    ) -> Beliefs | None:
        """What is believed of utilities, (n, A), from what is believed of metrics, (n, A, M)."""
        if known is None:
            return None
        vectors = self._weights(objectives, metrics).copy()
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
