"""The candidate's part in a decision: nothing but a note in shadow, a share of the draw in canary.

One draw is made from one mixture, so its propensity is true whoever would have drawn what, and the
log can tell what either policy is worth.
"""

from typing import NamedTuple

import msgspec
import numpy as np

from policies.events import DecisionMade
from policies.exploration import Bools, Floats


class CandidateDraws(NamedTuple):
    """What n requests are drawn with while a candidate is in shadow or canary.

    probabilities (n, A): the mixture; version and share: the candidate's; candidate (n, A): what it
    would draw with; takes_part (n,): whether it has a part in this request.
    """

    probabilities: Floats
    version: str = ""
    share: float = 0.0
    candidate: Floats | None = None
    takes_part: Bools | None = None

    def _has_part(self, row: int) -> bool:
        return self.takes_part is not None and bool(self.takes_part[row])

    def mark(self, event: DecisionMade, row: int) -> DecisionMade:
        """The event, with the candidate's part in it."""
        if self.candidate is None or not self._has_part(row):
            return event
        return msgspec.structs.replace(
            event,
            candidate=self.version,
            candidate_probabilities=self.candidate[row].tolist(),
            candidate_share=self.share,
        )

    def reasons(self, row: int) -> list[str]:
        """That a canary is on, for people; a candidate in shadow is no reason for anything."""
        if not self.share or not self._has_part(row):
            return []
        return [f"canary: candidate {self.version} has a share of {self.share:g} in this draw"]


def draws_with_candidate(
    incumbent: Floats, candidate: Floats, takes_part: Bools, version: str, share: float
) -> CandidateDraws:
    """The draws of n requests.

    Args:
        incumbent: (n, A) the serving policy's probabilities.
        candidate: (n, A) the candidate's.
        takes_part: (n,) requests in which the candidate has a part; the others are drawn by the
            incumbent alone and say nothing of the candidate.
        version: the candidate's.
        share: its part of the mixture, 0 in shadow.
    """
    probabilities = incumbent
    if share > 0.0:
        mixed = mixture(incumbent, candidate, share)
        probabilities = np.where(takes_part[:, None], mixed, incumbent)
    return CandidateDraws(probabilities, version, share, candidate, takes_part)


def mixture(incumbent: Floats, candidate: Floats, share: float) -> Floats:
    """(n, A) (1 − share) · incumbent + share · candidate; rows sum to 1, a lone arm has 1."""
    mixed = (1.0 - share) * incumbent + share * candidate
    rows, likeliest = np.arange(len(mixed)), mixed.argmax(axis=1)
    mixed[rows, likeliest] = 0.0
    mixed[rows, likeliest] = 1.0 - mixed.sum(axis=1)
    return np.asarray(mixed)
