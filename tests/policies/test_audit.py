"""Audits are random, repeatable, and independent of the draw."""

from policies.audit import is_audited
from policies.choose import uniform_draw

IDS = [f"decision-{number}" for number in range(20_000)]


def test_the_share_of_decisions_is_audited() -> None:
    """Null: 2 % of 20,000. The ids are fixed; a random set would fail once in 15,000 times."""
    marked = sum(is_audited(decision_id, 0.02) for decision_id in IDS)
    assert abs(marked - 400) < 4 * 19.8
    assert not any(is_audited(decision_id, 0.0) for decision_id in IDS)
    assert all(is_audited(decision_id, 1.0) for decision_id in IDS)


def test_the_same_decision_is_always_treated_alike_and_more_share_only_adds() -> None:
    few = {decision_id for decision_id in IDS if is_audited(decision_id, 0.02)}
    assert few == {decision_id for decision_id in IDS if is_audited(decision_id, 0.02)}
    assert few < {decision_id for decision_id in IDS if is_audited(decision_id, 0.1)}


def test_audits_do_not_depend_on_the_draw() -> None:
    """The draws of audited decisions are uniform: their mean within 4 standard errors of a half."""
    draws = [uniform_draw(decision_id) for decision_id in IDS if is_audited(decision_id, 0.1)]
    assert abs(sum(draws) / len(draws) - 0.5) < 4 * (1 / 12) ** 0.5 / len(draws) ** 0.5
