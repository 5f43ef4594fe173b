"""Which arms a request may take."""

import pytest

from policies.arms import DEFAULT_ARMS
from policies.eligibility import eligibility
from policies.errors import ArmError
from policies.settings import AttributeValue, RuleCondition, RuleSettings

ALL = [True, True, True]


def mask(
    *rules: RuleSettings,
    attributes: dict[str, AttributeValue] | None = None,
    wanted: list[str] | None = None,
) -> list[bool]:
    return eligibility(DEFAULT_ARMS, rules, attributes or {}, wanted).mask


def test_without_rules_or_wishes_every_arm_may_be_taken() -> None:
    assert mask() == ALL


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (RuleSettings(require=["sources"]), [False, True, True]),
        (RuleSettings(forbid=["hybrid"]), [True, True, False]),
        (RuleSettings(only=["finetuned", "hybrid"]), [True, False, True]),
    ],
)
def test_each_effect_masks_its_arms(rule: RuleSettings, expected: list[bool]) -> None:
    assert mask(rule) == expected


@pytest.mark.parametrize(
    ("attributes", "applies"),
    [
        ({"audience": "regulated"}, True),
        ({"audience": "public"}, False),
        ({}, False),
    ],
)
def test_a_rule_applies_where_its_condition_is_met(
    attributes: dict[str, AttributeValue], applies: bool
) -> None:
    rule = RuleSettings(when=RuleCondition("audience", "regulated"), require=["sources"])
    assert mask(rule, attributes=attributes) == ([False, True, True] if applies else ALL)


@pytest.mark.parametrize("wish", ["true", 1.0])
def test_a_wish_for_sources_that_is_no_flag_is_refused_not_ignored(wish: AttributeValue) -> None:
    with pytest.raises(ArmError, match="true or false"):
        mask(attributes={"require_sources": wish})


def test_a_flag_is_no_number() -> None:
    rule = RuleSettings(when=RuleCondition("level", 1), forbid=["hybrid"])
    assert mask(rule, attributes={"level": True}) == ALL
    assert mask(rule, attributes={"level": 1}) == [True, True, False]


def test_rules_and_wishes_add_up_and_the_first_reason_is_kept() -> None:
    found = eligibility(DEFAULT_ARMS, [RuleSettings(require=["sources"])], {}, ["finetuned"])
    assert found.mask == [False, False, False]
    assert found.why_not == [
        "rule: always requires sources",
        "not among the request's arms",
        "not among the request's arms",
    ]


def test_an_unknown_arm_names_its_place_and_the_nearest() -> None:
    with pytest.raises(ArmError, match="did you mean 'retrieve'") as caught:
        mask(wanted=["hybrid", "retreive"])
    assert caught.value.field == "arms[1]"
