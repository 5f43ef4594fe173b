"""Which arm was the best for each training query; what routers that learn from labels are given."""

from typing import Any


def best_arms(arms: list[str], train: list[dict[str, Any]]) -> list[str]:
    """The arm of highest quality, the first of equal ones, a row each."""
    return [max(arms, key=lambda arm: row["quality"][arm]) for row in train]
