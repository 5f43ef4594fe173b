"""What a tenant may have of its own: an objective or a budget, exploration, the gate's guardrails.

A tenant is whoever the caller says it is: these are settings, not a right of access.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from policies.exploration import Exploration


class TenantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[tenants.NAME]` table.

    `objective` or `budget` names what applies to the tenant's requests that name no objective;
    `exploration` has the keys of `[exploration]` that differ; `guardrails` gives, by metric, how
    much worse than the incumbent a candidate may be for this tenant.
    """

    objective: str | None = None
    budget: str | None = None
    exploration: dict[str, Any] = {}
    guardrails: dict[str, float] = {}

    def __post_init__(self) -> None:
        if self.objective is not None and self.budget is not None:
            raise ValueError("give objective or budget, not both: a budget names its objective")
        for metric, tolerance in self.guardrails.items():
            if not 0.0 <= tolerance < float("inf"):
                raise ValueError(
                    f"guardrails.{metric} is a worsening to tolerate, at least 0, not {tolerance}"
                )

    def default_objective(self, otherwise: str) -> str:
        """The name of the objective of its requests that name none."""
        return self.budget or self.objective or otherwise


def tenant_exploration(base: Exploration, overrides: Mapping[str, Any]) -> Exploration:
    """The service's exploration with a tenant's own keys in their place.

    Raises:
        msgspec.ValidationError: a key is unknown, or its value is wrong.
    """
    whole = {**msgspec.structs.asdict(base), **overrides}
    return msgspec.convert(whole, Exploration)
