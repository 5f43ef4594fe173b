"""What the endpoints take and give. Requests refuse unknown fields."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from policies.settings import AttributeValue

MAX_BATCH = 256


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of a conversation."""

    role: str
    content: str


class RouteRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query to decide on; without `query`, the last user turn of `messages` is taken."""

    query: str = ""
    messages: list[Message] = []
    attributes: dict[str, AttributeValue] = {}
    tenant: Annotated[str, Meta(max_length=128)] = ""
    objective: str | dict[str, float] | None = None
    arms: list[str] | None = None
    explore: bool = True


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 256 queries, decided together."""

    requests: Annotated[list[RouteRequest], Meta(min_length=1, max_length=MAX_BATCH)]


class PolicyReference(msgspec.Struct, frozen=True):
    """The policy that decided."""

    name: str
    version: str


class ArmOutlook(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the policy expected of one arm, and how likely it was to be drawn."""

    arm: str
    route: str
    probability: float
    eligible: bool
    expected: dict[str, float]
    utility: float
    why_not: str | None = None


class RouteResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One decision."""

    decision_id: str
    route: str
    arm: str
    propensity: float
    explored: bool
    policy: PolicyReference
    arms: list[ArmOutlook]
    reasons: list[str]
    fallback: str | None


class BatchResponse(msgspec.Struct, frozen=True):
    """The decisions, in the requests' order."""

    decisions: list[RouteResponse]


class Feedback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One metric's value for one decision; `quality` lies in 0..1."""

    decision_id: str
    metric: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
    value: float
    source: Annotated[str, Meta(max_length=128)] = ""
    comment: Annotated[str, Meta(max_length=8192)] | None = None
    demonstration: Annotated[str, Meta(max_length=32_768)] | None = None


class FeedbackReceipt(msgspec.Struct, frozen=True):
    """What became of the feedback: it is durable when this is sent.

    `durable_in` is "stored", or "spooled" on disk while the store is away (it is replayed from
    there, and `duplicates` isn't known yet).
    """

    accepted: int
    duplicates: int | None
    feedback_ids: list[str]
    durable_in: Literal["stored", "spooled"]


class PolicySummary(msgspec.Struct, frozen=True, kw_only=True):
    """One stored policy."""

    version: str
    name: str
    kind: str
    created_at: str
    arms: list[str]
    metrics: list[str]
    active: bool


class ReplicaSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica serves, and why it refused to serve the active policy if it did."""

    replica: str
    version: str
    refused: str | None


class PolicyList(msgspec.Struct, frozen=True, kw_only=True):
    """What serves here, what is active, and what else there is."""

    serving: PolicyReference
    active: str | None
    fallback: str | None
    policies: list[PolicySummary]
    replicas: list[ReplicaSummary]


class Activated(msgspec.Struct, frozen=True):
    """The version that serves after an activation or a rollback."""

    serving: PolicyReference
    previous: PolicyReference


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether the service can decide; a store that is away makes it degraded, not unready."""

    status: str
    policy: str = ""
    store: str = ""
    fallback: str | None = None
    refused: str | None = None
