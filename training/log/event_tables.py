"""Events as Arrow tables: one row per event, flat explicit columns."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import pyarrow as pa

from policies.events import AnswerFinished, DecisionMade, FeedbackGiven

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


def decisions_table(events: Sequence[DecisionMade]) -> pa.Table:
    """The events as rows of DECISIONS."""
    return _table(events, DECISIONS)


def answers_table(events: Sequence[AnswerFinished]) -> pa.Table:
    """The events as rows of ANSWERS."""
    return _table(events, ANSWERS)


def feedback_table(events: Sequence[FeedbackGiven]) -> pa.Table:
    """The events as rows of FEEDBACK."""
    return _table(events, FEEDBACK)


def _table(events: Sequence[msgspec.Struct], schema: pa.Schema) -> pa.Table:
    columns = {}
    for field in schema:
        values: list[Any] = [getattr(event, field.name) for event in events]
        if pa.types.is_map(field.type):
            values = [list(value.items()) for value in values]
        elif field.name in ("evidence", "retrieval"):
            values = [msgspec.to_builtins(value) for value in values]
        elif field.name == "attributes":
            values = [msgspec.json.encode(value).decode() if value else None for value in values]
        columns[field.name] = pa.array(values, type=field.type)
    return pa.table(columns, schema=schema)
