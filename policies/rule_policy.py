"""The cold start: a policy of plain rules, so that the first answer needs no data.

Each rule reads one question feature, says which routes it favours and by how much, and gives its
reason in words. What it expects are the owner's priors, shifted by the rules that apply; nothing
here was learned.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.arms import Arm, Route
from policies.artifact import Artifact, Manifest, seal
from policies.errors import ArtifactError
from policies.objective import STANDARD_METRICS
from policies.policy import Floats
from policies.question import QUESTION_FEATURES
from policies.stored_policy import StoredPolicy
from policies.tenant_offsets import TenantOffsets


class Rule(NamedTuple):
    """A question feature, from what value it applies, and what it adds to a route's quality."""

    feature: str
    threshold: float
    shifts: dict[Route, float]
    reason: str


RULES: tuple[Rule, ...] = (
    Rule(
        "time_sensitive",
        0.5,
        {"finetuned": -0.30, "retrieve": 0.10, "hybrid": 0.05},
        "time-sensitive words: a model's knowledge may be out of date, so documents are looked up",
    ),
    Rule(
        "asks_sources",
        0.5,
        {"finetuned": -0.25, "retrieve": 0.10, "hybrid": 0.05},
        "asks for sources or about a document: only a retrieving arm can cite one",
    ),
    Rule(
        "names",
        0.5,
        {"finetuned": -0.12, "retrieve": 0.04, "hybrid": 0.06},
        "several names: rare entities are recalled badly and retrieved well",
    ),
    Rule(
        "bridge",
        0.5,
        {"finetuned": -0.10, "hybrid": 0.04},
        "a chain of facts: each link may need a document",
    ),
    Rule(
        "style",
        0.5,
        {"finetuned": 0.20, "retrieve": -0.15},
        "about style or format: that is what fine-tuning taught",
    ),
    Rule(
        "arithmetic",
        1.0,
        {"finetuned": 0.15, "retrieve": -0.05},
        "arithmetic: documents don't help to calculate",
    ),
    Rule(
        "code",
        1.0,
        {"finetuned": 0.10},
        "has code: the model's own skill matters most",
    ),
)
_NO_REASON = "no rule applies: the arms' priors decide"


class RulePolicy(StoredPolicy):
    """Priors by arm, shifted by the rules that apply to the question."""

    kind: ClassVar[str] = "rules"

    def __init__(self, arms: Sequence[Arm]) -> None:
        """Build the policy for these arms; an arm's `expected` overrides the neutral priors.

        The same arms give the same version in every process: the manifest holds no date.
        """
        metrics = list(dict.fromkeys((*STANDARD_METRICS, *(m for a in arms for m in a.expected))))
        priors = np.array(
            [
                [
                    arm.expected.get(metric, 0.5 if metric == "quality" else 0.0)
                    for metric in metrics
                ]
                for arm in arms
            ]
        )
        shifts = np.array(
            [
                [rule.shifts.get(arm.route, 0.0) if arm.route else 0.0 for rule in RULES]
                for arm in arms
            ]
        )
        manifest = Manifest(
            kind=self.kind,
            name="rules",
            arms=[arm.name for arm in arms],
            metrics=metrics,
            feature_version="",
            created_at="",
            estimator={"rules": [rule.feature for rule in RULES]},
        )
        self._store(seal(manifest, {"priors": priors, "shifts": shifts}))

    def _store(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._offsets = TenantOffsets.of_artifact(artifact)
        self._quality = artifact.manifest.metrics.index("quality")
        # Question features are the last columns of every feature row, whatever the encoder.
        self._columns = [
            QUESTION_FEATURES.index(rule.feature) - len(QUESTION_FEATURES) for rule in RULES
        ]
        self._thresholds = np.array([rule.threshold for rule in RULES], dtype=np.float32)

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> "RulePolicy":
        """The policy in an artifact.

        Raises:
            ArtifactError: it was made by other rules than this release's, or its tensors don't fit.
        """
        manifest = artifact.manifest
        shapes = {
            "priors": (len(manifest.arms), len(manifest.metrics)),
            "shifts": (len(manifest.arms), len(RULES)),
        }
        if "quality" not in manifest.metrics:
            raise ArtifactError(f"policy {artifact.version} expects no quality", field="metrics")
        if manifest.estimator.get("rules") != [rule.feature for rule in RULES]:
            raise ArtifactError(f"policy {artifact.version} has another release's rules")
        if any(
            name not in artifact.tensors or artifact.tensors[name].shape != shape
            for name, shape in shapes.items()
        ):
            raise ArtifactError(
                f"policy {artifact.version} has tensors that don't fit its manifest"
            )
        policy = cls.__new__(cls)
        policy._store(artifact)
        return policy

    def expected(
        self, features: NDArray[np.float32], tenants: Sequence[str] | None = None
    ) -> Floats:
        priors, shifts = self._artifact.tensors["priors"], self._artifact.tensors["shifts"]
        expected = self._offsets.added(np.repeat(priors[None], len(features), axis=0), tenants)
        # Not a product of matrices, whose last bits depend on how many rows there are.
        shift = np.add.reduce(self._applies(features)[:, None] * shifts, axis=2)
        shifted = expected[:, :, self._quality] + shift
        expected[:, :, self._quality] = np.clip(shifted, 0.0, 1.0)
        return expected

    def reasons(self, features: NDArray[np.float32]) -> list[str]:
        applies = self._applies(features[None])[0]
        reasons = [rule.reason for rule, hit in zip(RULES, applies, strict=True) if hit]
        return reasons or [_NO_REASON]

    def _applies(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return (features[:, self._columns] >= self._thresholds).astype(np.float64)
