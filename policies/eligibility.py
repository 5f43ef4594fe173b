"""Which arms a request may take: the owner's rules, and the arms the request itself names."""

from collections.abc import Mapping, Sequence

from policies.arms import Arm, arm_names, require_known
from policies.errors import ArmError
from policies.settings import AttributeValue, RuleSettings, allows

# A request may ask for sources by itself, without any rule.
REQUIRE_SOURCES = "require_sources"


class Eligibility:
    """For each arm why it may not be taken, None where it may; and the rules that applied.

    `mask` says which arms may be drawn, in order.
    """

    __slots__ = ("mask", "rules", "why_not")

    def __init__(self, why_not: list[str | None], rules: list[str]) -> None:
        self.why_not, self.rules = why_not, rules
        self.mask = [reason is None for reason in why_not]


def eligibility(
    arms: Sequence[Arm],
    rules: Sequence[RuleSettings],
    attributes: Mapping[str, AttributeValue],
    wanted: Sequence[str] | None,
    unavailable: Mapping[str, str] = {},
) -> Eligibility:
    """Mask the arms that the rules or the request's own wish rule out, or that can't be taken now.

    `unavailable` says by arm why it can't.

    Raises:
        ArmError: an arm in the request isn't configured, or its wish for sources is unclear.
    """
    why_not: list[str | None] = [None] * len(arms)
    applied: list[str] = []
    if wanted is not None:
        require_known(wanted, arm_names(arms))
        _mask(why_not, [arm.name in wanted for arm in arms], "not among the request's arms")
    wish = attributes.get(REQUIRE_SOURCES, False)
    if not isinstance(wish, bool):
        # Taken for no wish, a string "true" would quietly allow answers without sources.
        raise ArmError(
            f"{REQUIRE_SOURCES} must be true or false, not {wish!r}",
            field=f"attributes.{REQUIRE_SOURCES}",
        )
    if wish:
        applied.append(f"{REQUIRE_SOURCES}: the request asks for sources")
        _mask(why_not, [arm.retrieves for arm in arms], "can't name sources")
    for rule in rules:
        if not _applies(rule, attributes):
            continue
        note = _describe(rule)
        applied.append(note)
        _mask(why_not, [allows(rule, arm) for arm in arms], f"rule: {note}")
    for index, arm in enumerate(arms):
        if why_not[index] is None and arm.name in unavailable:
            why_not[index] = unavailable[arm.name]
            applied.append(f"{arm.name} is left out: {unavailable[arm.name]}")
    return Eligibility(why_not, applied)


def _mask(why_not: list[str | None], allowed: Sequence[bool], reason: str) -> None:
    for index, allow in enumerate(allowed):
        if not allow and why_not[index] is None:
            why_not[index] = reason


def _applies(rule: RuleSettings, attributes: Mapping[str, AttributeValue]) -> bool:
    if rule.when is None:
        return True
    value = attributes.get(rule.when.attribute)
    # True == 1 in Python; a flag and a number are different wishes.
    return value == rule.when.equals and isinstance(value, bool) == isinstance(
        rule.when.equals, bool
    )


def _describe(rule: RuleSettings) -> str:
    effects = [
        f"{verb} {', '.join(names)}"
        for verb, names in (
            ("requires", rule.require),
            ("forbids", rule.forbid),
            ("only", rule.only),
        )
        if names
    ]
    when = f"{rule.when.attribute} = {rule.when.equals!r} " if rule.when else "always "
    return when + "; ".join(effects)
