"""Replaying a table: real events, known propensities, the same log for the same seed."""

from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from policies.arms import Arm
from policies.choose import choose
from policies.events import DecisionMade, FeedbackGiven
from policies.exploration import Exploration
from policies.rule_policy import RulePolicy
from tests.training.worlds import ARMS, outcome_rows, write_rows
from training.log.replay import (
    Logger,
    best_fixed_arm,
    epsilon_logger,
    passes,
    policy_logger,
    replay,
    seeded_id,
    uniform_logger,
)
from training.tables.outcomes import OutcomeTable, read_outcomes
from training.tables.query_features import QueryFeatures, query_features


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> OutcomeTable:
    path = tmp_path_factory.mktemp("replay") / "t.jsonl"
    return read_outcomes([write_rows(path, outcome_rows(60, 0))])


@pytest.fixture(scope="module")
def features(table: OutcomeTable) -> QueryFeatures:
    return query_features(table.queries)


def events(
    table: OutcomeTable, features: QueryFeatures, logger: Logger, n: int = 60, seed: int = 0
) -> list[tuple[DecisionMade, list[FeedbackGiven]]]:
    return list(
        replay(
            table, features, logger, n=n, seed=seed, objective="quality", weights={"quality": 1.0}
        )
    )


def test_each_decision_can_be_drawn_again(table: OutcomeTable, features: QueryFeatures) -> None:
    for decision, _ in events(table, features, uniform_logger(table)):
        drawn = choose(np.array(decision.probabilities), decision.decision_id)
        assert decision.arms[drawn] == decision.arm
        assert decision.propensity == decision.probabilities[drawn] == pytest.approx(1 / 3)


def test_only_the_drawn_arms_outcome_is_revealed(
    table: OutcomeTable, features: QueryFeatures
) -> None:
    for decision, values in events(table, features, uniform_logger(table)):
        row = table.queries.index(decision.query or "")
        told = {value.metric: value.value for value in values}
        known = table.values[row, table.arms.index(decision.arm)]
        assert told == dict(zip(table.metrics, known.tolist(), strict=True))


def test_the_seed_alone_fixes_the_log(table: OutcomeTable, features: QueryFeatures) -> None:
    logger = uniform_logger(table)
    assert events(table, features, logger) == events(table, features, logger)
    assert events(table, features, logger) != events(table, features, logger, seed=1)


def test_epsilon_takes_one_arm_but_for_its_share(
    table: OutcomeTable, features: QueryFeatures
) -> None:
    logger = epsilon_logger(table, 0.3, incumbent=2)
    np.testing.assert_allclose(logger.probabilities, np.tile([0.1, 0.1, 0.8], (60, 1)))
    explored = [decision for decision, _ in events(table, features, logger) if decision.explored]
    assert {decision.arm for decision in explored} <= {"none", "single"}


def test_an_incumbent_of_the_table_reveals_nothing_of_its_means(
    table: OutcomeTable, features: QueryFeatures
) -> None:
    [first, *_] = events(table, features, epsilon_logger(table, 0.3, best_fixed_arm(table)))
    assert first[0].expected == {}


def test_a_policy_logs_what_it_expects(table: OutcomeTable, features: QueryFeatures) -> None:
    policy = RulePolicy(
        [Arm(name, expected={"quality": q}) for name, q in zip(ARMS, (0.2, 0.5, 0.4), strict=True)]
    )
    logger = policy_logger(table, features, policy, {"quality": 1.0}, Exploration())
    [(decision, _), *_] = events(table, features, logger)
    assert decision.policy_version == policy.version
    assert decision.expected["quality"] == pytest.approx([0.2, 0.5, 0.4])


def test_rows_come_in_whole_passes() -> None:
    order = passes(10, 25, seed=3)
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert len(order) == 25
    assert order[:10] != order[10:20]


def test_ids_are_uuids_of_version_seven_in_order_of_time() -> None:
    ids = [seeded_id(0, index, 1.7e9 + index) for index in range(50)]
    assert {UUID(text).version for text in ids} == {7}
    assert {UUID(text).variant for text in ids} == {"specified in RFC 4122"}
    assert ids == sorted(ids)
    assert int(UUID(ids[0]).hex[:12], 16) == 1_700_000_000_000


def test_a_row_without_an_arm_never_draws_it(tmp_path: Path) -> None:
    rows = outcome_rows(40, 1)
    for row in rows[:20]:
        del row["outcomes"]["multi"]
    table = read_outcomes([write_rows(tmp_path / "t.jsonl", rows)])
    features = query_features(table.queries)
    for decision, _ in events(table, features, uniform_logger(table), n=40):
        if "multi" not in decision.eligible:
            assert decision.probabilities == [0.5, 0.5, 0.0]
            assert decision.arm != "multi"
