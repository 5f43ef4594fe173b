"""What `calibrate` found, as tables for router.toml."""

import json
import re
from collections.abc import Mapping

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def objective_table(name: str, weights: Mapping[str, float]) -> str:
    """An `[objectives.NAME]` table."""
    lines = (f"{_key(metric)} = {float(weight)!r}\n" for metric, weight in weights.items())
    return f"[objectives.{_key(name)}]\n{''.join(lines)}"


def budget_tables(
    name: str,
    objective: str | None,
    base: Mapping[str, float],
    metric: str,
    at_most: float,
    weight: float,
) -> str:
    """A `[budgets.NAME]` table, after one of its objective where that has no name yet."""
    before = ""
    if objective is None:
        objective = f"{name}-base"
        before = objective_table(objective, base) + "\n"
    return (
        f"{before}[budgets.{_key(name)}]\n"
        f"objective = {_text(objective)}\n"
        f"metric = {_text(metric)}\n"
        f"at_most = {float(at_most)!r}\n"
        f"weight = {float(weight)!r}\n"
    )


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's."""
    return json.dumps(text)
