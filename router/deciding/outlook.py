"""What a policy makes of cases: expected metrics, utilities, and the probabilities to draw with."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.exploration import GREEDY, Exploration, arm_probabilities, until_first_promotion
from policies.policy import Floats
from policies.posterior import Beliefs
from policies.retrieval_rate import RETRIEVAL_RATE, with_retrieval_rate
from policies.settings import PolicySettings
from router.api.schemas import RouteRequest
from router.deciding.cases import Case
from router.serving_policy import ServingPolicy


class Outlook(NamedTuple):
    """Of n cases: expected (n, A, M) of these metrics, utilities (n, A), probabilities (n, A)."""

    expected: Floats
    metrics: tuple[str, ...]
    utilities: Floats
    probabilities: Floats

    def expected_by_metric(self, row: int) -> dict[str, list[float]]:
        """One case's expectations, by metric one number per arm."""
        return dict(zip(self.metrics, self.expected[row].T.tolist(), strict=True))


class Outlooks:
    """Asks policies, each request under its own objective and exploration."""

    def __init__(self, settings: PolicySettings) -> None:
        """Take the arms and the tenants' explorations."""
        self._retrieves = [arm.retrieves for arm in settings.arm_list()]
        self._tenant_explorations = {
            tenant: settings.exploration_of(tenant)
            for tenant, own in settings.tenants.items()
            if own.exploration
        }

    def of(
        self, serving: ServingPolicy, features: NDArray[np.float32], cases: Sequence[Case]
    ) -> Outlook:
        """A policy's outlook on cases with features (n, d)."""
        expected = serving.expected(features, [case.request.tenant for case in cases])
        metrics = serving.policy.metrics
        if any(RETRIEVAL_RATE in case.objective.weights for case in cases):
            expected, metrics = with_retrieval_rate(expected, metrics, self._retrieves)
        weights = np.array(
            [[case.objective.weights.get(metric, 0.0) for metric in metrics] for case in cases]
        )
        utilities = np.asarray((expected @ weights[:, :, None])[:, :, 0])
        beliefs = self._beliefs(serving, features, cases)
        probabilities = self._probabilities(utilities, cases, serving, beliefs)
        return Outlook(expected, metrics, utilities, probabilities)

    def exploration(self, request: RouteRequest, serving: ServingPolicy) -> Exploration:
        """With which a request is decided: none if it asks so, its tenant's, or the service's."""
        if not request.explore:
            return GREEDY
        own = self._tenant_explorations.get(request.tenant)
        if own is None:
            return serving.exploration
        return own if serving.promoted else until_first_promotion(own)

    def _beliefs(
        self, serving: ServingPolicy, features: NDArray[np.float32], cases: Sequence[Case]
    ) -> Beliefs | None:
        """What is believed of utilities, (n, A); None where no case asks, or nobody knows."""
        tenants = [case.request.tenant for case in cases]
        asked = any(self.exploration(c.request, serving).kind == "thompson" for c in cases)
        if not asked or (known := serving.beliefs(features, tenants)) is None:
            return None
        metrics = serving.policy.metrics
        weights = [case.objective.weights for case in cases]
        vectors = np.array([[own.get(metric, 0.0) for metric in metrics] for own in weights])
        retrieval = np.array([own.get(RETRIEVAL_RATE, 0.0) for own in weights])
        if RETRIEVAL_RATE in metrics:
            vectors[:, metrics.index(RETRIEVAL_RATE)] = 0.0
        means = np.einsum("nam,nm->na", known.means, vectors)
        means += retrieval[:, None] * np.asarray(self._retrieves, dtype=np.float64)
        return Beliefs(means, np.einsum("nam,nm->na", known.variances, vectors**2))

    def _probabilities(
        self,
        utilities: Floats,
        cases: Sequence[Case],
        serving: ServingPolicy,
        beliefs: Beliefs | None,
    ) -> Floats:
        mask = np.array([case.eligibility.mask for case in cases])
        explorations = [self.exploration(case.request, serving) for case in cases]
        distinct = set(explorations)
        if len(distinct) == 1:
            return arm_probabilities(utilities, mask, explorations[0], beliefs)
        probabilities = np.empty(utilities.shape)
        for exploration in distinct:
            rows = np.array([one == exploration for one in explorations])
            own = None if beliefs is None else Beliefs(beliefs.means[rows], beliefs.variances[rows])
            probabilities[rows] = arm_probabilities(utilities[rows], mask[rows], exploration, own)
        return probabilities
