"""What release 0.1 writes to the store and reads from it. Never edited, but for a new release.

When a release is cut, this becomes a copy of what that one has: replicas of it and of the next
serve side by side while an upgrade runs, and each reads what the other has written.
"""

from typing import Any, Literal

import msgspec

Stage = Literal["shadow", "canary"]
Outcome = Literal["promoted", "rolled_back", "replaced"]
WatchVerdict = Literal["watching", "worse", "ready"]


class DecisionMade(msgspec.Struct, frozen=True, tag="DecisionMade", tag_field="type", kw_only=True):
    decision_id: str
    at: float
    arms: list[str]
    eligible: list[str]
    probabilities: list[float]
    arm: str
    propensity: float
    policy: str
    policy_version: str
    objective: str
    weights: dict[str, float]
    expected: dict[str, list[float]] = {}
    explored: bool = False
    explore: bool = True
    tenant: str = ""
    query: str | None = None
    query_hash: str = ""
    features: bytes = b""
    feature_version: str = ""
    rules: list[str] = []
    fallback: str | None = None
    attributes: dict[str, str | bool | float] = {}
    audit: bool = False
    out_of_distribution: bool = False
    candidate: str = ""
    candidate_probabilities: list[float] = []
    candidate_share: float = 0.0
    schema: int = 1


class Evidence(msgspec.Struct, frozen=True):
    id: str
    score: float


class RetrievalEvidence(msgspec.Struct, frozen=True, kw_only=True):
    count: int
    top_score: float
    margin: float | None = None
    newest_age_s: float | None = None
    cited: int = 0
    dropped_citations: int = 0


class AnswerFinished(
    msgspec.Struct, frozen=True, tag="AnswerFinished", tag_field="type", kw_only=True
):
    decision_id: str
    at: float
    executed_arm: str
    metrics: dict[str, float] = {}
    input_tokens: int = 0
    output_tokens: int = 0
    evidence: list[Evidence] = []
    error: str | None = None
    retrieval: RetrievalEvidence | None = None
    failures: list[str] = []
    schema: int = 1


class FeedbackGiven(
    msgspec.Struct, frozen=True, tag="FeedbackGiven", tag_field="type", kw_only=True
):
    feedback_id: str
    decision_id: str
    metric: str
    value: float
    at: float
    source: str = ""
    comment: str | None = None
    demonstration: str | None = None
    schema: int = 1


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    at: float
    by: str = ""
    note: str = ""


class ReplicaStatus(msgspec.Struct, frozen=True, kw_only=True):
    replica: str
    version: str
    generation: int
    arms: list[str]
    feature_version: str
    at: float
    refused: str | None = None
    candidate: str = ""
    candidate_refused: str | None = None


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    stage: Stage
    share: float
    began: float
    at: float
    incumbent: str = ""
    by: str = ""
    note: str = ""


class EndedRollout(msgspec.Struct, frozen=True, kw_only=True):
    rollout: Rollout
    outcome: Outcome
    at: float
    by: str = ""
    note: str = ""


class WatchedMetric(msgspec.Struct, frozen=True, kw_only=True):
    metric: str
    rounds: int
    advantage: float
    lower: float
    upper: float
    tolerance: float


class WatchReport(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    at: float
    verdict: WatchVerdict
    metrics: list[WatchedMetric]
    state: bytes = b""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    name: str
    arms: list[str]
    metrics: list[str]
    feature_version: str
    created_at: str
    training: dict[str, Any] = {}
    estimator: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}
    parent: str | None = None
    version: str = ""
    schema_version: int = 1


class Epoch(msgspec.Struct, frozen=True):
    since_ms: int
    tags: list[str]
