"""Events as tests need them."""

from policies.events import (
    AnswerFinished,
    DecisionMade,
    Evidence,
    FeedbackGiven,
    RetrievalEvidence,
)

# 22 November 2026, noon UTC.
NOON = 1_795_348_800.0


def decision(number: int, *, at: float = NOON) -> DecisionMade:
    """The decision of that number; equal numbers give equal decisions."""
    return DecisionMade(
        decision_id=f"decision-{number:06d}",
        at=at,
        arms=["finetuned", "retrieve", "hybrid"],
        eligible=["finetuned", "retrieve"],
        probabilities=[0.75, 0.25, 0.0],
        arm="finetuned",
        propensity=0.75,
        policy="rules",
        policy_version="0123456789abcdef",
        objective="balanced",
        weights={"quality": 1.0, "cost_usd": -20.0},
        expected={"quality": [0.6, 0.62, 0.64]},
        query=f"question {number}?",
        features=bytes(range(64)),
        feature_version="test-1",
        attributes={"audience": "regulated", "beta": True},
        audit=True,
        candidate="fedcba9876543210",
        candidate_probabilities=[0.25, 0.75, 0.0],
        candidate_share=0.1,
    )


def answer(number: int, *, at: float = NOON) -> AnswerFinished:
    """The answer to the decision of that number."""
    return AnswerFinished(
        decision_id=f"decision-{number:06d}",
        at=at,
        executed_arm="finetuned",
        metrics={"cost_usd": 0.001, "latency_s": 0.5},
        evidence=[Evidence("passage-1", 0.9)],
        retrieval=RetrievalEvidence(count=1, top_score=0.9, newest_age_s=60.0, cited=1),
        failures=["hybrid: model finetuned answered 500"],
    )


def feedback(number: int, *, key: str = "a", at: float = NOON, value: float = 1.0) -> FeedbackGiven:
    """Feedback on the decision of that number; another key is another feedback."""
    return FeedbackGiven(
        feedback_id=f"feedback-{number:06d}-{key}",
        decision_id=f"decision-{number:06d}",
        metric="quality",
        value=value,
        at=at,
    )
