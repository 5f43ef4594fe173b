"""Tenants on the command line: replayed, learned from, told of."""

from pathlib import Path

import pytest

from policies.artifact import read_artifact
from tests.training.test_cli import rag_policy, ran, refused
from tests.training.worlds import outcome_rows, write_rows
from training.log.join import join_rounds
from training.log.log_files import read_log


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tenant "special" is always served best by arm none, whatever it asks."""
    rows = outcome_rows(900, 0)
    for number, row in enumerate(rows):
        row["dataset"] = "special" if number % 3 == 0 else f"usual {number % 3}"
        if row["dataset"] == "special":
            for arm, outcome in row["outcomes"].items():
                outcome["quality"] = float(arm == "none")
    return write_rows(tmp_path_factory.mktemp("table") / "t.jsonl", rows)


def replayed(table: Path, to: Path, *more: object) -> Path:
    ran("replay", "--outcomes", table, "--datasets-as-tenants", "--n", 2_700, "--to", to, *more)
    return to


@pytest.fixture(scope="module")
def logs(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return replayed(table, tmp_path_factory.mktemp("tenants") / "logs")


@pytest.fixture(scope="module")
def policy(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("policy") / "p"
    ran("train", "--logs", logs, "--to", directory, "--holdout", 0.3)
    return directory


def test_replay_takes_each_rows_dataset_as_its_tenant(logs: Path) -> None:
    rounds = join_rounds(read_log(logs), source=logs)
    assert set(rounds.tenants) == {"special", "usual 1", "usual 2"}
    datasets = [attributes["dataset"] for attributes in rounds.attributes]
    assert datasets == rounds.tenants.tolist()


def test_a_policy_that_knows_tenants_logs_what_it_expects_of_each(
    table: Path, policy: Path, tmp_path: Path
) -> None:
    rounds = join_rounds(
        read_log(replayed(table, tmp_path / "logs", "--logger", policy)), source=tmp_path
    )
    none = rounds.expected[:, rounds.arms.index("none"), rounds.metrics.index("quality")]
    special = rounds.tenants == "special"
    assert none[special].mean() > none[~special].mean() + 0.2


def test_training_without_tenants_is_the_same_for_all(logs: Path, tmp_path: Path) -> None:
    ran("train", "--logs", logs, "--to", tmp_path / "p", "--no-tenants")
    assert not any(name.startswith("tenant") for name in read_artifact(tmp_path / "p").tensors)


def test_training_says_in_words_what_it_learned_of_tenants(logs: Path, tmp_path: Path) -> None:
    result = rag_policy("train", "--logs", logs, "--to", tmp_path / "p", "--holdout", 0)
    assert "tenants: 3 have expectations of their own in quality" in result.stdout
    assert "special" not in result.stdout


def test_a_tenant_for_all_rows_and_one_for_each_contradict(table: Path, tmp_path: Path) -> None:
    both = ("--tenant", "x", "--datasets-as-tenants", "--to", tmp_path / "l")
    refused(rag_policy("replay", "--outcomes", table, *both), "not both")
