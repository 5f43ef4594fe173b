"""What every policy can do: say what it expects of each arm, and be stored."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Artifact
from policies.errors import PolicyFitError
from policies.posterior import Beliefs

Floats = NDArray[np.float64]


class Policy(Protocol):
    """Expected metrics of each arm for a query's features.

    The objective and the exploration aren't part of it: they arrive with the request, and turn the
    expectations into utilities and probabilities. A policy is immutable, so any number of requests
    may read one while another takes its place.
    """

    @property
    def name(self) -> str:
        """What kind of policy it is, for people."""

    @property
    def version(self) -> str:
        """The hash of its artifact."""

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms it knows, in the order of every array's arm axis."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics it expects, in the order of every array's metric axis."""

    @property
    def feature_version(self) -> str:
        """The features it reads; empty where any will do."""

    def expected(
        self, features: NDArray[np.float32], tenants: Sequence[str] | None = None
    ) -> Floats:
        """(n, A, M) expected metrics for features of shape (n, d).

        `tenants` names each row's, the empty name standing for none. A tenant that the policy
        hasn't learned of, or none, gets what is expected of everybody.
        """

    def beliefs(
        self, features: NDArray[np.float32], tenants: Sequence[str] | None = None
    ) -> Beliefs | None:
        """What Thompson sampling draws from: means and variances (n, A, M) of the expected metrics;
        None where it can't tell how sure it is (rules, policies stored without a posterior).
        """

    def reasons(self, features: NDArray[np.float32]) -> list[str]:
        """Why it leans as it does on one query, features of shape (d,), for people."""

    def artifact(self) -> Artifact:
        """All of it, to be stored; `policies.loading.load_policy` is the way back."""


def utilities(expected: Floats, metrics: Sequence[str], weights: Mapping[str, float]) -> Floats:
    """(n, A) Σ weight · expected metric, from (n, A, M); a metric nobody expects counts as 0."""
    return np.asarray(expected @ weight_vector(metrics, weights))


def weight_vector(metrics: Sequence[str], weights: Mapping[str, float]) -> Floats:
    """(M,) an objective's weights in the order of the metrics; 0 where it names none."""
    return np.array([weights.get(metric, 0.0) for metric in metrics], dtype=np.float64)


def arm_columns(policy: Policy, arms: Sequence[str], feature_version: str) -> NDArray[np.intp]:
    """Where the service's arms stand in the policy's arrays.

    Raises:
        PolicyFitError: the policy reads other features, or doesn't know one of the arms.
    """
    if policy.feature_version not in ("", feature_version):
        raise PolicyFitError(
            f"policy {policy.version} reads features {policy.feature_version!r}, this service "
            f"makes {feature_version!r}: train a policy with this encoder, or configure that one",
            field="features",
        )
    missing = [arm for arm in arms if arm not in policy.arms]
    if missing:
        raise PolicyFitError(
            f"policy {policy.version} doesn't know the configured arms {', '.join(missing)} "
            f"(it knows {', '.join(policy.arms)}): train a policy on a log that has them",
            field="arms",
        )
    return np.array([policy.arms.index(arm) for arm in arms], dtype=np.intp)
