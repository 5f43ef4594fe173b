"""A decision as it is logged and as its caller is told."""

from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import NamedTuple

from msgspec import UNSET

from policies.arms import Arm
from policies.audit import is_audited
from policies.events import DecisionMade, TextPolicy
from policies.query import loggable_text, query_hash
from policies.settings import AttributeValue
from router.api.schemas import ArmOutlook, PolicyReference, RouteResponse
from router.deciding.rows import Row
from router.serving_policy import ServingPolicy


class Drawn(NamedTuple):
    """What was drawn: the arm, and whether another looked better."""

    decision_id: str
    arm: int
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
        self._names = [arm.name for arm in arms]
        self._routes = [arm.route or "" for arm in arms]
        self._feature_version = feature_version
        self._text = text
        self._logged_attributes = frozenset(logged_attributes)
        self._audit_share = audit_share
        self._clock = clock

    def event(self, row: Row, serving: ServingPolicy, drawn: Drawn) -> DecisionMade:
        """The event of a draw."""
        case, request = row.case, row.case.request
        policy, mask = serving.policy, case.eligibility.mask
        return DecisionMade(
            decision_id=drawn.decision_id,
            at=self._clock(),
            arms=self._names,
            eligible=list(compress(self._names, mask)) if False in mask else self._names,
            probabilities=row.probabilities,
            arm=self._names[drawn.arm],
            propensity=row.probabilities[drawn.arm],
            policy=policy.name,
            policy_version=policy.version,
            objective=case.objective.name,
            weights=case.objective.weights,
            expected=row.expected,
            explored=drawn.explored,
            explore=request.explore,
            tenant=request.tenant,
            query=loggable_text(case.query, self._text),
            query_hash=query_hash(case.query),
            features=row.features,
            feature_version=self._feature_version,
            rules=case.eligibility.rules,
            fallback=serving.fallback,
            out_of_distribution=case.out_of_distribution,
            attributes=self._loggable(request.attributes) if request.attributes else {},
            audit=is_audited(drawn.decision_id, self._audit_share),
        )

    def _loggable(self, attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
        logged = self._logged_attributes
        return {name: value for name, value in attributes.items() if name in logged}

    def response(
        self, event: DecisionMade, row: Row, drawn: Drawn, reasons: list[str]
    ) -> RouteResponse:
        """What the caller is told."""
        eligibility = row.case.eligibility
        outlooks = map(
            ArmOutlook,
            self._names,
            self._routes,
            row.probabilities,
            eligibility.mask,
            row.by_arm,
            row.utilities,
            eligibility.why_not,
        )
        return RouteResponse(
            decision_id=drawn.decision_id,
            route=self._routes[drawn.arm],
            arm=event.arm,
            propensity=event.propensity,
            explored=drawn.explored,
            policy=PolicyReference(event.policy, event.policy_version),
            arms=list(outlooks),
            reasons=reasons,
            fallback=event.fallback,
            audit=True if event.audit else UNSET,
        )
