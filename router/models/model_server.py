"""The port to a language model: OpenAI's chat protocol, always streamed."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple, Protocol

# A `chat.completion.chunk`, and the body of a request, as decoded JSON: what the protocol will have
# tomorrow passes through untouched.
Chunk = dict[str, Any]
ChatBody = Mapping[str, Any]

# No model reads or writes as many; what is counted and logged must hold sums of such numbers.
_MOST_TOKENS = 2**53


class Patience(NamedTuple):
    """Seconds from now that a caller gives: to the first token, and for the whole answer."""

    first_token_s: float
    total_s: float


class TokenUsage(NamedTuple):
    """Tokens that a server counted."""

    input_tokens: int
    output_tokens: int


class ModelServer(Protocol):
    """Generates. Safe to use from one event loop by many tasks at once."""

    def stream(self, body: ChatBody, patience: Patience) -> AsyncGenerator[Chunk, None]:
        """The answer's chunks as they come; nothing comes before the first token.

        `body` has `messages` and generation parameters; model and streaming are the adapter's. The
        generator must be closed (`contextlib.aclosing`), which also stops the generation.

        Raises:
            ModelError: see router.models.errors; after the first chunk, retrying isn't safe.
        """

    async def close(self) -> None:
        """Let go of connections."""


def has_token(chunk: Chunk) -> bool:
    """Whether a chunk carries anything of the answer: text, a tool call, a refusal, its end."""
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        if choice.get("finish_reason") or any(v for key, v in delta.items() if key != "role"):
            return True
    return False


def token_usage(chunk: Chunk) -> TokenUsage | None:
    """The usage that a chunk reports; None where its counts are no counts of tokens."""
    usage = chunk.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not all(isinstance(count, int) and 0 <= count <= _MOST_TOKENS for count in counts):
        return None
    return TokenUsage(*counts)  # type: ignore[arg-type]
