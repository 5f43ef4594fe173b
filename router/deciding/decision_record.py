"""A decision as it is logged and as its caller is told."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from policies.arms import Arm
from policies.audit import is_audited
from policies.events import DecisionMade, TextPolicy
from policies.features import pack_features
from policies.policy import Floats
from policies.query import loggable_text, query_hash
from router.api.schemas import ArmOutlook, PolicyReference, RouteResponse
from router.deciding.cases import Case
from router.deciding.outlook import Outlook
from router.serving_policy import ServingPolicy


class Drawn(NamedTuple):
    """What was drawn for row `row` of an outlook: the arm, with these probabilities (A,)."""

    decision_id: str
    row: int
    arm: int
    probabilities: Floats
    explored: bool


class DecisionRecord:
    """Writes events and responses; what of a request may be logged is configuration."""

    def __init__(
        self,
        arms: Sequence[Arm],
        feature_version: str,
        *,
        text: TextPolicy,
        logged_attributes: Sequence[str],
        audit_share: float,
        clock: Callable[[], float],
    ) -> None:
        """Take what every record has in common."""
        self._arms = arms
        self._names = [arm.name for arm in arms]
        self._route_of = {arm.name: arm.route or "" for arm in arms}
        self._feature_version = feature_version
        self._text = text
        self._logged_attributes = frozenset(logged_attributes)
        self._audit_share = audit_share
        self._clock = clock

    def event(
        self,
        case: Case,
        serving: ServingPolicy,
        outlook: Outlook,
        drawn: Drawn,
        features: NDArray[np.float32],
    ) -> DecisionMade:
        """The event of a draw; `features` (d,) are the case's."""
        mask = case.eligibility.mask
        return DecisionMade(
            decision_id=drawn.decision_id,
            at=self._clock(),
            arms=self._names,
            eligible=[name for name, eligible in zip(self._names, mask, strict=True) if eligible],
            probabilities=drawn.probabilities.tolist(),
            arm=self._names[drawn.arm],
            propensity=float(drawn.probabilities[drawn.arm]),
            policy=serving.policy.name,
            policy_version=serving.policy.version,
            objective=case.objective.name,
            weights=case.objective.weights,
            expected=outlook.expected_by_metric(drawn.row),
            explored=drawn.explored,
            explore=case.request.explore,
            tenant=case.request.tenant,
            query=loggable_text(case.query, self._text),
            query_hash=query_hash(case.query),
            features=pack_features(features),
            feature_version=self._feature_version,
            rules=case.eligibility.rules,
            fallback=serving.fallback,
            out_of_distribution=case.out_of_distribution,
            attributes={
                name: value
                for name, value in case.request.attributes.items()
                if name in self._logged_attributes
            },
            audit=is_audited(drawn.decision_id, self._audit_share),
        )

    def response(
        self, event: DecisionMade, case: Case, utilities: Floats, reasons: list[str]
    ) -> RouteResponse:
        """What the caller is told; `utilities` (A,)."""
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
            for index, arm in enumerate(self._arms)
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
            audit=True if event.audit else UNSET,
        )
