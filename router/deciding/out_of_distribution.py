"""Queries that the serving policy doesn't know: flagged, and sent to the configured safe arm."""

from collections.abc import Sequence

from policies.arms import Arm
from policies.eligibility import Eligibility
from policies.settings import OutOfDistributionSettings


def keep_to_safe_arm(
    eligible: Eligibility,
    arms: Sequence[Arm],
    settings: OutOfDistributionSettings,
    p_value: float,
) -> Eligibility:
    """The eligibility of a flagged query: the safe arm (or the safe route's arms) alone.

    The other arms are masked before the draw, so that a lone safe arm's propensity is exactly 1.
    Without a safe arm, or where it may not be taken, the query is decided as usual; the notes say
    so.
    """
    flagged = f"out of distribution: the policy knows few queries like this one (p = {p_value:.4f})"
    safe = settings.safe_arm
    if safe is None:
        return Eligibility(eligible.why_not, [*eligible.rules, flagged])
    is_safe = [safe in (arm.name, arm.route) for arm in arms]
    if not any(fits and free for fits, free in zip(is_safe, eligible.mask, strict=True)):
        missed = f"{flagged}; the safe arm {safe} isn't eligible, so it is decided as usual"
        return Eligibility(eligible.why_not, [*eligible.rules, missed])
    masked = f"out of distribution: {safe} is the safe arm"
    why_not = [
        reason if reason is not None or fits else masked
        for reason, fits in zip(eligible.why_not, is_safe, strict=True)
    ]
    return Eligibility(why_not, [*eligible.rules, f"{flagged}; kept to the safe arm {safe}"])
