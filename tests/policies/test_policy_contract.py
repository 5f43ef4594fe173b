"""What every policy must do, whatever its kind. A new policy is one more entry in POLICIES."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from policies.arms import DEFAULT_ARMS, arm_names
from policies.artifact import Manifest, pack_artifact, unpack_artifact
from policies.choose import choose
from policies.errors import PolicyFitError
from policies.exploration import Exploration, arm_probabilities
from policies.linear_policy import IDENTITY, LOGISTIC, LinearPolicy
from policies.loading import load_policy
from policies.policy import Policy, arm_columns, utilities, weight_vector
from policies.posterior import Beliefs, Posterior, PosteriorTensors, utility_beliefs
from policies.question import QUESTION_FEATURES
from policies.rule_policy import RulePolicy
from policies.tenant_offsets import TenantOffsets, with_offsets
from tests.policies.every_block import every_block

DIMENSION = 32 + len(QUESTION_FEATURES)
KINDS = ("squarecb", "thompson", "epsilon", "uniform", "greedy")
WEIGHTS = {"quality": 1.0, "cost_usd": -20.0, "latency_s": -0.02}


def linear() -> Policy:
    rng = np.random.default_rng(7)
    manifest = Manifest(
        kind="linear",
        name="linear",
        arms=list(arm_names(DEFAULT_ARMS)),
        metrics=["quality", "cost_usd", "latency_s"],
        feature_version="test",
        created_at="2026-01-01T00:00:00+00:00",
    )
    return LinearPolicy(
        manifest,
        rng.normal(size=(3, 3, DIMENSION)).astype(np.float32),
        rng.normal(size=(3, 3)),
        np.array([LOGISTIC, IDENTITY, IDENTITY], dtype=np.int8),
    )


def sure_of_itself() -> Policy:
    """A linear policy that carries a posterior."""
    rng = np.random.default_rng(8)
    plain = linear().artifact()
    parts = PosteriorTensors(
        coefficients=plain.tensors["coefficients"],
        intercepts=plain.tensors["intercepts"],
        scale=np.ones(DIMENSION, dtype=np.float32),
        centres=rng.normal(size=(3, DIMENSION)).astype(np.float32),
        directions=np.eye(4, DIMENSION, dtype=np.float32)[None].repeat(3, axis=0),
        gains=np.full((3, 3, 4), 0.01),
        remainder=np.full((3, 3), 0.02),
        rows=np.full((3, 3), 100.0),
        noise=np.full((3, 3), 0.2),
    )
    return LinearPolicy(
        msgspec.structs.replace(plain.manifest, version=""),
        *(plain.tensors[name] for name in ("coefficients", "intercepts", "links")),
        carried=Posterior(parts).tensors,
    )


def context_free() -> Policy:
    manifest = Manifest(
        kind="linear",
        name="always hybrid",
        arms=list(arm_names(DEFAULT_ARMS)),
        metrics=["quality"],
        feature_version="test",
        created_at="2026-01-01T00:00:00+00:00",
    )
    return LinearPolicy(
        manifest,
        np.zeros((3, 1, DIMENSION), dtype=np.float32),
        np.array([[0.1], [0.2], [0.9]]),
        np.array([IDENTITY], dtype=np.int8),
    )


def blend() -> Policy:
    return every_block(arm_names(DEFAULT_ARMS), "test", DIMENSION, size=0.1, seed=11)


POLICIES: dict[str, Callable[[], Policy]] = {
    "blend": blend,
    "rules": lambda: RulePolicy(DEFAULT_ARMS),
    "linear": linear,
    "context-free": context_free,
    "with a posterior": sure_of_itself,
}


@pytest.fixture(params=POLICIES)
def policy(request: pytest.FixtureRequest) -> Policy:
    return POLICIES[request.param]()


@pytest.fixture
def features() -> NDArray[np.float32]:
    return np.random.default_rng(3).random((200, DIMENSION)).astype(np.float32)


@pytest.fixture
def eligible() -> NDArray[np.bool_]:
    mask = np.random.default_rng(5).random((200, 3)) < 0.6
    mask[~mask.any(axis=1), 1] = True
    return mask


def believed(policy: Policy, features: NDArray[np.float32]) -> Beliefs | None:
    return utility_beliefs(policy.beliefs(features), weight_vector(policy.metrics, WEIGHTS))


def test_beliefs_are_finite_and_one_per_arm_and_metric_or_none_at_all(
    policy: Policy, features: NDArray[np.float32]
) -> None:
    if (beliefs := policy.beliefs(features)) is None:
        return
    for part in beliefs:
        assert part.shape == (200, len(policy.arms), len(policy.metrics))
        assert np.isfinite(part).all()
    assert (beliefs.variances > 0.0).all()


def test_what_thompson_sampling_logs_is_a_function_of_what_was_asked_alone(
    policy: Policy, features: NDArray[np.float32], eligible: NDArray[np.bool_]
) -> None:
    value = utilities(policy.expected(features), policy.metrics, WEIGHTS)
    exploration = Exploration(kind="thompson")
    again = load_policy(unpack_artifact(pack_artifact(policy.artifact()), source="test"))
    np.testing.assert_array_equal(
        arm_probabilities(value, eligible, exploration, believed(policy, features)),
        arm_probabilities(value, eligible, exploration, believed(again, features)),
    )


def test_expectations_are_finite_and_one_per_arm_and_metric(
    policy: Policy, features: NDArray[np.float32]
) -> None:
    expected = policy.expected(features)
    assert expected.shape == (200, len(policy.arms), len(policy.metrics))
    assert np.isfinite(expected).all()
    quality = expected[:, :, policy.metrics.index("quality")]
    assert ((quality >= 0.0) & (quality <= 1.0)).all()


def test_a_row_alone_and_in_company_expects_the_same(
    policy: Policy, features: NDArray[np.float32]
) -> None:
    together = policy.expected(features)
    alone = np.concatenate([policy.expected(row[None]) for row in features])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_sum_to_one_and_masked_arms_have_none(
    policy: Policy, features: NDArray[np.float32], eligible: NDArray[np.bool_], kind: str
) -> None:
    value = utilities(policy.expected(features), policy.metrics, WEIGHTS)
    beliefs = believed(policy, features)
    probabilities = arm_probabilities(value, eligible, Exploration(kind=kind), beliefs)  # type: ignore[arg-type]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-12)
    assert (probabilities[~eligible] == 0.0).all()
    assert (probabilities >= 0.0).all()


def test_seeded_draws_repeat_and_never_take_a_masked_arm(
    policy: Policy, features: NDArray[np.float32], eligible: NDArray[np.bool_]
) -> None:
    value = utilities(policy.expected(features), policy.metrics, WEIGHTS)
    probabilities = arm_probabilities(value, eligible, Exploration())
    for row, (draw, mask) in enumerate(zip(probabilities, eligible, strict=True)):
        arm = choose(draw, f"decision-{row}")
        assert arm == choose(draw, f"decision-{row}")
        assert mask[arm]


def test_it_survives_a_round_trip_through_its_artifact(
    policy: Policy, features: NDArray[np.float32]
) -> None:
    files = pack_artifact(policy.artifact())
    again = load_policy(unpack_artifact(files, source="test"))
    assert (again.name, again.version, again.arms, again.metrics) == (
        policy.name,
        policy.version,
        policy.arms,
        policy.metrics,
    )
    np.testing.assert_array_equal(again.expected(features), policy.expected(features))


@pytest.mark.parametrize("tenant", ["", "stranger", None])
def test_a_tenant_it_never_learned_of_gets_what_everybody_gets(
    policy: Policy, features: NDArray[np.float32], tenant: str | None
) -> None:
    tenants = None if tenant is None else [tenant] * len(features)
    for one in (policy, with_tenant(policy)):
        np.testing.assert_array_equal(one.expected(features, tenants), policy.expected(features))


def test_a_tenant_it_learned_of_gets_its_own_expectations_stored_or_not(
    policy: Policy, features: NDArray[np.float32]
) -> None:
    knowing = with_tenant(policy)
    tenants = ["acme", ""] * 100
    expected, everybody = knowing.expected(features, tenants), policy.expected(features)
    assert (expected[0::2, 0] > everybody[0::2, 0]).any(axis=0).all()
    assert (expected[0::2, 0] >= everybody[0::2, 0]).all()
    np.testing.assert_array_equal(expected[1::2], everybody[1::2])
    again = load_policy(unpack_artifact(pack_artifact(knowing.artifact()), source="test"))
    np.testing.assert_array_equal(again.expected(features, tenants), expected)
    alone = np.concatenate(
        [again.expected(row[None], [name]) for row, name in zip(features, tenants, strict=True)]
    )
    np.testing.assert_allclose(alone, expected, rtol=1e-5, atol=1e-6)


def with_tenant(policy: Policy) -> Policy:
    """The same, with offsets that raise what "acme" is expected to get of the first arm."""
    shape = (len(policy.arms), len(policy.metrics))
    raised = np.zeros(shape)
    raised[0] = 0.05
    offsets = TenantOffsets.by_tenant({"acme": raised, "globex": -raised}, bytes(range(16)))
    return load_policy(with_offsets(policy.artifact(), offsets))


def test_it_gives_reasons(policy: Policy, features: NDArray[np.float32]) -> None:
    reasons = policy.reasons(features[0])
    assert reasons
    assert all(reasons)


def test_it_fits_its_own_arms_in_any_order_and_refuses_strangers(policy: Policy) -> None:
    columns = arm_columns(policy, ["hybrid", "finetuned"], policy.feature_version or "any")
    assert columns.tolist() == [2, 0]
    with pytest.raises(PolicyFitError, match="stranger"):
        arm_columns(policy, ["hybrid", "stranger"], policy.feature_version)
