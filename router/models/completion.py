"""From a stream's chunks to one completion, and back."""

from copy import deepcopy
from typing import Any

from router.models.model_server import Chunk

# Fields that say the same in every chunk; all other text is a piece of a longer one.
_CONSTANT = frozenset({"index", "id", "type", "role", "object", "model"})


class CompletionBuilder:
    """Adds chunks up to the `chat.completion` that the server would have sent at once."""

    def __init__(self) -> None:
        self._envelope: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self.usage: dict[str, Any] | None = None

    def add(self, chunk: Chunk) -> None:
        """Take one more chunk in."""
        for key, value in chunk.items():
            if key not in ("choices", "usage", "object") and value is not None:
                self._envelope[key] = value
        if isinstance(chunk.get("usage"), dict):
            self.usage = chunk["usage"]
        for choice in chunk.get("choices") or ():
            held = self._choices.setdefault(
                choice.get("index", 0), {"message": {"role": "assistant", "content": None}}
            )
            _merge(held["message"], choice.get("delta") or {}, grow=True)
            rest = {k: v for k, v in choice.items() if k not in ("delta", "index")}
            _merge(held, rest, grow=False)

    @property
    def text(self) -> str:
        """The first choice's text so far."""
        first = self._choices.get(0)
        return (first["message"].get("content") or "") if first else ""

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended."""
        return self._choices.get(0, {}).get("finish_reason")

    @property
    def has_tool_calls(self) -> bool:
        """Whether a tool is being called."""
        return any(choice["message"].get("tool_calls") for choice in self._choices.values())

    def completion(self) -> dict[str, Any]:
        """The whole `chat.completion`."""
        choices = []
        for index, choice in sorted(self._choices.items()):
            message = choice["message"]
            for call in message.get("tool_calls") or ():
                call.pop("index", None)
            choices.append({"finish_reason": None, "logprobs": None, **choice, "index": index})
        body = {**self._envelope, "object": "chat.completion", "choices": choices}
        if self.usage is not None:
            body["usage"] = self.usage
        return body


def _merge(held: dict[str, Any], delta: dict[str, Any], *, grow: bool) -> None:
    """Add a delta to what is held: lists grow, lists of indexed items by item, texts where `grow`.

    What is held is always a copy: several readers may be given the same chunk.
    """
    for key, value in delta.items():
        known = held.get(key)
        if value is None:
            held.setdefault(key, None)
        elif isinstance(value, list):
            held[key] = _extended(known if isinstance(known, list) else [], value, grow=grow)
        elif isinstance(value, dict) and isinstance(known, dict):
            _merge(known, value, grow=grow)
        elif grow and isinstance(value, str) and isinstance(known, str) and key not in _CONSTANT:
            held[key] = known + value
        else:
            held[key] = deepcopy(value)


def _extended(known: list[Any], items: list[Any], *, grow: bool) -> list[Any]:
    if not any(isinstance(item, dict) and "index" in item for item in items):
        known.extend(deepcopy(items))  # token by token: looking through all would be quadratic
        return known
    by_index = {item["index"]: item for item in known if isinstance(item, dict) and "index" in item}
    for item in items:
        if isinstance(item, dict) and item.get("index") in by_index:
            _merge(by_index[item["index"]], item, grow=grow)
            continue
        copy = deepcopy(item)
        known.append(copy)
        if isinstance(copy, dict) and "index" in copy:
            by_index[copy["index"]] = copy
    return known


def as_chunk(completion: dict[str, Any]) -> Chunk:
    """A whole completion as the one chunk of a stream, for servers that don't stream.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it isn't one.
    """
    choices = []
    for choice in completion["choices"]:
        delta = dict(choice["message"])
        if delta.get("tool_calls"):
            delta["tool_calls"] = [
                {"index": position, **call} for position, call in enumerate(delta["tool_calls"])
            ]
        rest = {key: value for key, value in choice.items() if key != "message"}
        choices.append({**rest, "delta": delta})
    return {**completion, "object": "chat.completion.chunk", "choices": choices}
