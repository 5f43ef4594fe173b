"""A candidate beside the incumbent: first in shadow, then with a share of the draws.

Rounds are logged with the candidate's probabilities, so that what it is worth can be told from the
incumbent's while both serve. What the watch has found so far is kept beside it.
"""

from typing import Literal

import msgspec

from policies.errors import ShareError

Stage = Literal["shadow", "canary"]
Outcome = Literal["promoted", "rolled_back", "replaced"]
WatchVerdict = Literal["watching", "worse", "ready"]


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate's stage and its share of the draws, 0 in shadow.

    `at` is when the share was set, `began` when the stage was entered (seconds since the epoch,
    UTC): evidence counts from there, since a round's worth doesn't depend on the share. `incumbent`
    is the active version at that time, empty for the built-in rules.
    """

    version: str
    stage: Stage
    share: float
    began: float
    at: float
    incumbent: str = ""
    by: str = ""
    note: str = ""

    @property
    def key(self) -> str:
        """What names this stage of this candidate, whatever its share."""
        return f"{self.stage}:{self.version}:{self.began!r}"


class EndedRollout(msgspec.Struct, frozen=True, kw_only=True):
    """How a rollout ended, when, by whom and why."""

    rollout: Rollout
    outcome: Outcome
    at: float
    by: str = ""
    note: str = ""


class WatchedMetric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric's advantage of the candidate, in the metric's unit, positive where it is better.

    `rounds` is how many reported rounds it is from; `lower` and `upper` are one-sided bounds that
    hold at every look.
    """

    metric: str
    rounds: int
    advantage: float
    lower: float
    upper: float
    tolerance: float


class WatchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the watch has found of the rollout named by `key`; `state` is its own business."""

    key: str
    at: float
    verdict: WatchVerdict
    metrics: list[WatchedMetric]
    state: bytes = b""


def stage_of(share: float) -> Stage:
    """`shadow` for 0, `canary` for any share between 0 and 1.

    Raises:
        ShareError: it is neither.
    """
    if share == 0.0:
        return "shadow"
    check_canary_share(share)
    return "canary"


def check_canary_share(share: float) -> None:
    """Raise ShareError unless a canary can have this share of the draws."""
    if not 0.0 < share < 1.0:  # NaN compares false
        raise ShareError(
            f"a canary's share lies between 0 and 1, not at {share:g}: 0.05 gives the candidate "
            "one draw in twenty; shadow gives it none, activating it all",
            field="share",
        )
