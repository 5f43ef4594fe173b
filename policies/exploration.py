"""Exploration: from the arms' utilities to the probabilities with which they are drawn."""

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from policies.errors import ArmError, ExpectationError
from policies.posterior import Beliefs
from policies.thompson import best_arm_probabilities

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Exploration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often to try what doesn't look best.

    `floor` is the least probability of every eligible arm (capped at an equal share; `greedy` has
    none); `gamma` is SquareCB's learning rate, per unit of utility; `epsilon` is epsilon-greedy's
    share of uniform draws; `posterior_scale` multiplies the standard deviations that Thompson
    sampling draws with (Chapelle and Li 2011: below 1 it earns more, sooner); `initial` is the
    least share of uniform draws until the first promotion (except for `greedy`, which never
    explores).
    """

    kind: Literal["squarecb", "thompson", "epsilon", "uniform", "greedy"] = "squarecb"
    floor: float = 0.05
    gamma: float = 100.0
    epsilon: float = 0.1
    posterior_scale: float = 0.7
    initial: float = 0.3

    def __post_init__(self) -> None:
        for name in ("floor", "epsilon", "initial"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        for name in ("gamma", "posterior_scale"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive and finite, not {getattr(self, name)}")


GREEDY = Exploration(kind="greedy", floor=0.0, initial=0.0)


def until_first_promotion(exploration: Exploration) -> Exploration:
    """The exploration of a cold start, whose utilities are nobody's estimate: gaps tell nothing,
    so at least `initial` of the draws is uniform and the rest greedy.
    """
    if exploration.kind in ("uniform", "greedy"):
        return exploration
    return msgspec.structs.replace(
        exploration, kind="epsilon", epsilon=max(exploration.initial, exploration.epsilon)
    )


def arm_probabilities(
    utilities: Floats,
    eligible: Bools,
    exploration: Exploration,
    beliefs: Beliefs | None = None,
) -> Floats:
    """Each arm's probability, given the utilities of the eligible arms.

    Args:
        utilities: (n, A) expected utility of each arm; those of masked arms are ignored.
        eligible: (n, A) which arms may be drawn.
        exploration: the kind and its settings.
        beliefs: means and variances (n, A) of the utilities, which `thompson` alone reads; without
            them it is epsilon-greedy, as a cold start is.

    Returns:
        (n, A); rows sum to 1, masked arms have exactly 0, a lone eligible arm exactly 1.

    Raises:
        ArmError: a row has no eligible arm.
        ExpectationError: an eligible arm's utility, or what is believed of it, isn't finite.

    SquareCB's inverse gap weighting is Algorithm 1 of Foster and Rakhlin (2020), "Beyond UCB":
    p_a = 1 / (A + γ·(best − u_a)), the rest to the best arm.
    """
    counts = eligible.sum(axis=1, keepdims=True)
    if not counts.all():
        raise ArmError("no eligible arm is left to draw from", field="arms")
    masked = np.where(eligible, utilities, -np.inf)
    if not np.isfinite(masked, where=eligible, out=np.ones_like(eligible)).all():
        raise ExpectationError("the policy's expectations give utilities that aren't finite")
    if exploration.kind == "thompson" and beliefs is None:
        exploration = msgspec.structs.replace(exploration, kind="epsilon")
    rows, best = np.arange(len(masked)), masked.argmax(axis=1)
    uniform = eligible / counts
    if exploration.kind == "uniform":
        return np.asarray(uniform, dtype=np.float64)
    if exploration.kind == "squarecb":
        # A masked arm's gap is never used; 0 keeps it from making the denominator 0.
        gaps = np.where(eligible, masked[rows, best, None] - masked, 0.0)
        probabilities = np.where(eligible, 1.0 / (counts + exploration.gamma * gaps), 0.0)
    elif beliefs is not None and exploration.kind == "thompson":
        known = np.isfinite(beliefs.means) & np.isfinite(beliefs.variances)
        if not known[eligible].all():
            raise ExpectationError("the policy's beliefs give utilities that aren't finite")
        deviations = exploration.posterior_scale * np.sqrt(
            np.where(eligible, beliefs.variances, 0.0)
        )
        probabilities = best_arm_probabilities(beliefs.means, deviations, eligible)
    elif exploration.kind == "epsilon":
        # Equals share: taking the first of them always would tell nothing of the others.
        equals = masked == masked[rows, best, None]
        probabilities = equals / equals.sum(axis=1, keepdims=True)
    else:
        probabilities = np.zeros_like(masked)
    mixed = _uniform_share(exploration, counts)
    probabilities = mixed * uniform + (1.0 - mixed) * probabilities
    # Whatever the others leave is the best arm's: rows sum to 1, and a lone arm has exactly 1.
    probabilities[rows, best] = 0.0
    probabilities[rows, best] = np.maximum(1.0 - probabilities.sum(axis=1), 0.0)
    return np.asarray(probabilities)


def _uniform_share(exploration: Exploration, counts: NDArray[np.intp]) -> Floats:
    """(n, 1) share of uniform draws that keeps the floor, or gives epsilon-greedy its epsilon."""
    if exploration.kind == "greedy":
        return np.zeros(counts.shape)
    share = np.minimum(exploration.floor * counts, 1.0)
    return np.asarray(
        np.maximum(share, exploration.epsilon) if exploration.kind == "epsilon" else share
    )
