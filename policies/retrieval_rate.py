"""The share of decisions that retrieve, as a metric: 1 for an arm that does, else 0.

It is known of every arm without being learned, so an objective may weigh it like any other metric
and a budget may bound it.
"""

from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from policies.arms import RETRIEVING_ROUTES, Arm, Route, require_known
from policies.errors import ArmError
from policies.policy import Floats

RETRIEVAL_RATE = "retrieval_rate"
# An arm of a recorded table retrieves if it is expected to take more steps than this on average.
_SOME_STEPS = 0.5


def with_retrieval_rate(
    expected: Floats, metrics: Sequence[str], retrieves: Sequence[bool]
) -> tuple[Floats, tuple[str, ...]]:
    """Expectations (n, A, M) and their metrics with RETRIEVAL_RATE (in place of one learned)."""
    kept = [index for index, metric in enumerate(metrics) if metric != RETRIEVAL_RATE]
    column = np.broadcast_to(np.asarray(retrieves, dtype=np.float64), expected.shape[:2])
    together = np.concatenate([expected[:, :, kept], column[:, :, None]], axis=2)
    return together, (*(metrics[index] for index in kept), RETRIEVAL_RATE)


def retrieving_arms(
    names: Sequence[str],
    configured: Sequence[Arm],
    *,
    named: Sequence[str] = (),
    steps: NDArray[np.float64] | None = None,
) -> list[bool]:
    """Which of the arms retrieve: those named; else by route; else by steps.

    Args:
        names: the arms asked about.
        configured: arms whose routes are known.
        named: the caller's own list, which decides for all arms if it isn't empty.
        steps: (A,) each arm's mean retrieval steps, for an arm that no configuration defines.

    Raises:
        ArmError: a named arm isn't among the arms, or nothing says whether an arm retrieves.
    """
    require_known(named, names, field="retrieving")
    if named:
        return [name in named for name in names]
    routes: dict[str, str | None] = {route: route for route in get_args(Route)}
    routes |= {arm.name: arm.route for arm in configured}
    found = []
    for index, name in enumerate(names):
        if routes.get(name) is not None:
            found.append(routes[name] in RETRIEVING_ROUTES)
        elif steps is not None:
            found.append(bool(steps[index] > _SOME_STEPS))
        else:
            raise ArmError(
                f"whether arm {name!r} retrieves isn't known: name the arms that do with "
                "--retrieving A,B, or give --config with a router.toml that has its route",
                field="retrieving",
            )
    return found
