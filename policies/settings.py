"""The part of the configuration that decides: arms, objectives, exploration, rules, encoder.

The service's own settings extend it; the training command line reads just this part of the same
file. docs/configuration.md documents every key, and a test holds it to that.
"""

from pathlib import Path
from typing import Any

import msgspec

from policies.arms import DEFAULT_ARMS, Arm, Route, did_you_mean
from policies.errors import ObjectiveError
from policies.exploration import Exploration
from policies.objective import DEFAULT_OBJECTIVE, DEFAULT_OBJECTIVES, check_weights
from policies.strict_toml import decode_strictly, read_toml

AttributeValue = str | bool | int | float


class ArmSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[arms.NAME]` table.

    `model` and `retriever` name tables of the same file; `k` is the number of passages, `steps`
    the greatest number of retrievals. `expected` holds priors by metric, used until a policy is
    learned.
    """

    route: Route
    model: str | None = None
    retriever: str | None = None
    k: int = 5
    steps: int = 1
    expected: dict[str, float] = {}


class RuleCondition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a rule applies: a request's attribute equals a value."""

    attribute: str
    equals: AttributeValue


class RuleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[rules]]` table: masks arms for requests that meet its condition (or for all).

    `require = ["sources"]` masks arms that can't cite; `forbid` and `only` name arms or routes.
    """

    when: RuleCondition | None = None
    require: list[str] = []
    forbid: list[str] = []
    only: list[str] = []


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision depends on, apart from the learned policy."""

    arms: dict[str, ArmSettings] = {}
    objectives: dict[str, dict[str, float]] = {}
    default_objective: str = DEFAULT_OBJECTIVE
    exploration: Exploration = Exploration()
    rules: list[RuleSettings] = []
    encoder: str = "static"

    def __post_init__(self) -> None:
        for name, weights in self.objectives.items():
            try:
                check_weights(weights, frozenset(), field=f"objectives.{name}")
            except ObjectiveError as error:
                raise ValueError(f"objectives.{name}: {error}") from error
        if self.default_objective not in self.all_objectives():
            hint = did_you_mean(self.default_objective, self.all_objectives())
            raise ValueError(f"default_objective {self.default_objective!r} isn't defined{hint}")
        known = {*self.known_arm_names(), "finetuned", "retrieve", "hybrid"}
        for index, rule in enumerate(self.rules):
            if not (rule.require or rule.forbid or rule.only):
                raise ValueError(f"rules[{index}] does nothing: give it require, forbid or only")
            for name in rule.require:
                if name != "sources":
                    raise ValueError(f"rules[{index}].require knows only 'sources', not {name!r}")
            for name in (*rule.forbid, *rule.only):
                if name not in known:
                    raise ValueError(
                        f"rules[{index}] names {name!r}, which is no arm or route"
                        f"{did_you_mean(name, known)}"
                    )

    def known_arm_names(self) -> list[str]:
        """The configured arms' names, or the default ones."""
        return [arm.name for arm in self.arm_list()]

    def arm_list(self) -> tuple[Arm, ...]:
        """The arms in configured order; without any, the three default arms."""
        if not self.arms:
            return DEFAULT_ARMS
        return tuple(Arm(name, arm.route, arm.expected) for name, arm in self.arms.items())

    def all_objectives(self) -> dict[str, dict[str, float]]:
        """The built-in objectives, with the configured ones added or put in their place."""
        return {**DEFAULT_OBJECTIVES, **self.objectives}


def read_policy_settings(path: Path | None) -> PolicySettings:
    """The deciding part of a configuration file; its other tables are left to the service.

    Raises:
        SettingsError: the file can't be read, or a key of this part is wrong.
    """
    if path is None:
        return PolicySettings()
    known = {field.encode_name for field in msgspec.structs.fields(PolicySettings)}
    raw: dict[str, Any] = {key: value for key, value in read_toml(path).items() if key in known}
    return decode_strictly(raw, PolicySettings)
