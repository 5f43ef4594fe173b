"""What is logged: one decision, its answer, the feedback on it.

Loads nothing but msgspec, so that any consumer of the log can read it. Structs are frozen, tagged
and versioned by default values: a new field gets a default, so old events still decode, and a
reader skips (and counts) a tag it doesn't know.
"""

from typing import Literal

import msgspec

from policies.errors import EventError

TextPolicy = Literal["full", "redacted", "none"]


class DecisionMade(msgspec.Struct, frozen=True, tag="DecisionMade", tag_field="type", kw_only=True):
    """One draw from a policy, with its propensity.

    `probabilities` and each list in `expected` are aligned with `arms`; an arm that was masked has
    probability 0 and is absent from `eligible`. `features` is the float16 little-endian vector that
    the policy saw, laid out as `feature_version` says. `at` is seconds since the epoch, UTC.

    `attributes` are those of the request's that configuration allows to be logged. `audit` marks a
    randomly chosen decision whose outcome is asked for. `out_of_distribution` says that the policy
    knows no query like this one. While a candidate is in shadow or canary, `candidate` is its
    version, `candidate_probabilities` what it would have drawn with, and `candidate_share` its part
    of the mixture: probabilities = (1 − share) · incumbent's + share · candidate's.
    """

    decision_id: str
    at: float
    arms: list[str]
    eligible: list[str]
    probabilities: list[float]
    arm: str
    propensity: float
    policy: str
    policy_version: str
    objective: str
    weights: dict[str, float]
    expected: dict[str, list[float]] = {}
    explored: bool = False
    explore: bool = True
    tenant: str = ""
    query: str | None = None
    query_hash: str = ""
    features: bytes = b""
    feature_version: str = ""
    rules: list[str] = []
    fallback: str | None = None
    attributes: dict[str, str | bool | float] = {}
    audit: bool = False
    out_of_distribution: bool = False
    candidate: str = ""
    candidate_probabilities: list[float] = []
    candidate_share: float = 0.0
    schema: int = 1


class Evidence(msgspec.Struct, frozen=True):
    """One passage that an answer was given: its id and retrieval score."""

    id: str
    score: float


class RetrievalEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a retrieval says of itself.

    `margin` is the best score less the second best, `newest_age_s` the age in seconds of the newest
    passage that has a date; None where there is none. `cited` counts the passages that the answer
    cites, `dropped_citations` citations of passages that it wasn't given.
    """

    count: int
    top_score: float
    margin: float | None = None
    newest_age_s: float | None = None
    cited: int = 0
    dropped_citations: int = 0


class AnswerFinished(
    msgspec.Struct, frozen=True, tag="AnswerFinished", tag_field="type", kw_only=True
):
    """What the router measured on an answer; on fallback `executed_arm` isn't the drawn one.

    `failures` says which arms failed on the way and why, `error` why there is no whole answer.
    """

    decision_id: str
    at: float
    executed_arm: str
    metrics: dict[str, float] = {}
    input_tokens: int = 0
    output_tokens: int = 0
    evidence: list[Evidence] = []
    error: str | None = None
    retrieval: RetrievalEvidence | None = None
    failures: list[str] = []
    schema: int = 1


class FeedbackGiven(
    msgspec.Struct, frozen=True, tag="FeedbackGiven", tag_field="type", kw_only=True
):
    """One metric's value for one decision, however late; `feedback_id` makes retries safe."""

    feedback_id: str
    decision_id: str
    metric: str
    value: float
    at: float
    source: str = ""
    comment: str | None = None
    demonstration: str | None = None
    schema: int = 1


Event = DecisionMade | AnswerFinished | FeedbackGiven

_KNOWN_TAGS = frozenset({"DecisionMade", "AnswerFinished", "FeedbackGiven"})
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)


class _Tag(msgspec.Struct):
    type: str


_tag_decoder = msgspec.msgpack.Decoder(_Tag)


def encode_event(event: Event) -> bytes:
    """The event as MessagePack."""
    return _encoder.encode(event)


def decode_event(data: bytes) -> Event | None:
    """The event, or None for a tag that this version doesn't know (skip it, and count it).

    Raises EventError where the bytes are no event at all.
    """
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        try:
            tag = _tag_decoder.decode(data).type
        except msgspec.DecodeError:
            raise EventError(f"not an event: {error}") from error
        if tag not in _KNOWN_TAGS:
            return None
        raise EventError(f"a damaged {tag}: {error}") from error


def event_key(event: Event) -> tuple[str, str]:
    """(decision id, what makes the event unique within its decision), for exactly-once appends."""
    if isinstance(event, FeedbackGiven):
        return event.decision_id, f"feedback:{event.feedback_id}"
    return event.decision_id, "decision" if isinstance(event, DecisionMade) else "answer"
