"""Events: what is written is read, now and by later releases."""

import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import EventError
from policies.events import (
    AnswerFinished,
    DecisionMade,
    Event,
    FeedbackGiven,
    decode_event,
    encode_event,
    event_key,
)

text = st.text(max_size=20)
numbers = st.floats(allow_nan=False)
decisions = st.builds(
    DecisionMade,
    decision_id=text,
    at=numbers,
    arms=st.lists(text),
    eligible=st.lists(text),
    probabilities=st.lists(numbers),
    arm=text,
    propensity=numbers,
    policy=text,
    policy_version=text,
    objective=text,
    weights=st.dictionaries(text, numbers),
    expected=st.dictionaries(text, st.lists(numbers)),
    query=st.none() | text,
    features=st.binary(max_size=40),
)
answers = st.builds(AnswerFinished, decision_id=text, at=numbers, executed_arm=text)
feedback = st.builds(
    FeedbackGiven,
    feedback_id=text,
    decision_id=text,
    metric=text,
    value=numbers,
    at=numbers,
    comment=st.none() | text,
)


@given(decisions | answers | feedback)
def test_every_event_survives_the_round_trip(event: Event) -> None:
    assert decode_event(encode_event(event)) == event


def test_a_tag_of_a_later_release_is_skipped() -> None:
    assert decode_event(msgspec.msgpack.encode({"type": "PolicyDreamt", "at": 1.0})) is None


def test_a_field_of_a_later_release_is_ignored_and_a_missing_new_one_has_its_default() -> None:
    later = {
        "type": "AnswerFinished",
        "decision_id": "d",
        "at": 1.0,
        "executed_arm": "a",
        "mood": "good",
    }
    event = decode_event(msgspec.msgpack.encode(later))
    assert event == AnswerFinished(decision_id="d", at=1.0, executed_arm="a")


@pytest.mark.parametrize(
    "damaged", [b"", b"\x00", b"\xff\xff", msgspec.msgpack.encode({"type": "FeedbackGiven"})]
)
def test_damaged_bytes_are_an_error_not_a_skip(damaged: bytes) -> None:
    with pytest.raises(EventError):
        decode_event(damaged)


def test_feedback_is_unique_by_its_id_and_a_decision_by_its_own() -> None:
    given_ = FeedbackGiven(feedback_id="f", decision_id="d", metric="quality", value=1.0, at=0.0)
    assert event_key(given_) == ("d", "feedback:f")
    answer = AnswerFinished(decision_id="d", at=0.0, executed_arm="a")
    assert event_key(answer) == ("d", "answer")


def test_importing_events_loads_no_heavy_library() -> None:
    code = (
        "import sys, policies.events; "
        "print([m for m in ('numpy', 'torch', 'sentence_transformers') if m in sys.modules])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "[]"
