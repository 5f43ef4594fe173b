"""Encoded events as columns: equal to the events, whatever is in them."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.events import (
    AnswerFinished,
    DecisionMade,
    Evidence,
    FeedbackGiven,
    RetrievalEvidence,
    encode_event,
)
from tests.event_factory import answer, decision, feedback
from training.log.event_tables import SCHEMAS, Kind, encoded_tables

texts = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.floats(allow_nan=False)
by_name = st.dictionaries(texts, numbers, max_size=3)
decisions = st.builds(
    DecisionMade,
    arms=st.lists(texts, max_size=3),
    eligible=st.lists(texts, max_size=3),
    probabilities=st.lists(numbers, max_size=3),
    weights=by_name,
    expected=st.dictionaries(texts, st.lists(numbers, max_size=3), max_size=3),
    features=st.binary(max_size=8),
    rules=st.lists(texts, max_size=2),
    attributes=st.dictionaries(texts, texts | st.booleans() | numbers, max_size=3),
    candidate_probabilities=st.lists(numbers, max_size=3),
    fallback=st.none() | texts,
    at=numbers,
    propensity=numbers,
    query=st.none() | texts,
    schema=st.integers(1, 2),
)
answers = st.builds(
    AnswerFinished,
    at=numbers,
    metrics=by_name,
    input_tokens=st.integers(0, 2**40),
    output_tokens=st.integers(0, 2**40),
    evidence=st.lists(st.builds(Evidence, id=texts, score=numbers), max_size=3),
    retrieval=st.none()
    | st.builds(
        RetrievalEvidence,
        count=st.integers(0, 9),
        top_score=numbers,
        margin=st.none() | numbers,
        newest_age_s=st.none() | numbers,
        cited=st.integers(0, 9),
        dropped_citations=st.integers(0, 9),
    ),
    failures=st.lists(texts, max_size=2),
    schema=st.integers(1, 2),
)
feedbacks = st.builds(FeedbackGiven, at=numbers, value=numbers, schema=st.integers(1, 2))


def row_of(event: msgspec.Struct) -> dict[str, Any]:
    """The row that an event should be, as plain Python."""
    row: dict[str, Any] = {
        field: msgspec.to_builtins(getattr(event, field), builtin_types=(bytes,))
        for field in event.__struct_fields__
    }
    if "attributes" in row:
        given = row["attributes"]
        row["attributes"] = msgspec.json.encode(given).decode() if given else None
    return row


def rows(kind: Kind, events: list[Any]) -> list[dict[str, Any]]:
    table = encoded_tables([encode_event(event) for event in events])[kind]
    assert table.schema == SCHEMAS[kind]
    table.validate(full=True)
    found: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="strict")
    return found


@settings(deadline=None)
@given(st.lists(decisions, max_size=6))
def test_decisions_come_out_as_they_went_in(events: list[DecisionMade]) -> None:
    assert rows("decisions", events) == [row_of(event) for event in events]


@settings(deadline=None)
@given(st.lists(answers, max_size=6))
def test_answers_come_out_as_they_went_in(events: list[AnswerFinished]) -> None:
    assert rows("answers", events) == [row_of(event) for event in events]


@settings(deadline=None)
@given(st.lists(feedbacks, max_size=6))
def test_feedback_comes_out_as_it_went_in(events: list[FeedbackGiven]) -> None:
    assert rows("feedback", events) == [row_of(event) for event in events]


def test_events_are_told_apart_and_keep_their_order() -> None:
    events = [decision(2), feedback(1), answer(3), decision(1), answer(1)]
    tables = encoded_tables([encode_event(event) for event in events])
    found = {kind: table["decision_id"].to_pylist() for kind, table in tables.items()}
    assert found == {
        "decisions": ["decision-000002", "decision-000001"],
        "answers": ["decision-000003", "decision-000001"],
        "feedback": ["decision-000001"],
    }


def test_nothing_makes_empty_tables_of_the_same_columns() -> None:
    for kind, table in encoded_tables([]).items():
        assert table.num_rows == 0
        assert table.schema == SCHEMAS[kind]


def test_no_number_is_a_number_too() -> None:
    """A broken metric must not stop the log."""
    [row] = rows("answers", [msgspec.structs.replace(answer(1), metrics={"quality": math.nan})])
    assert math.isnan(row["metrics"]["quality"])


def test_an_event_of_an_earlier_release_has_the_defaults() -> None:
    """Fields that it lacks, nested ones among them."""
    fields = msgspec.msgpack.decode(encode_event(decision(1)))
    for later in ("attributes", "rules", "expected", "candidate_probabilities", "audit", "schema"):
        del fields[later]
    [row] = encoded_tables([msgspec.msgpack.encode(fields)])["decisions"].to_pylist()
    assert (row["attributes"], row["rules"], row["expected"]) == (None, [], [])
    assert (row["candidate_probabilities"], row["audit"], row["schema"]) == ([], False, 1)


def test_a_field_of_a_later_release_is_left_out() -> None:
    fields = msgspec.msgpack.decode(encode_event(decision(1)))
    later = msgspec.msgpack.encode({**fields, "of_the_future": [1]})
    assert encoded_tables([later])["decisions"].equals(
        encoded_tables([encode_event(decision(1))])["decisions"]
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weights", ["quality"]),
        ("arms", [1]),
        ("probabilities", "0.5"),
        ("expected", {"quality": 0.5}),
        ("attributes", {"a": [1]}),
        ("at", "noon"),
    ],
)
def test_a_field_of_another_type_is_an_error(field: str, value: object) -> None:
    """As it is where the event is decoded whole."""
    fields = msgspec.msgpack.decode(encode_event(decision(1)))
    with pytest.raises(msgspec.DecodeError):
        encoded_tables([msgspec.msgpack.encode({**fields, field: value})])
