"""Chunks add up to the completion that the server would have sent at once."""

from router.models.completion import CompletionBuilder, as_chunk


def chunk(delta: dict[str, object], index: int = 0, finish: str | None = None) -> dict[str, object]:
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
    }


def built(*chunks: dict[str, object]) -> CompletionBuilder:
    builder = CompletionBuilder()
    for item in chunks:
        builder.add(item)
    return builder


def test_text_is_put_together() -> None:
    builder = built(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, finish="stop"),
        {"id": "c", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    )
    assert builder.text == "Hello"
    assert builder.finish_reason == "stop"
    assert builder.completion() == {
        "id": "c",
        "model": "m",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }


def test_tool_calls_are_put_together_by_their_index() -> None:
    def call(index: int, arguments: str, **rest: object) -> dict[str, object]:
        return {"index": index, "function": {"arguments": arguments, **rest}}

    first = {**call(0, "", name="look_up"), "id": "call-1", "type": "function"}
    second = {**call(1, "{}", name="stop"), "id": "call-2", "type": "function"}
    builder = built(
        chunk({"role": "assistant", "content": None, "tool_calls": [first]}),
        chunk({"tool_calls": [call(0, '{"q":')]}),
        chunk({"tool_calls": [second]}),
        chunk({"tool_calls": [call(0, " 1}")]}, finish="tool_calls"),
    )
    assert builder.has_tool_calls
    [choice] = builder.completion()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {
            "id": "call-1",
            "type": "function",
            "function": {"name": "look_up", "arguments": '{"q": 1}'},
        },
        {"id": "call-2", "type": "function", "function": {"name": "stop", "arguments": "{}"}},
    ]
    assert first["index"] == 0  # what came in isn't changed


def test_two_readers_of_the_same_chunks_get_the_same() -> None:
    delta = {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{"}}]}
    rest = {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}
    chunks = [chunk(delta), chunk(rest)]
    for item in chunks:
        item["choices"][0]["logprobs"] = {"content": [{"token": "a"}]}  # type: ignore[index]
    first, second = built(*chunks), built(*chunks)
    assert first.completion() == second.completion()
    [choice] = built(*chunks).completion()["choices"]
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert len(choice["logprobs"]["content"]) == 2


def test_only_an_answers_own_texts_grow() -> None:
    one, two = chunk({"content": "a"}), chunk({"content": "b", "tool_calls": None})
    for item in (one, two):
        item["choices"][0]["content_filter_results"] = {"hate": {"severity": "safe"}}  # type: ignore[index]
    builder = built(one, two)
    [choice] = builder.completion()["choices"]
    assert choice["content_filter_results"] == {"hate": {"severity": "safe"}}
    assert not builder.has_tool_calls


def test_several_choices_and_fields_of_tomorrow_survive() -> None:
    one = chunk({"content": "a", "reasoning": "b"})
    one["choices"][0]["logprobs"] = {"content": [{"token": "a"}]}  # type: ignore[index]
    two = chunk({"content": "c", "reasoning": "d"})
    two["choices"][0]["logprobs"] = {"content": [{"token": "c"}]}  # type: ignore[index]
    builder = built(one, chunk({"content": "x"}, index=1), two, chunk({}, finish="stop"))
    first, second = builder.completion()["choices"]
    assert first["message"]["content"] == "ac"
    assert first["message"]["reasoning"] == "bd"
    assert first["logprobs"] == {"content": [{"token": "a"}, {"token": "c"}]}
    assert second["message"]["content"] == "x"


def test_a_completion_becomes_a_chunk_and_a_completion_again() -> None:
    completion = {
        "id": "c",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hi",
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}],
                },
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
    assert built(as_chunk(completion)).completion() == completion
