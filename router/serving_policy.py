"""The policy in service: fitted to this service's arms, and swapped as one reference."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.arms import Arm, arm_names
from policies.errors import ArtifactError
from policies.exploration import Exploration, until_first_promotion
from policies.novelty import KnownQueries
from policies.policy import Floats, Policy, arm_columns
from policies.posterior import Beliefs

MAX_EXPECTATION = 1e9


class ServingPolicy(NamedTuple):
    """A policy, where this service's arms stand in it, and how it explores.

    `columns` is None where the policy has the service's arms, in the service's order.
    `promoted` says that it was judged better, and isn't the cold start. `candidate` is the policy
    that is in shadow beside it (share 0) or in canary with this share of the draws. Immutable: a
    request takes one reference and sees one whole policy and candidate, whatever is swapped in.
    """

    policy: Policy
    columns: NDArray[np.intp] | None
    exploration: Exploration
    fallback: str | None = None
    promoted: bool = True
    known: KnownQueries | None = None
    candidate: "ServingPolicy | None" = None
    candidate_share: float = 0.0

    def without_candidate(self) -> "ServingPolicy":
        """The incumbent alone."""
        return self._replace(candidate=None, candidate_share=0.0)

    def expected(
        self, features: NDArray[np.float32], tenants: Sequence[str] | None = None
    ) -> Floats:
        """(n, A, M) expected metrics for each row's tenant, arms in the service's order."""
        expected = self.policy.expected(features, tenants)
        return expected if self.columns is None else expected[:, self.columns]

    def beliefs(
        self, features: NDArray[np.float32], tenants: Sequence[str] | None = None
    ) -> Beliefs | None:
        """Of metrics, (n, A, M), arms in the service's order; None where the policy has none."""
        beliefs = self.policy.beliefs(features, tenants)
        if beliefs is None or self.columns is None:
            return beliefs
        return Beliefs(*(part[:, self.columns] for part in beliefs))


def fit_to_service(
    policy: Policy,
    arms: tuple[Arm, ...],
    feature_version: str,
    feature_dimension: int,
    exploration: Exploration,
    *,
    promoted: bool,
    fallback: str | None = None,
) -> ServingPolicy:
    """Make a policy ready to serve here, trying it once on a blank row.

    Raises:
        PolicyFitError: it doesn't know an arm, or reads other features.
        ArtifactError: its tensors don't take this service's features, or expect or believe the
            absurd.
    """
    columns = arm_columns(policy, arm_names(arms), feature_version)
    trial = policy.expected(np.zeros((1, feature_dimension), dtype=np.float32))
    if not (np.abs(trial) <= MAX_EXPECTATION).all():
        raise ArtifactError(
            f"policy {policy.version} expects values beyond ±{MAX_EXPECTATION:g} of a blank query",
            field="tensors",
        )
    _try_beliefs(policy, feature_dimension)
    if not promoted:
        exploration = until_first_promotion(exploration)
    known = KnownQueries.of(policy.artifact())
    if known is not None and known.dimension != feature_dimension:
        raise ArtifactError(
            f"policy {policy.version} knows queries of {known.dimension} features, not "
            f"{feature_dimension}",
            field="tensors",
        )
    in_order = np.array_equal(columns, np.arange(len(policy.arms)))
    return ServingPolicy(
        policy, None if in_order else columns, exploration, fallback, promoted, known
    )


def _try_beliefs(policy: Policy, feature_dimension: int) -> None:
    """Whatever explores now: a tenant, or the next configuration, may sample from its posterior."""
    beliefs = policy.beliefs(np.zeros((1, feature_dimension), dtype=np.float32))
    if beliefs is None:
        return
    means_fit = (np.abs(beliefs.means) <= MAX_EXPECTATION).all()
    if not (means_fit and (beliefs.variances <= MAX_EXPECTATION**2).all()):
        raise ArtifactError(
            f"policy {policy.version} believes values beyond ±{MAX_EXPECTATION:g} of a blank query",
            field="tensors",
        )


class ActivePolicy:
    """Holds the policy in service; reading and swapping are single reference operations."""

    def __init__(self, initial: ServingPolicy) -> None:
        self._current = initial

    @property
    def current(self) -> ServingPolicy:
        """The policy to take one snapshot of per request."""
        return self._current

    def swap(self, serving: ServingPolicy) -> ServingPolicy:
        """Put another policy in its place; gives back the one that served before."""
        previous, self._current = self._current, serving
        return previous
