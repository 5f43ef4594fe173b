"""Arms: the configured ways of answering, each on one of three routes."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Literal

import msgspec

from policies.errors import ArmError

Route = Literal["finetuned", "retrieve", "hybrid"]
RETRIEVING_ROUTES: frozenset[str] = frozenset({"retrieve", "hybrid"})


class Arm(msgspec.Struct, frozen=True):
    """One way of answering.

    `route` is None only offline, for the arms of a recorded table that no configuration defines.
    `expected` holds what the owner believes of the arm before anything is learned, by metric.
    """

    name: str
    route: Route | None = None
    expected: dict[str, float] = {}

    @property
    def retrieves(self) -> bool:
        """Whether an answer of this arm can name its sources."""
        return self.route in RETRIEVING_ROUTES


# Priors of the three default arms: a small fine-tuned model, a larger base model that reads five
# passages, and the fine-tuned model reading them. They only rank arms until a policy is learned.
DEFAULT_ARMS: tuple[Arm, ...] = (
    Arm("finetuned", "finetuned", {"quality": 0.60, "cost_usd": 0.0004, "latency_s": 0.8}),
    Arm("retrieve", "retrieve", {"quality": 0.62, "cost_usd": 0.0015, "latency_s": 1.6}),
    Arm("hybrid", "hybrid", {"quality": 0.64, "cost_usd": 0.0020, "latency_s": 2.0}),
)


def arm_names(arms: Iterable[Arm]) -> tuple[str, ...]:
    """The arms' names, in order."""
    return tuple(arm.name for arm in arms)


def require_known(wanted: Sequence[str], known: Sequence[str], *, field: str = "arms") -> None:
    """Raise ArmError, naming the nearest known arm, unless every wanted arm is known."""
    for index, name in enumerate(wanted):
        if name not in known:
            raise ArmError(
                f"unknown arm {name!r}{did_you_mean(name, known)}; known arms: {', '.join(known)}",
                field=f"{field}[{index}]",
            )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something known is near, else an empty string."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
