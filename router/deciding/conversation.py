"""Conversations: what to route on, and how context and persona are put into them.

Messages are OpenAI's, as decoded JSON, because all of their fields go to the model.
"""

from collections.abc import Sequence
from typing import Any

from policies.query import MAX_QUERY_CHARS

ChatMessage = dict[str, Any]

# A turn of fewer words ("yes", "and the second one?") isn't routed by itself.
_ENOUGH_WORDS = 12
_MOST_TURNS = 6
_INSTRUCTIONS = frozenset({"system", "developer"})


def text_of(message: ChatMessage) -> str:
    """A message's text; that of all text parts where it has several parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(part["text"] for part in parts if _is_text(part))


def last_user_text(messages: Sequence[ChatMessage]) -> str:
    """The last user turn; empty where there is none."""
    position = _last_user(messages)
    return "" if position is None else text_of(messages[position])


def routed_query(messages: Sequence[ChatMessage]) -> str:
    """The query that a conversation amounts to: its last user turn, and what a short one refers to.

    Goes back from the last user turn until there are a dozen words: earlier user turns whole, of
    the assistant's only what it asked. Empty where no user turn has text; of one that is too long,
    as much as may be routed.
    """
    position = _last_user(messages)
    if position is None:
        return ""
    parts = [text_of(messages[position])[:MAX_QUERY_CHARS]]
    room = MAX_QUERY_CHARS - len(parts[0])
    for message in reversed(messages[max(0, position - _MOST_TURNS) : position]):
        if sum(len(part.split()) for part in parts) >= _ENOUGH_WORDS:
            break
        said = _what_counts(message)
        if said and len(said) < room:
            parts.append(said)
            room -= len(said) + 1
    return "\n".join(reversed(parts))


def with_question(messages: Sequence[ChatMessage], text: str) -> list[ChatMessage]:
    """The conversation with the last user turn's text replaced; its other parts (images) stay."""
    position = _last_user(messages)
    if position is None:
        return [*messages, {"role": "user", "content": text}]
    message = messages[position]
    content: Any = text
    if isinstance(message.get("content"), list):
        others = [part for part in message["content"] if not _is_text(part)]
        content = [{"type": "text", "text": text}, *others] if others else text
    changed = {**message, "content": content}
    return [*messages[:position], changed, *messages[position + 1 :]]


def with_persona(messages: Sequence[ChatMessage], persona: str | None) -> list[ChatMessage]:
    """The conversation under a model's own system prompt, the caller's instructions behind it."""
    if not persona:
        return list(messages)
    if messages and messages[0].get("role") in _INSTRUCTIONS:
        first = messages[0]
        together = {**first, "content": f"{persona}\n\n{text_of(first)}"}
        return [together, *messages[1:]]
    return [{"role": "system", "content": persona}, *messages]


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def _last_user(messages: Sequence[ChatMessage]) -> int | None:
    """Where the last user turn stands that has text; one that is an image alone can't be routed."""
    backwards = range(len(messages) - 1, -1, -1)
    users = (i for i in backwards if messages[i].get("role") == "user")
    return next((i for i in users if text_of(messages[i]).strip()), None)


def _what_counts(message: ChatMessage) -> str:
    text = text_of(message).strip()
    if message.get("role") == "user":
        return text
    if message.get("role") != "assistant" or not text.endswith("?"):
        return ""
    # Its last sentence: the rest of a long answer would drown what is asked now.
    start = max(text.rfind(mark, 0, -1) for mark in (". ", "! ", "? ", "\n"))
    return text[start + 1 :].strip()
