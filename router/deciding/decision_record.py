"""A decision as it is logged and as its caller is told."""

from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import NamedTuple

from msgspec import UNSET

from policies.arms import Arm
from policies.audit import is_audited
from policies.events import DecisionMade, TextPolicy
from policies.query import loggable_text, query_hash
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
        case = row.case
        return DecisionMade(
            decision_id=drawn.decision_id,
            at=self._clock(),
            arms=self._names,
            eligible=list(compress(self._names, case.eligibility.mask)),
            probabilities=row.probabilities,
            arm=self._names[drawn.arm],
            propensity=row.probabilities[drawn.arm],
            policy=serving.policy.name,
            policy_version=serving.policy.version,
            objective=case.objective.name,
            weights=case.objective.weights,
            expected=row.expected,
            explored=drawn.explored,
            explore=case.request.explore,
            tenant=case.request.tenant,
            query=loggable_text(case.query, self._text),
            query_hash=query_hash(case.query),
            features=row.features,
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

    def response(self, event: DecisionMade, row: Row, reasons: list[str]) -> RouteResponse:
        """What the caller is told."""
        eligibility = row.case.eligibility
        by_arm = zip(
            self._names,
            self._routes,
            row.probabilities,
            eligibility.mask,
            _by_arm(row.expected),
            row.utilities,
            eligibility.why_not,
            strict=True,
        )
        outlooks = [ArmOutlook(*arm) for arm in by_arm]
        return RouteResponse(
            decision_id=event.decision_id,
            route=self._routes[self._names.index(event.arm)],
            arm=event.arm,
            propensity=event.propensity,
            explored=event.explored,
            policy=PolicyReference(event.policy, event.policy_version),
            arms=outlooks,
            reasons=reasons,
            fallback=event.fallback,
            audit=True if event.audit else UNSET,
        )


def _by_arm(expected: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """For each arm its expected metrics, from for each metric its arms'."""
    of_arms = zip(*expected.values(), strict=True)
    return [dict(zip(expected, values, strict=True)) for values in of_arms]
