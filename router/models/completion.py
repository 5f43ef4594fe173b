"""From a stream's chunks to one completion, and back."""

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
            _merge(held["message"], choice.get("delta") or {})
            rest = {k: v for k, v in choice.items() if k not in ("delta", "index")}
            _merge(held, rest)

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
        return any("tool_calls" in choice["message"] for choice in self._choices.values())

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


def _merge(held: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a delta to what is held: texts and lists grow, lists of indexed items grow by item."""
    for key, value in delta.items():
        known = held.get(key)
        if known is None or key in _CONSTANT:
            if value is not None or key not in held:
                held[key] = value if not isinstance(value, list) else _extended([], value)
        elif isinstance(value, str) and isinstance(known, str):
            # A reason to finish is said once, not in pieces.
            held[key] = value if key == "finish_reason" else known + value
        elif isinstance(value, dict) and isinstance(known, dict):
            _merge(known, value)
        elif isinstance(value, list) and isinstance(known, list):
            _extended(known, value)
        elif value is not None:
            held[key] = value


def _extended(known: list[Any], items: list[Any]) -> list[Any]:
    by_index = {item["index"]: item for item in known if isinstance(item, dict) and "index" in item}
    for item in items:
        if isinstance(item, dict) and item.get("index") in by_index:
            _merge(by_index[item["index"]], item)
            continue
        copy = dict(item) if isinstance(item, dict) else item
        known.append(copy)
        if isinstance(copy, dict) and "index" in copy:
            by_index[copy["index"]] = copy
    return known


def as_chunk(completion: dict[str, Any]) -> Chunk:
    """A whole completion as the one chunk of a stream, for servers that don't stream."""
    choices = []
    for choice in completion["choices"]:
        delta = dict(choice.get("message") or {})
        if delta.get("tool_calls"):
            delta["tool_calls"] = [
                {"index": position, **call} for position, call in enumerate(delta["tool_calls"])
            ]
        rest = {key: value for key, value in choice.items() if key != "message"}
        choices.append({**rest, "delta": delta})
    return {**completion, "object": "chat.completion.chunk", "choices": choices}
