"""Events as Arrow tables: one row per event, flat explicit columns."""

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Any, Literal

import msgspec
import pyarrow as pa

from policies.events import AnswerFinished, DecisionMade, FeedbackGiven, encode_event
from training.log.encoded_events import EventColumns

Kind = Literal["decisions", "answers", "feedback"]
KINDS: tuple[Kind, ...] = ("decisions", "answers", "feedback")


def _schema(*fields: Any) -> pa.Schema:
    return pa.schema(fields)


DECISIONS = _schema(
    pa.field("decision_id", pa.string(), nullable=False),
    pa.field("at", pa.float64(), nullable=False),
    pa.field("arms", pa.list_(pa.string())),
    pa.field("eligible", pa.list_(pa.string())),
    pa.field("probabilities", pa.list_(pa.float64())),
    pa.field("arm", pa.string()),
    pa.field("propensity", pa.float64()),
    pa.field("policy", pa.string()),
    pa.field("policy_version", pa.string()),
    pa.field("objective", pa.string()),
    pa.field("weights", pa.map_(pa.string(), pa.float64())),
    pa.field("expected", pa.map_(pa.string(), pa.list_(pa.float64()))),
    pa.field("explored", pa.bool_()),
    pa.field("explore", pa.bool_()),
    pa.field("tenant", pa.string()),
    pa.field("query", pa.string()),
    pa.field("query_hash", pa.string()),
    pa.field("features", pa.binary()),
    pa.field("feature_version", pa.string()),
    pa.field("rules", pa.list_(pa.string())),
    pa.field("fallback", pa.string()),
    # A request's attributes are texts, numbers and flags: JSON keeps apart what a map would not.
    pa.field("attributes", pa.string()),
    pa.field("audit", pa.bool_()),
    pa.field("out_of_distribution", pa.bool_()),
    pa.field("candidate", pa.string()),
    pa.field("candidate_probabilities", pa.list_(pa.float64())),
    pa.field("candidate_share", pa.float64()),
    pa.field("schema", pa.int32()),
)
ANSWERS = _schema(
    pa.field("decision_id", pa.string(), nullable=False),
    pa.field("at", pa.float64(), nullable=False),
    pa.field("executed_arm", pa.string()),
    pa.field("metrics", pa.map_(pa.string(), pa.float64())),
    pa.field("input_tokens", pa.int64()),
    pa.field("output_tokens", pa.int64()),
    pa.field(
        "evidence",
        pa.list_(pa.struct([pa.field("id", pa.string()), pa.field("score", pa.float64())])),
    ),
    pa.field("error", pa.string()),
    pa.field(
        "retrieval",
        pa.struct(
            [
                pa.field("count", pa.int64()),
                pa.field("top_score", pa.float64()),
                pa.field("margin", pa.float64()),
                pa.field("newest_age_s", pa.float64()),
                pa.field("cited", pa.int64()),
                pa.field("dropped_citations", pa.int64()),
            ]
        ),
    ),
    pa.field("failures", pa.list_(pa.string())),
    pa.field("schema", pa.int32()),
)
FEEDBACK = _schema(
    pa.field("feedback_id", pa.string(), nullable=False),
    pa.field("decision_id", pa.string(), nullable=False),
    pa.field("at", pa.float64(), nullable=False),
    pa.field("metric", pa.string()),
    pa.field("value", pa.float64()),
    pa.field("source", pa.string()),
    pa.field("comment", pa.string()),
    pa.field("demonstration", pa.string()),
    pa.field("schema", pa.int32()),
)
SCHEMAS: dict[Kind, pa.Schema] = {
    "decisions": DECISIONS,
    "answers": ANSWERS,
    "feedback": FEEDBACK,
}


_COLUMNS: dict[Kind, EventColumns] = {
    "decisions": EventColumns(DecisionMade, DECISIONS),
    "answers": EventColumns(AnswerFinished, ANSWERS),
    "feedback": EventColumns(FeedbackGiven, FEEDBACK),
}
_KIND_OF: dict[type, Kind] = {columns.shell: kind for kind, columns in _COLUMNS.items()}
_decoder: Any = msgspec.msgpack.Decoder(reduce(or_, _KIND_OF))


def decisions_table(events: Sequence[DecisionMade]) -> pa.Table:
    """The events as rows of DECISIONS."""
    return encoded_tables([encode_event(event) for event in events])["decisions"]


def answers_table(events: Sequence[AnswerFinished]) -> pa.Table:
    """The events as rows of ANSWERS."""
    return encoded_tables([encode_event(event) for event in events])["answers"]


def feedback_table(events: Sequence[FeedbackGiven]) -> pa.Table:
    """The events as rows of FEEDBACK."""
    return encoded_tables([encode_event(event) for event in events])["feedback"]


def encoded_tables(events: Iterable[bytes]) -> dict[Kind, pa.Table]:
    """Events as `encode_event` encodes them, as rows of SCHEMAS by kind, in order.

    Raises:
        msgspec.DecodeError: one of them is no event that this release knows, or damaged.
    """
    shells: dict[Kind, list[Any]] = {kind: [] for kind in KINDS}
    for encoded in events:
        shell = _decoder.decode(encoded)
        shells[_KIND_OF[type(shell)]].append(shell)
    return {kind: _COLUMNS[kind].table(shells[kind]) for kind in KINDS}
