"""The part of the configuration that decides: arms, objectives, budgets, exploration, rules.

The service's own settings extend it; the training command line reads just this part of the same
file. docs/configuration.md documents every key, and a test holds it to that.
"""

import re
from pathlib import Path
from typing import Literal, get_args

import msgspec

from policies.arms import DEFAULT_ARMS, Arm, Route, did_you_mean
from policies.budget import BudgetSettings, with_cost_weight
from policies.errors import ObjectiveError
from policies.exploration import Exploration
from policies.objective import CUSTOM, DEFAULT_OBJECTIVE, DEFAULT_OBJECTIVES, check_weights
from policies.strict_toml import decode_strictly, read_toml, require_known
from policies.tenant_settings import TenantSettings, tenant_exploration

AttributeValue = str | bool | float
SearchStrategy = Literal["vector", "text", "hybrid"]
TenantScope = Literal["own", "all"]
MAX_PRIOR = 1e9
# The tables of the same file that only the service reads.
SERVICE_TABLES = (
    "models",
    "retrievers",
    "answers",
    "breakers",
    "redis",
    "log",
    "encoding",
    "drift",
    "audit",
    "auth",
    "rollout",
)
_ROUTES = frozenset(get_args(Route))
_ARM_NAME = re.compile(r"[\w.:-]{1,64}")


class ArmSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[arms.NAME]` table.

    `model` and `retriever` name tables of the same file; `k` is the number of passages a retrieval
    gives, `steps` the greatest number of retrievals. `tenants` is whose passages may be found: the
    caller's own and those that belong to nobody, or everybody's. `max_age_days` leaves older
    passages out, and `context_chars` bounds what of them stands in a prompt. `expected` holds
    priors by metric, used until a policy is learned.
    """

    route: Route
    model: str | None = None
    retriever: str | None = None
    k: int = 5
    steps: int = 1
    strategy: SearchStrategy = "hybrid"
    tenants: TenantScope = "own"
    max_age_days: float | None = None
    context_chars: int = 12_000
    expected: dict[str, float] = {}

    def __post_init__(self) -> None:
        for name, most in (("k", 100), ("steps", 20), ("context_chars", 1_000_000)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must lie in 1..{most}, not at {getattr(self, name)}")
        if self.max_age_days is not None and not self.max_age_days > 0.0:
            raise ValueError(f"max_age_days must be above 0, not {self.max_age_days}")
        for metric, value in self.expected.items():
            if not abs(value) <= MAX_PRIOR:
                raise ValueError(
                    f"expected.{metric} must be a number of sensible size, not {value}"
                )
        if not 0.0 <= self.expected.get("quality", 0.0) <= 1.0:
            raise ValueError(f"expected.quality lies in 0..1, not at {self.expected['quality']}")


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


class OutOfDistributionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[out_of_distribution]`: queries unlike those that the policy was trained on.

    `alpha` is the share of queries from the training distribution that may be flagged, 0 to flag
    none; `safe_arm` names the arm, or the route, that flagged queries are kept to.
    """

    alpha: float = 0.005
    safe_arm: str | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha < 1.0:
            raise ValueError(f"alpha must lie from 0 to below 1, not at {self.alpha}")


def allows(rule: RuleSettings, arm: Arm) -> bool:
    """Whether a rule that applies leaves an arm in."""
    named = {arm.name, arm.route}
    if "sources" in rule.require and not arm.retrieves:
        return False
    if named & set(rule.forbid):
        return False
    return not rule.only or bool(named & set(rule.only))


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision depends on, apart from the learned policy."""

    arms: dict[str, ArmSettings] = {}
    objectives: dict[str, dict[str, float]] = {}
    default_objective: str = DEFAULT_OBJECTIVE
    budgets: dict[str, BudgetSettings] = {}
    exploration: Exploration = Exploration()
    tenants: dict[str, TenantSettings] = {}
    rules: list[RuleSettings] = []
    out_of_distribution: OutOfDistributionSettings = OutOfDistributionSettings()
    encoder: str = "static"

    def __post_init__(self) -> None:
        self._check_arms()
        for name, weights in self.objectives.items():
            try:
                check_weights(weights, frozenset(), field=f"objectives.{name}")
            except ObjectiveError as error:
                raise ValueError(f"objectives.{name}: {error}") from error
        self._check_budgets()
        self._check_tenants()
        if self.default_objective not in self.all_objectives():
            hint = did_you_mean(self.default_objective, self.all_objectives())
            raise ValueError(f"default_objective {self.default_objective!r} isn't defined{hint}")
        known = {*self.known_arm_names(), *_ROUTES}
        self._check_safe_arm()
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

    def _check_safe_arm(self) -> None:
        safe = self.out_of_distribution.safe_arm
        known = {name for arm in self.arm_list() for name in (arm.name, arm.route) if name}
        if safe is not None and safe not in known:
            raise ValueError(
                f"out_of_distribution.safe_arm names {safe!r}, which is no configured arm, nor the "
                f"route of one{did_you_mean(safe, known)}"
            )

    def _check_arms(self) -> None:
        for name, arm in self.arms.items():
            if not _ARM_NAME.fullmatch(name):
                raise ValueError(
                    f"arms.{name!r}: an arm's name has 1 to 64 letters, digits and any of _.:-"
                )
            if name in _ROUTES and name != arm.route:
                raise ValueError(f"arms.{name} is named like a route that it doesn't take")
        always = [rule for rule in self.rules if rule.when is None]
        if always and not any(all(allows(rule, arm) for rule in always) for arm in self.arm_list()):
            raise ValueError("the rules without `when` leave no arm to draw from")

    def _check_budgets(self) -> None:
        objectives = self.plain_objectives()
        for name, budget in self.budgets.items():
            if name in objectives or name == CUSTOM:
                raise ValueError(
                    f"budgets.{name} has the name of an objective: requests couldn't tell which "
                    "they ask for; rename one"
                )
            if budget.objective not in objectives:
                raise ValueError(
                    f"budgets.{name}.objective names {budget.objective!r}, which is no objective"
                    f"{did_you_mean(budget.objective, objectives)}"
                )

    def _check_tenants(self) -> None:
        objectives = self.plain_objectives()
        for name, tenant in self.tenants.items():
            for key, wanted, known in (
                ("objective", tenant.objective, objectives),
                ("budget", tenant.budget, self.budgets),
            ):
                if wanted is not None and wanted not in known:
                    raise ValueError(
                        f"tenants.{name}.{key} names {wanted!r}, which is no {key}"
                        f"{did_you_mean(wanted, known)}"
                    )
            unknown = set(tenant.exploration) - set(Exploration.__struct_fields__)
            for key in sorted(unknown):
                raise ValueError(
                    f"tenants.{name}.exploration has an unknown key {key!r}"
                    f"{did_you_mean(key, Exploration.__struct_fields__)}"
                )
            try:
                tenant_exploration(self.exploration, tenant.exploration)
            except msgspec.ValidationError as error:
                raise ValueError(f"tenants.{name}.exploration: {error}") from error

    def known_arm_names(self) -> list[str]:
        """The configured arms' names, or the default ones."""
        return [arm.name for arm in self.arm_list()]

    def arm_list(self) -> tuple[Arm, ...]:
        """The arms in configured order; without any, the three default arms."""
        if not self.arms:
            return DEFAULT_ARMS
        return tuple(Arm(name, arm.route, arm.expected) for name, arm in self.arms.items())

    def plain_objectives(self) -> dict[str, dict[str, float]]:
        """The built-in objectives, with the configured ones added or put in their place."""
        return {**DEFAULT_OBJECTIVES, **self.objectives}

    def all_objectives(self) -> dict[str, dict[str, float]]:
        """What a request may name: the objectives, and the budgets with their first cost weight."""
        plain = self.plain_objectives()
        budgets = {
            name: with_cost_weight(plain[budget.objective], budget.metric, budget.weight)
            for name, budget in self.budgets.items()
        }
        return {**plain, **budgets}

    def exploration_of(self, tenant: str) -> Exploration:
        """The exploration that a tenant's decisions have once a policy is promoted."""
        own = self.tenants.get(tenant)
        if own is None or not own.exploration:
            return self.exploration
        return tenant_exploration(self.exploration, own.exploration)

    def tenant_guardrails(self) -> dict[str, dict[str, float]]:
        """By tenant and metric, the worsening that the gate tolerates for its decisions."""
        return {name: own.guardrails for name, own in self.tenants.items() if own.guardrails}


def read_policy_settings(path: Path | None) -> PolicySettings:
    """The deciding part of a configuration file; the service's own tables are left to the service.

    Raises:
        SettingsError: the file can't be read, a key of this part is wrong, or a table is neither's.
    """
    if path is None:
        return PolicySettings()
    mine = [field.encode_name for field in msgspec.structs.fields(PolicySettings)]
    raw = read_toml(path)
    require_known(raw, (*mine, *SERVICE_TABLES))
    return decode_strictly({k: v for k, v in raw.items() if k in mine}, PolicySettings)
