"""What off-policy estimators take: logged rounds, and the policy to be evaluated on them."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# What another policy on the same rounds needn't compute again.
_OF_NO_POLICY = ("drawn", "groups", "residuals", "known", "squares", "magnitude")


@dataclass(frozen=True)
class Sample:
    """n logged rounds of A arms; what estimators share is computed once.

    action (n,): the drawn arm's index; reward (n,): what it earned; pscore (n,): the probability
    with which it was drawn; action_dist (n, A): the evaluated policy's probabilities, or the
    difference of two policies'; estimated_rewards (n, A): a reward model's predictions, made
    without the row's own reward; clusters (n,): rows with the same number aren't independent
    (near-duplicate queries); logging (n, A): every arm's pscore, where it is known.
    """

    action: NDArray[np.intp]
    reward: Floats
    pscore: Floats
    action_dist: Floats
    estimated_rewards: Floats
    clusters: NDArray[np.intp] | None = None
    logging: Floats | None = None

    def __len__(self) -> int:
        return len(self.action)

    def _replace(self, **changes: Any) -> "Sample":
        """The sample with other arrays; another policy alone shares what doesn't depend on it."""
        other = replace(self, **changes)
        if changes.keys() == {"action_dist"}:
            known = self.__dict__
            other.__dict__.update({name: known[name] for name in _OF_NO_POLICY if name in known})
        return other

    def rows(self, index: NDArray[Any]) -> "Sample":
        """Some of the rounds, by position or mask."""
        return Sample(
            self.action[index],
            self.reward[index],
            self.pscore[index],
            self.action_dist[index],
            self.estimated_rewards[index],
            None if self.clusters is None else self.clusters[index],
            None if self.logging is None else self.logging[index],
        )

    @cached_property
    def magnitude(self) -> float:
        """The largest reward or prediction, in absolute value: what rounding errors go with."""
        found = (np.abs(part).max(initial=0.0) for part in (self.reward, self.estimated_rewards))
        return float(max(found))

    @cached_property
    def drawn(self) -> NDArray[np.intp]:
        """(n,) where each row's drawn arm stands in a flattened (n, A) array."""
        return np.asarray(np.arange(len(self)) * self.action_dist.shape[1] + self.action)

    @cached_property
    def groups(self) -> int | None:
        """How many different clusters there are; None where the rows are independent."""
        return None if self.clusters is None else int(np.count_nonzero(np.bincount(self.clusters)))

    @cached_property
    def weights(self) -> Floats:
        """(n,) importance weights π(a|x) / pscore; 0 where the reward isn't known."""
        return np.asarray(self.action_dist.take(self.drawn) / self.pscore)

    @cached_property
    def residuals(self) -> Floats:
        """(n,) reward − the reward model's prediction for the drawn arm."""
        return self.reward - self.estimated_rewards.take(self.drawn)

    @cached_property
    def baseline(self) -> Floats:
        """(n,) Σ_a π(a|x) · predicted reward."""
        return np.asarray(np.einsum("na,na->n", self.action_dist, self.estimated_rewards))

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(n,) whether the reward was reported."""
        return np.isfinite(self.pscore)

    @cached_property
    def squares(self) -> Floats:
        """(n,) squared residuals, 0 where the reward isn't known."""
        return np.where(self.known, self.residuals**2, 0.0)

    def factors(self, arm: int) -> Floats:
        """(n,) the weight that each round would have had, had it drawn this arm; 0 where it never
        could have.

        Raises:
            ValueError: the other arms' propensities aren't known.
        """
        if self.logging is None:
            raise ValueError("needs every arm's propensity: give the sample its logging")
        wanted, drawn = self.action_dist[:, arm], self.logging[:, arm]
        return np.divide(
            wanted, drawn, out=np.zeros(len(self)), where=(wanted != 0.0) & (drawn > 0.0)
        )
