"""What the endpoints take and give. Requests refuse unknown fields."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta

from policies.rollout import EndedRollout, Stage, WatchedMetric, WatchVerdict
from policies.settings import AttributeValue
from router.retrieval.retriever import Passage

MAX_BATCH = 256


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of a conversation."""

    role: str
    content: str


class RouteRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query to decide on.

    `messages` is the conversation so far; `query`, where it is given, is its newest user turn. A
    short last turn is routed together with those it refers to.
    """

    query: str = ""
    messages: list[Message] = []
    attributes: dict[str, AttributeValue] = {}
    tenant: Annotated[str, Meta(max_length=128)] = ""
    objective: str | dict[str, float] | None = None
    arms: list[str] | None = None
    explore: bool = True

    @property
    def conversation(self) -> list[dict[str, Any]]:
        """All turns, `query` last."""
        turns = [{"role": turn.role, "content": turn.content} for turn in self.messages]
        newest = {"role": "user", "content": self.query}
        return turns if not self.query or turns[-1:] == [newest] else [*turns, newest]


class AnswerRequest(RouteRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query to answer: as for a decision, plus generation options, passed on to the model."""

    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2.0, le=2.0)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2.0, le=2.0)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The generation options that were given."""
        options = ((name, getattr(self, name)) for name in _GENERATION_OPTIONS)
        return {name: value for name, value in options if value is not None}


_GENERATION_OPTIONS = tuple(
    name for name in AnswerRequest.__struct_fields__ if name not in RouteRequest.__struct_fields__
)


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
    """One decision; `audit` is there, and true, where its outcome is asked for whatever it is."""

    decision_id: str
    route: str
    arm: str
    propensity: float
    explored: bool
    policy: PolicyReference
    arms: list[ArmOutlook]
    reasons: list[str]
    fallback: str | None
    audit: bool | msgspec.UnsetType = msgspec.UNSET


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that the answer was given; `[number]` in the text refers to it.

    `score` is the retriever's, comparable within one retriever and strategy. `updated_at` is UTC.
    """

    number: int
    id: str
    title: str
    uri: str
    score: float
    updated_at: datetime | None
    passage: str
    cited: bool

    @classmethod
    def of(cls, number: int, passage: Passage, *, cited: bool) -> Self:
        """A passage as a source."""
        return cls(
            number=number,
            id=passage.id,
            title=passage.title,
            uri=passage.uri,
            score=passage.score,
            updated_at=passage.updated_at,
            passage=passage.text,
            cited=cited,
        )


class Citations(msgspec.Struct, frozen=True):
    """Passages given, passages cited, and citations of others, which were dropped from the text."""

    given: int
    cited: int
    dropped: int


class Usage(msgspec.Struct, frozen=True):
    """Tokens over all calls that the answer took, search steps and failed arms included."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, prompt: int, completion: int) -> Self:
        """The two counts and their sum."""
        return cls(prompt, completion, prompt + completion)


class AnswerResponse(RouteResponse, frozen=True, kw_only=True):
    """A decision carried out.

    `arm` and `route` are those that answered. Where that isn't the drawn arm, `degraded_from` is
    the drawn one, to which `propensity` and `explored` belong.
    """

    answer: str
    finish_reason: str | None
    sources: list[Source]
    citations: Citations
    usage: Usage
    metrics: dict[str, float]
    degraded_from: str | None


class AnswerNotes(msgspec.Struct, frozen=True, kw_only=True):
    """What a chat completion says of its answer beyond OpenAI's fields, in `router`."""

    decision_id: str
    arm: str
    degraded_from: str | None
    citations: Citations
    metrics: dict[str, float]
    notes: list[str]


class ChatRouting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a chat request may say to the router, in `router`; it isn't passed on."""

    attributes: dict[str, AttributeValue] = {}
    tenant: Annotated[str, Meta(max_length=128)] = ""
    objective: str | dict[str, float] | None = None
    arms: list[str] | None = None
    explore: bool = True


class StreamOptions(msgspec.Struct, frozen=True):
    """OpenAI's, as far as the router looks at them."""

    include_usage: bool = False


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a chat request that the router looks at; all others go to the model."""

    model: str
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    router: ChatRouting = ChatRouting()


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A name that a chat request's `model` may have."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "adaptive-rag-router"


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    data: list[Model]
    object: Literal["list"] = "list"


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
    """What one replica serves, the candidate beside it, and why it refused either if it did."""

    replica: str
    version: str
    refused: str | None
    candidate: str = ""
    candidate_refused: str | None = None


class CanaryRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many of the draws the candidate gets: a share between 0 and 1."""

    share: float


class RolloutSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate in shadow or canary, and what the watch has found of it so far.

    `began` is when the stage was entered, `at` when the share was set, in seconds since the epoch.
    `verdict` is `watching`, `worse` or `ready` (for full); None before the watch's first look.
    """

    version: str
    stage: Stage
    share: float
    began: float
    at: float
    incumbent: str
    by: str
    note: str
    verdict: WatchVerdict | None = None
    metrics: list[WatchedMetric] = []


class PolicyList(msgspec.Struct, frozen=True, kw_only=True):
    """What serves here, what is active, and what else there is."""

    serving: PolicyReference
    active: str | None
    fallback: str | None
    policies: list[PolicySummary]
    replicas: list[ReplicaSummary]
    rollout: RolloutSummary | None = None
    past_rollouts: list[EndedRollout] = []


class Activated(msgspec.Struct, frozen=True):
    """The version that serves after an activation or a rollback, and the rollout that ended."""

    serving: PolicyReference
    previous: PolicyReference
    ended: EndedRollout | None = None


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether the service can decide; a store that is away makes it degraded, not unready."""

    status: str
    policy: str = ""
    store: str = ""
    fallback: str | None = None
    refused: str | None = None
    backends: dict[str, str] = {}
    drift: dict[str, str] = {}
