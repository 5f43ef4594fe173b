"""A small world with known rewards, whose decisions are logged as a rollout's are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from policies.events import DecisionMade
from policies.exploration import Exploration, arm_probabilities
from router.deciding.candidate_draws import mixture

ARMS = ["finetuned", "retrieve", "hybrid"]
CANDIDATE = "fedcba9876543210"

EXPLORATION = Exploration()


@dataclass(frozen=True)
class World:
    """Two kinds of queries, evenly; by kind the chance that each arm's answer is good.

    `incumbent` and `candidate` are by kind the arm each likes best; `reporting` is by arm the
    chance that a decision gets feedback; `expected` what the incumbent expects of each arm.
    """

    good: Sequence[Sequence[float]]
    incumbent: Sequence[int]
    candidate: Sequence[int]
    share: float
    reporting: Sequence[float] = (1.0, 1.0, 1.0)
    expected: Sequence[float] | None = None
    exploration: Exploration = EXPLORATION

    def probabilities(self, likes: Sequence[int]) -> np.ndarray:
        """(2, A) by kind, of a policy that likes these arms."""
        utilities = np.zeros((2, len(ARMS)))
        utilities[[0, 1], list(likes)] = 1.0
        return arm_probabilities(utilities, np.ones_like(utilities, dtype=bool), self.exploration)

    @property
    def advantage(self) -> float:
        """The candidate's true advantage."""
        difference = self.probabilities(self.candidate) - self.probabilities(self.incumbent)
        return float((difference * np.array(self.good)).sum(axis=1).mean())

    def rounds(self, n: int, seed: int) -> Iterator[tuple[DecisionMade, float | None]]:
        """n decisions, each with its reward where it is reported."""
        draws = np.random.default_rng(seed)
        incumbent, candidate = (
            self.probabilities(self.incumbent),
            self.probabilities(self.candidate),
        )
        mixed = mixture(incumbent, candidate, self.share) if self.share else incumbent
        for number in range(n):
            kind = int(draws.integers(2))
            arm = int(draws.choice(len(ARMS), p=mixed[kind]))
            reward = float(draws.random() < self.good[kind][arm])
            reported = draws.random() < self.reporting[arm]
            event = DecisionMade(
                decision_id=f"decision-{seed}-{number:06d}",
                at=1_000.0 + number,
                arms=ARMS,
                eligible=ARMS,
                probabilities=mixed[kind].tolist(),
                arm=ARMS[arm],
                propensity=float(mixed[kind][arm]),
                policy="incumbent",
                policy_version="0123456789abcdef",
                objective="quality",
                weights={"quality": 1.0},
                expected={} if self.expected is None else {"quality": list(self.expected)},
                candidate=CANDIDATE,
                candidate_probabilities=candidate[kind].tolist(),
                candidate_share=self.share,
            )
            yield event, reward if reported else None
