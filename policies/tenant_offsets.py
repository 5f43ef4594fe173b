"""What is added to a policy's expectations for a tenant: one number per arm and metric.

An artifact that carries offsets has three tensors more, whatever its kind. Tenants stand in it as
salted hashes, since a tenant's name may be confidential. That hides a name from whoever reads the
artifact, not from whoever guesses it: the salt is in there too, so that a guess can be tried.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from policies.artifact import Artifact, seal
from policies.errors import ArtifactError

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

SALT, DIGESTS, OFFSETS = "tenant_salt", "tenant_digests", "tenant_offsets"
SALT_BYTES = DIGEST_BYTES = 16
# Larger ones are no estimate of anything.
MAX_OFFSET = 1e9


class TenantOffsets:
    """Offsets by tenant, on the scale where a policy's heads are linear.

    That is the log-odds of a logistic head, and the metric itself elsewhere.
    """

    def __init__(self, salt: Bytes, digests: Bytes, offsets: Floats) -> None:
        """Store the offsets.

        Args:
            salt: (SALT_BYTES,) mixed into every tenant's hash.
            digests: (T, DIGEST_BYTES) hashes of the tenants' names.
            offsets: (T, A, M).

        Raises:
            ArtifactError: the tensors don't fit each other, a tenant stands twice, or an offset is
                absurd.
        """
        shapes_fit = salt.shape == (SALT_BYTES,) and digests.shape == (len(offsets), DIGEST_BYTES)
        if not shapes_fit or {salt.dtype, digests.dtype} != {np.dtype(np.uint8)}:
            raise ArtifactError("tenant offsets need one hash a tenant", field=DIGESTS)
        if not (np.abs(offsets) <= MAX_OFFSET).all():  # NaN compares false
            raise ArtifactError(f"a tenant's offset lies beyond ±{MAX_OFFSET:g}", field=OFFSETS)
        self._salt, self._digests, self._offsets = salt, digests, offsets
        self._key = salt.tobytes()
        self._row = {digest.tobytes(): row for row, digest in enumerate(digests)}
        if len(self._row) < len(digests):
            raise ArtifactError("tenant offsets name a tenant twice", field=DIGESTS)

    @classmethod
    def by_tenant(cls, offsets: Mapping[str, Floats], salt: bytes) -> Self:
        """Offsets (A, M) by tenant's name; stored in the order of the hashes, which tells nothing.

        The salt has SALT_BYTES.
        """
        hashed = {_digest(salt, tenant): values for tenant, values in offsets.items()}
        order = sorted(hashed)
        digests = np.frombuffer(b"".join(order), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        values = np.array([hashed[digest] for digest in order], dtype=np.float64)
        return cls(np.frombuffer(salt, dtype=np.uint8), digests, values)

    @classmethod
    def of_artifact(cls, artifact: Artifact) -> Self:
        """The offsets that an artifact carries, of no tenant where it carries none.

        Raises:
            ArtifactError: a tensor is missing, or they don't fit the manifest's arms and metrics.
        """
        held = [artifact.tensors[n] for n in (SALT, DIGESTS, OFFSETS) if n in artifact.tensors]
        if not held:
            return cls.by_tenant({}, bytes(SALT_BYTES))
        shape = (len(artifact.manifest.arms), len(artifact.manifest.metrics))
        if len(held) < 3 or held[2].ndim != 3 or held[2].shape[1:] != shape:
            raise ArtifactError(
                f"policy {artifact.version} has tenant offsets that don't fit its manifest's "
                f"{shape[0]} arms and {shape[1]} metrics",
                field=OFFSETS,
            )
        return cls(*held)

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """As an artifact carries them: nothing without a tenant."""
        if not len(self):
            return {}
        return {SALT: self._salt, DIGESTS: self._digests, OFFSETS: self._offsets}

    def added(self, scores: Floats, tenants: Sequence[str] | None) -> Floats:
        """Scores (n, A, M) with their tenants' offsets; as they are for tenants it doesn't know.

        `tenants` has the n names, the empty one for a row of no tenant.
        """
        if tenants is None or not len(self):
            return scores
        found = {tenant: self._find(tenant) for tenant in set(tenants)}
        if len(found) == 1:  # one request, or one tenant's batch
            row = found[tenants[0]]
            return scores if row < 0 else scores + self._offsets[row]
        rows = np.array([found[tenant] for tenant in tenants], dtype=np.intp)
        mine = rows >= 0
        shifted = scores.copy()
        shifted[mine] += self._offsets[rows[mine]]
        return shifted

    def _find(self, tenant: str) -> int:
        """The tenant's row, −1 where it has none."""
        return self._row.get(_digest(self._key, tenant), -1) if tenant else -1


def with_offsets(artifact: Artifact, offsets: TenantOffsets) -> Artifact:
    """The artifact with these offsets in it, under a version of its own."""
    return seal(artifact.manifest, {**artifact.tensors, **offsets.tensors})


def _digest(salt: bytes, tenant: str) -> bytes:
    name = tenant.encode("utf-8", "surrogatepass")
    return blake2b(name, digest_size=DIGEST_BYTES, salt=salt, person=b"tenant").digest()
