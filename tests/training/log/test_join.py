"""From the log's tables to rounds."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from policies.events import AnswerFinished, DecisionMade, FeedbackGiven
from tests.event_factory import NOON, answer, decision, feedback
from training.errors import EmptyLogError, InputError
from training.log.join import join_rounds
from training.log.log_files import (
    Log,
    answers_table,
    decisions_table,
    feedback_table,
    read_log,
    write_part,
)
from training.remarks import remarks

SOURCE = Path("logs")


def log_of(
    directory: Path,
    decisions: list[DecisionMade],
    feedback: list[FeedbackGiven] = [],  # noqa: B006 - never changed
    answers: list[AnswerFinished] = [],  # noqa: B006
) -> Log:
    write_part(decisions_table(decisions), directory, "decisions", "a")
    write_part(feedback_table(feedback), directory, "feedback", "a")
    write_part(answers_table(answers), directory, "answers", "a")
    return read_log(directory)


def test_a_round_holds_what_was_decided(tmp_path: Path) -> None:
    rounds = join_rounds(log_of(tmp_path, [decision(1)], [feedback(1)]), source=SOURCE)
    assert rounds.arms == ("finetuned", "retrieve", "hybrid")
    assert rounds.action.tolist() == [0]
    assert rounds.pscore.tolist() == [0.75]
    assert rounds.probabilities.tolist() == [[0.75, 0.25, 0.0]]
    assert rounds.eligible.tolist() == [[True, True, False]]
    assert rounds.explored.tolist() == [True]
    assert rounds.metrics == ("quality",)
    assert rounds.values.tolist() == [[1.0]]
    assert rounds.expected.tolist() == [[[0.6], [0.62], [0.64]]]
    assert rounds.weights.tolist() == [[1.0]]
    assert rounds.features.shape == (1, 32)
    assert rounds.at.tolist() == [NOON]


def test_feedback_that_is_missing_stays_missing(tmp_path: Path) -> None:
    rounds = join_rounds(
        log_of(tmp_path, [decision(1), decision(2, at=NOON + 1)], [feedback(2)]), source=SOURCE
    )
    assert np.isnan(rounds.values[:, 0]).tolist() == [True, False]
    assert rounds.counts.with_feedback == 1


def test_late_feedback_joins_and_feedback_without_a_decision_is_counted(tmp_path: Path) -> None:
    late = [feedback(1, at=NOON + 90 * 86_400.0), feedback(99)]
    rounds = join_rounds(log_of(tmp_path, [decision(1)], late), source=SOURCE)
    assert rounds.values.tolist() == [[1.0]]
    assert rounds.counts.orphan_feedback == 1


def test_measured_metrics_join_and_feedback_wins_over_them(tmp_path: Path) -> None:
    measured = msgspec.structs.replace(answer(1), metrics={"cost_usd": 0.5, "quality": 0.1})
    rounds = join_rounds(log_of(tmp_path, [decision(1)], [feedback(1)], [measured]), source=SOURCE)
    assert dict(zip(rounds.metrics, rounds.values[0].tolist(), strict=True)) == {
        "quality": 1.0,
        "cost_usd": 0.5,
    }


def test_the_drawn_arm_counts_and_the_fallback_is_counted_apart(tmp_path: Path) -> None:
    fallen = msgspec.structs.replace(answer(1), executed_arm="hybrid")
    rounds = join_rounds(log_of(tmp_path, [decision(1)], answers=[fallen]), source=SOURCE)
    assert rounds.arms[rounds.action[0]] == "finetuned"
    assert rounds.counts.fallbacks == 1


def test_a_request_without_exploration_is_told_apart(tmp_path: Path) -> None:
    greedy = msgspec.structs.replace(
        decision(1), probabilities=[1.0, 0.0, 0.0], propensity=1.0, explore=False
    )
    rounds = join_rounds(log_of(tmp_path, [greedy]), source=SOURCE)
    assert rounds.explored.tolist() == [False]
    assert rounds.counts.unexplored == 1


def test_arms_that_came_later_widen_the_arm_axis(tmp_path: Path) -> None:
    wider = msgspec.structs.replace(
        decision(2, at=NOON + 1),
        arms=["retrieve", "new"],
        eligible=["retrieve", "new"],
        probabilities=[0.5, 0.5],
        arm="new",
        propensity=0.5,
        expected={"quality": [0.1, 0.2]},
        candidate_probabilities=[],
    )
    rounds = join_rounds(log_of(tmp_path, [decision(1), wider]), source=SOURCE)
    assert rounds.arms == ("finetuned", "retrieve", "hybrid", "new")
    assert rounds.candidate_probabilities.tolist() == [[0.25, 0.75, 0.0, 0.0], [0.0] * 4]
    assert rounds.attributes[0] == {"audience": "regulated", "beta": True}
    assert rounds.audited.tolist() == [True, True]
    assert rounds.probabilities[1].tolist() == [0.0, 0.5, 0.0, 0.5]
    assert rounds.action.tolist() == [0, 3]
    np.testing.assert_array_equal(rounds.expected[1, :, 0], [np.nan, 0.1, np.nan, 0.2])


def test_rounds_come_in_order_of_time_and_keep_near_duplicates_together(tmp_path: Path) -> None:
    events = [
        msgspec.structs.replace(decision(n, at=NOON - n), query_hash="same" if n != 2 else "other")
        for n in (1, 2, 3)
    ]
    rounds = join_rounds(log_of(tmp_path, events), source=SOURCE)
    assert rounds.at.tolist() == [NOON - 3, NOON - 2, NOON - 1]
    assert rounds.groups[0] == rounds.groups[2] != rounds.groups[1]


def test_only_one_kind_of_features_is_kept(tmp_path: Path) -> None:
    other = msgspec.structs.replace(decision(2, at=NOON + 1), feature_version="test-2")
    log = log_of(tmp_path, [decision(1), other])
    assert join_rounds(log, source=SOURCE).feature_version == "test-2"
    assert join_rounds(log, source=SOURCE, feature_version="test-1").counts.other_features == 1
    with pytest.raises(EmptyLogError, match="'test-3'; it has test-1, test-2"):
        join_rounds(log, source=SOURCE, feature_version="test-3")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"arm": "unheard"}, "arm"),
        ({"propensity": 0.5}, "propensity"),
        ({"propensity": 0.0}, "propensity"),
        ({"probabilities": [0.75, 0.75, 0.0]}, "probabilities"),
    ],
)
def test_a_broken_propensity_is_refused(
    tmp_path: Path, changes: dict[str, object], field: str
) -> None:
    broken = msgspec.structs.replace(decision(1), **changes)
    with pytest.raises(InputError, match=f"decisions:{field}: .*decision-000001"):
        join_rounds(log_of(tmp_path, [broken]), source=SOURCE)


def test_features_of_different_lengths_are_refused(tmp_path: Path) -> None:
    short = msgspec.structs.replace(decision(2), features=b"ab")
    with pytest.raises(InputError, match="features"):
        join_rounds(log_of(tmp_path, [decision(1), short]), source=SOURCE)


def test_a_metric_reported_for_a_handful_counts_as_never_reported(tmp_path: Path) -> None:
    """One caller's stray value must not make all other rounds incomplete."""
    decisions = [decision(n) for n in range(100)]
    given = [feedback(n) for n in range(100)]
    stray = msgspec.structs.replace(feedback(7), feedback_id="stray", metric="cost_usd", value=3.0)
    rounds = join_rounds(log_of(tmp_path, decisions, [*given, stray]), source=SOURCE)
    assert rounds.counts.rare_metrics == ["cost_usd"]
    assert rounds.observed[rounds.metrics.index("quality")]
    assert not rounds.observed[rounds.metrics.index("cost_usd")]


def test_an_absurd_value_is_left_out_and_counted(tmp_path: Path) -> None:
    wrong = msgspec.structs.replace(feedback(1), value=1e150)
    rounds = join_rounds(log_of(tmp_path, [decision(1), decision(2)], [wrong]), source=SOURCE)
    assert rounds.counts.absurd_feedback == 1
    assert np.isnan(rounds.values).all()


def test_a_log_with_neither_feedback_nor_expectations_says_what_to_do(tmp_path: Path) -> None:
    silent = msgspec.structs.replace(decision(1), expected={})
    with pytest.raises(EmptyLogError, match="no decision has feedback"):
        join_rounds(log_of(tmp_path, [silent]), source=SOURCE)


def test_a_drawn_arm_that_was_not_eligible_is_refused(tmp_path: Path) -> None:
    wrong = msgspec.structs.replace(decision(1), eligible=["retrieve", "stranger"])
    with pytest.raises(InputError, match="lacks the drawn arm"):
        join_rounds(log_of(tmp_path, [wrong]), source=SOURCE)


def test_a_metric_too_rare_to_learn_from_is_feedback_all_the_same(tmp_path: Path) -> None:
    decisions = [decision(number, at=NOON + number) for number in range(33)]
    rounds = join_rounds(log_of(tmp_path, decisions, [feedback(1)]), source=SOURCE)
    assert rounds.counts.with_feedback == 1
    assert rounds.counts.rare_metrics == ["quality"]
    lines = list(remarks(rounds))
    assert lines[0].startswith("note: 32 of 33 decisions have no feedback yet")
    assert any("too few decisions to learn from" in line for line in lines)


def test_decisions_whose_feedback_may_be_on_its_way_are_left_for_a_later_log(
    tmp_path: Path,
) -> None:
    """One decision a second; every other is reported, a hundred seconds later."""
    decisions = [decision(number, at=NOON + number) for number in range(1_000)]
    reported = [feedback(n, at=NOON + n + 100.0) for n in range(0, 900, 2)]
    rounds = join_rounds(log_of(tmp_path, decisions, reported), source=SOURCE)
    assert rounds.counts.pending == 100
    assert rounds.at.max() == NOON + 899.0
    assert (~np.isnan(rounds.values)).mean() == pytest.approx(0.5, abs=0.01)
    assert any("100 of 1,000 decisions are so young" in line for line in remarks(rounds))


def test_retries_and_duplicates_join_once(tmp_path: Path) -> None:
    log = log_of(tmp_path, [decision(1)], [feedback(1)])
    write_part(feedback_table([feedback(1), feedback(1)]), tmp_path, "feedback", "retry")
    write_part(decisions_table([decision(1)]), tmp_path, "decisions", "retry")
    again = join_rounds(read_log(tmp_path), source=SOURCE)
    assert len(again) == len(join_rounds(log, source=SOURCE)) == 1
    assert again.counts.feedback_values == 1
    assert again.counts.duplicate_rows == 3


@pytest.mark.parametrize("at", [float("nan"), -1e13, 1e18])
def test_a_time_that_cant_be_is_refused(tmp_path: Path, at: float) -> None:
    log = log_of(tmp_path, [decision(1), decision(2)], [feedback(1)])
    column = log.decisions.schema.get_field_index("at")
    altered = log._replace(decisions=log.decisions.set_column(column, "at", [[NOON, at]]))
    with pytest.raises(InputError, match="at: 1 decisions were made at no time that can be"):
        join_rounds(altered, source=SOURCE)


@pytest.mark.parametrize("text", ["[1, 2]", "{", "null"])
def test_attributes_that_are_no_object_are_refused(tmp_path: Path, text: str) -> None:
    log = log_of(tmp_path, [decision(1), decision(2)], [feedback(1)])
    column = log.decisions.schema.get_field_index("attributes")
    altered = log._replace(decisions=log.decisions.set_column(column, "attributes", [[None, text]]))
    with pytest.raises(InputError, match="attributes: row 2 holds no JSON object"):
        join_rounds(altered, source=SOURCE)
