"""Offsets by tenant: whom they reach, what an artifact tells of them, what is refused."""

import numpy as np
import pytest

from policies.artifact import Artifact, pack_artifact, seal
from policies.errors import ArtifactError
from policies.linear_policy import LOGISTIC, LinearPolicy
from policies.loading import load_policy
from policies.tenant_offsets import DIGESTS, OFFSETS, SALT, TenantOffsets, with_offsets
from tests.training.worlds import DIMENSION, always, manifest

SALT_OF_TEST = b"sixteen bytes ok"
SHIFT = np.array([[0.1], [0.0], [-0.2]])


def offsets() -> TenantOffsets:
    return TenantOffsets.by_tenant({"acme": SHIFT, "globex": -SHIFT}, SALT_OF_TEST)


def carrying(**tensors: np.ndarray) -> Artifact:
    artifact = with_offsets(always(1).artifact(), offsets())
    return seal(artifact.manifest, {**artifact.tensors, **tensors})


def test_each_row_gets_its_own_tenants_offsets_and_the_others_none() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 3, 1))
    shifted = offsets().added(scores, ["acme", "", "globex", "nobody", "acme"])
    want = scores + np.stack([SHIFT, 0 * SHIFT, -SHIFT, 0 * SHIFT, SHIFT])
    np.testing.assert_array_equal(shifted, want)


def test_scores_given_stay_as_they_were() -> None:
    scores = np.zeros((1, 3, 1))
    offsets().added(scores, ["acme"])
    assert not scores.any()


def test_a_nameless_tenant_never_has_offsets() -> None:
    named_nothing = TenantOffsets.by_tenant({"": SHIFT}, SALT_OF_TEST)
    assert not named_nothing.added(np.zeros((1, 3, 1)), [""]).any()


def test_odd_names_are_names_too() -> None:
    for name in ("\ud800", "naïve 😀", "a" * 128, "a\0b"):
        one = TenantOffsets.by_tenant({name: SHIFT}, SALT_OF_TEST)
        np.testing.assert_array_equal(one.added(np.zeros((1, 3, 1)), [name])[0], SHIFT)


def test_a_logistic_head_shifts_in_log_odds() -> None:
    heads = (np.zeros((3, 1, DIMENSION), np.float32), np.zeros((3, 1)), np.array([LOGISTIC], "i1"))
    policy = LinearPolicy(manifest(), *heads, carried=offsets().tensors)
    expected = policy.expected(np.zeros((1, DIMENSION), np.float32), ["acme"])
    np.testing.assert_allclose(expected[0], 1 / (1 + np.exp(-SHIFT)))


def test_names_are_not_in_the_artifact_and_another_salt_gives_other_hashes() -> None:
    artifact = with_offsets(always(1).artifact(), offsets())
    content = b"".join(pack_artifact(artifact).values())
    assert b"acme" not in content
    assert b"globex" not in content
    again = TenantOffsets.by_tenant({"acme": SHIFT, "globex": -SHIFT}, b"another 16 bytes")
    assert not set(map(bytes, again.tensors[DIGESTS])) & set(map(bytes, offsets().tensors[DIGESTS]))


def test_offsets_give_a_policy_another_version() -> None:
    plain = always(1).artifact()
    carried = with_offsets(plain, offsets())
    assert carried.version != plain.version
    assert load_policy(carried).version == carried.version


@pytest.mark.parametrize(
    ("tensors", "field"),
    [
        ({OFFSETS: np.zeros((2, 3, 2))}, OFFSETS),
        ({OFFSETS: np.zeros((2, 3))}, OFFSETS),
        ({OFFSETS: np.full((2, 3, 1), 1e12)}, OFFSETS),
        ({DIGESTS: np.zeros((2, 16), np.uint8)}, DIGESTS),
        ({DIGESTS: np.zeros((3, 16), np.uint8)}, DIGESTS),
        ({DIGESTS: np.zeros((2, 16))}, DIGESTS),
        ({SALT: np.zeros(4, np.uint8)}, DIGESTS),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tensors: dict[str, np.ndarray], field: str) -> None:
    with pytest.raises(ArtifactError) as refused:
        load_policy(carrying(**tensors))
    assert refused.value.field == field


@pytest.mark.parametrize("missing", [SALT, DIGESTS, OFFSETS])
def test_a_missing_tensor_is_refused(missing: str) -> None:
    artifact = carrying()
    kept = {name: tensor for name, tensor in artifact.tensors.items() if name != missing}
    with pytest.raises(ArtifactError, match="don't fit its manifest"):
        load_policy(seal(artifact.manifest, kept))
