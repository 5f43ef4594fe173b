"""From requests to decisions: features, masks, expectations, utilities, probabilities, the draw."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import uuid_utils
from numpy.typing import NDArray

from policies.choose import choose
from policies.eligibility import Eligibility, eligibility
from policies.errors import ArmError, PolicyError
from policies.events import DecisionMade, TextPolicy
from policies.exploration import GREEDY, arm_probabilities
from policies.features import Featurizer, pack_features
from policies.objective import Objective, known_metrics, resolve_objective
from policies.policy import Floats
from policies.posterior import Beliefs, utility_beliefs
from policies.query import check_query, loggable_text, query_hash
from policies.settings import PolicySettings
from router.answers.errors import NoAnswerError
from router.api.schemas import ArmOutlook, PolicyReference, RouteRequest, RouteResponse
from router.conversation import last_user_text, routed_query
from router.serving_policy import ServingPolicy


class Decision(NamedTuple):
    """What the caller is told, and what is logged."""

    response: RouteResponse
    event: DecisionMade


class _Case(NamedTuple):
    """A request, checked and resolved."""

    request: RouteRequest
    query: str
    objective: Objective
    eligibility: Eligibility


class Decider:
    """Decides; pure but for the clock and fresh ids. Nothing here waits or touches a disk."""

    def __init__(
        self,
        settings: PolicySettings,
        featurizer: Featurizer,
        *,
        text: TextPolicy = "full",
        logged_attributes: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: str(uuid_utils.uuid7()),
    ) -> None:
        self.arms = settings.arm_list()
        self._names = [arm.name for arm in self.arms]
        self._route_of = {arm.name: arm.route or "" for arm in self.arms}
        self._rules = settings.rules
        self._objectives = settings.all_objectives()
        self._default_objective = settings.default_objective
        self.featurizer = featurizer
        self._text = text
        self._logged_attributes = frozenset(logged_attributes)
        self._clock = clock
        self._new_id = new_id

    def decide(
        self,
        requests: Sequence[RouteRequest],
        serving: ServingPolicy,
        *,
        in_batch: bool = False,
        unavailable: Mapping[str, str] = {},
    ) -> list[Decision]:
        """One decision a request, all by the same policy.

        Args:
            requests: what to decide on.
            serving: the policy, as one snapshot.
            in_batch: the requests have numbers.
            unavailable: arms that can't be taken now, and why; masked before the draw, so that the
                propensities are true.

        Raises:
            NoAnswerError: arms would be eligible, but all of them are unavailable.
            QueryError, ArmError, ObjectiveError: a request can't be decided, so none is; `in_batch`
                has the error's field say which.
        """
        metrics = known_metrics(self._objectives, serving.policy.metrics)
        cases = []
        for index, request in enumerate(requests):
            try:
                cases.append(self._resolve(request, metrics, unavailable))
            except PolicyError as error:
                if in_batch:
                    error.field = f"requests[{index}].{error.field}"
                raise
        features = self.featurizer.features([case.query for case in cases])
        expected = serving.expected(features)
        utilities = self._utilities(expected, cases, serving)
        beliefs = _beliefs(features, cases, serving)
        probabilities = self._probabilities(utilities, cases, serving, beliefs)
        decisions = []
        for row, case in enumerate(cases):
            decision_id = self._new_id()
            drawn = choose(probabilities[row], decision_id)
            best = int(np.where(case.eligibility.mask, utilities[row], -np.inf).argmax())
            explored = bool(utilities[row, drawn] < utilities[row, best])
            event = self._event(
                case,
                serving,
                decision_id,
                drawn,
                explored,
                probabilities[row],
                expected[row],
                pack_features(features[row]),
            )
            reasons = [*case.eligibility.rules, *serving.policy.reasons(features[row])]
            if explored:
                reasons.append(
                    f"explored: {self._names[best]} looked best, {self._names[drawn]} was drawn "
                    f"with probability {event.propensity:.3f}"
                )
            response = self._response(event, case, utilities[row], reasons)
            decisions.append(Decision(response, event))
        return decisions

    def _resolve(
        self, request: RouteRequest, metrics: frozenset[str], unavailable: Mapping[str, str]
    ) -> _Case:
        objective = resolve_objective(
            request.objective, self._objectives, metrics, default=self._default_objective
        )
        turns = request.conversation
        check_query(request.query or last_user_text(turns))
        query = routed_query(turns)
        eligible = eligibility(
            self.arms, self._rules, request.attributes, request.arms, unavailable
        )
        if not any(eligible.mask):
            why_not = zip(self._names, eligible.why_not, strict=True)
            reasons = "; ".join(f"{name}: {reason}" for name, reason in why_not)
            if set(unavailable.values()) & set(eligible.why_not):
                raise NoAnswerError(f"no arm is left to take now ({reasons})")
            raise ArmError(f"no eligible arm is left ({reasons})", field="arms")
        return _Case(request, query, objective, eligible)

    def _utilities(
        self, expected: Floats, cases: Sequence[_Case], serving: ServingPolicy
    ) -> Floats:
        """(n, A) from (n, A, M): each request has its own weights."""
        weights = np.array(
            [
                [case.objective.weights.get(metric, 0.0) for metric in serving.policy.metrics]
                for case in cases
            ]
        )
        return np.asarray((expected @ weights[:, :, None])[:, :, 0])

    def _probabilities(
        self,
        utilities: Floats,
        cases: Sequence[_Case],
        serving: ServingPolicy,
        beliefs: Beliefs | None,
    ) -> Floats:
        mask = np.array([case.eligibility.mask for case in cases])
        probabilities = arm_probabilities(utilities, mask, serving.exploration, beliefs)
        greedy = np.array([not case.request.explore for case in cases])
        if greedy.any():
            probabilities[greedy] = arm_probabilities(utilities[greedy], mask[greedy], GREEDY)
        return probabilities

    def _event(
        self,
        case: _Case,
        serving: ServingPolicy,
        decision_id: str,
        drawn: int,
        explored: bool,
        probabilities: Floats,
        expected: Floats,
        features: bytes,
    ) -> DecisionMade:
        mask = case.eligibility.mask
        return DecisionMade(
            decision_id=decision_id,
            at=self._clock(),
            arms=self._names,
            eligible=[name for name, eligible in zip(self._names, mask, strict=True) if eligible],
            probabilities=probabilities.tolist(),
            arm=self._names[drawn],
            propensity=float(probabilities[drawn]),
            policy=serving.policy.name,
            policy_version=serving.policy.version,
            objective=case.objective.name,
            weights=case.objective.weights,
            expected=dict(zip(serving.policy.metrics, expected.T.tolist(), strict=True)),
            explored=explored,
            explore=case.request.explore,
            tenant=case.request.tenant,
            query=loggable_text(case.query, self._text),
            query_hash=query_hash(case.query),
            features=features,
            feature_version=self.featurizer.version,
            rules=case.eligibility.rules,
            fallback=serving.fallback,
            attributes={
                name: value
                for name, value in case.request.attributes.items()
                if name in self._logged_attributes
            },
        )

    def _response(
        self, event: DecisionMade, case: _Case, utilities: Floats, reasons: list[str]
    ) -> RouteResponse:
        outlooks = [
            ArmOutlook(
                arm=arm.name,
                route=arm.route or "",
                probability=event.probabilities[index],
                eligible=case.eligibility.why_not[index] is None,
                expected={metric: values[index] for metric, values in event.expected.items()},
                utility=float(utilities[index]),
                why_not=case.eligibility.why_not[index],
            )
            for index, arm in enumerate(self.arms)
        ]
        return RouteResponse(
            decision_id=event.decision_id,
            route=self._route_of[event.arm],
            arm=event.arm,
            propensity=event.propensity,
            explored=event.explored,
            policy=PolicyReference(event.policy, event.policy_version),
            arms=outlooks,
            reasons=reasons,
            fallback=event.fallback,
        )


def _beliefs(
    features: NDArray[np.float32], cases: Sequence[_Case], serving: ServingPolicy
) -> Beliefs | None:
    """Of utilities, (n, A): each request has its own objective. None where nobody asks."""
    if serving.exploration.kind != "thompson" or (known := serving.beliefs(features)) is None:
        return None
    weights = [
        [case.objective.weights.get(metric, 0.0) for metric in serving.policy.metrics]
        for case in cases
    ]
    return utility_beliefs(known, np.array(weights))
