"""What a conversation is routed on, and how prompts are put into it."""

from policies.query import MAX_QUERY_CHARS
from router.deciding.conversation import (
    last_user_text,
    routed_query,
    text_of,
    with_persona,
    with_question,
)


def user(text: object) -> dict[str, object]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, object]:
    return {"role": "assistant", "content": text}


LONG = "Which of the two gateways should I use when the proxy in front of them ends TLS?"


def test_a_long_last_turn_is_routed_by_itself() -> None:
    assert routed_query([user("Who are you?"), assistant("A bot."), user(LONG)]) == LONG


def test_yes_is_routed_with_the_question_it_answers_and_the_turn_before() -> None:
    messages = [
        user("My gateway drops connections."),
        assistant("Often it is the keep-alive. Shall I look up the latest release notes?"),
        user("yes"),
    ]
    assert routed_query(messages) == (
        "My gateway drops connections.\nShall I look up the latest release notes?\nyes"
    )


def test_an_assistants_statement_is_left_out() -> None:
    messages = [user("Who wrote Emma?"), assistant("Jane Austen wrote it."), user("And Ulysses?")]
    assert routed_query(messages) == "Who wrote Emma?\nAnd Ulysses?"


def test_it_goes_no_further_back_than_it_must() -> None:
    messages = [user("Something else entirely."), assistant("Yes."), user(LONG), user("Why?")]
    assert routed_query(messages) == f"{LONG}\nWhy?"


def test_a_tools_result_doesnt_hide_the_users_turn() -> None:
    messages = [user(LONG), {"role": "tool", "content": "42", "tool_call_id": "1"}]
    assert routed_query(messages) == last_user_text(messages) == LONG


def test_there_is_no_query_without_a_users_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    assert routed_query([]) == routed_query([assistant("Hello?")]) == ""
    assert routed_query([user([image])]) == routed_query([user("  ")]) == ""


def test_context_never_makes_a_query_too_long() -> None:
    messages = [user("x" * MAX_QUERY_CHARS), user("Why?")]
    assert routed_query(messages) == "Why?"


def test_text_is_taken_from_all_text_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    assert text_of(user(parts)) == "a\nb"
    assert text_of({"role": "assistant", "content": None}) == ""


def test_the_prompt_replaces_the_text_and_keeps_images_and_other_turns() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    messages = [user("before"), user([{"type": "text", "text": "old"}, image]), assistant("later")]
    changed = with_question(messages, "new")
    assert changed[0] == messages[0]
    assert changed[1]["content"] == [{"type": "text", "text": "new"}, image]
    assert changed[2] == messages[2]
    assert messages[1]["content"][0]["text"] == "old"  # type: ignore[index]


def test_the_persona_comes_first_and_the_callers_instructions_stay() -> None:
    own = {"role": "developer", "content": "Answer in French."}
    assert with_persona([user("q")], None) == [user("q")]
    assert with_persona([user("q")], "You are Ada.")[0] == {
        "role": "system",
        "content": "You are Ada.",
    }
    [first, _] = with_persona([own, user("q")], "You are Ada.")
    assert first == {"role": "developer", "content": "You are Ada.\n\nAnswer in French."}
