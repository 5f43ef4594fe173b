"""Text made fit for a tokenizer."""

from hypothesis import given
from hypothesis import strategies as st

from policies.encoders.text import well_formed


@given(st.text())
def test_well_formed_text_is_left_alone(text: str) -> None:
    assert well_formed(text) == text


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_any_text_becomes_encodable(text: str) -> None:
    well_formed(text).encode("utf-8")


def test_a_pair_is_joined_and_a_lone_surrogate_replaced() -> None:
    assert well_formed("\ud83d\ude00 \ud83d \ude00") == "😀 \ufffd \ufffd"
