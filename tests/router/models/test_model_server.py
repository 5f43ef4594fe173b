"""What a server says of its tokens."""

import pytest

from router.models.model_server import TokenUsage, token_usage


def test_counts_of_tokens_are_usage() -> None:
    chunk = {"usage": {"prompt_tokens": 3, "completion_tokens": 0}}
    assert token_usage(chunk) == TokenUsage(3, 0)


@pytest.mark.parametrize("count", [-1, 2.5, None, "3", 2**63, 10**30])
def test_what_is_no_count_of_tokens_is_no_usage(count: object) -> None:
    """A number beyond what the log can hold is none either."""
    for name in ("prompt_tokens", "completion_tokens"):
        counts = {"prompt_tokens": 3, "completion_tokens": 2, name: count}
        assert token_usage({"usage": counts}) is None
