"""What a policy keeps of a tenant: numbers over many queries, never a query or its vector."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from policies.artifact import Artifact, pack_artifact, read_artifact
from policies.question import QUESTION_FEATURES
from tests.training.test_cli import ran
from tests.training.worlds import outcome_rows, write_rows
from training.log.join import join_rounds
from training.log.log_files import read_log
from training.log.rounds import LoggedRounds

QUESTION_COLUMNS = len(QUESTION_FEATURES)
SECRET, MARKER = "secretive-ltd", "zyxquor"
# The confidential question that one tenant asks again and again.
REPEATED = f"What did {MARKER} pay for the {MARKER}ian acquisition?"


class Learned(NamedTuple):
    artifact: Artifact
    rounds: LoggedRounds


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """A policy trained on a log in which one of three tenants asks what nobody else asks."""
    folder = tmp_path_factory.mktemp("tenants")
    # The repeated question is a ninth of all rows and lies in one fold: with 900 rows, how the
    # folds fall decides whether offsets are seen to help.
    rows = outcome_rows(1_800, 0)
    for number, row in enumerate(rows):
        row["dataset"] = ("globex", "initech", SECRET)[number % 3]
        if row["dataset"] == SECRET:
            # A third asks the same, a third is like nobody else's, a third like everybody's.
            if number % 9 == 2:
                row["query"] = REPEATED
            elif number % 9 == 5:
                row["query"] = f"{row['query']} ({MARKER} {number})"
            for arm, outcome in row["outcomes"].items():
                outcome["quality"] = float(arm == "none")
    table, logs = write_rows(folder / "t.jsonl", rows), folder / "logs"
    ran("replay", "--outcomes", table, "--datasets-as-tenants", "--n", 5_400, "--to", logs)
    ran("train", "--logs", logs, "--to", folder / "policy", "--holdout", 0)
    rounds = join_rounds(read_log(logs), source=logs)
    return Learned(read_artifact(folder / "policy"), rounds)


def of(learned: Learned, tenant: str) -> LoggedRounds:
    return learned.rounds.rows(learned.rounds.tenants == tenant)


def test_the_log_has_what_must_not_leak_and_the_policy_has_learned_from_it(
    learned: Learned,
) -> None:
    assert learned.artifact.manifest.evaluation["tenants"]["tenants"] == 3
    mine = of(learned, SECRET)
    assert len(mine) > 800
    repeats = np.bincount(np.unique(mine.query_hashes.astype(str), return_inverse=True)[1])
    assert repeats.max() > 200


def test_neither_names_nor_text_nor_identifiers_are_in_the_artifact(learned: Learned) -> None:
    content = b"".join(pack_artifact(learned.artifact).values()).lower()
    mine = of(learned, SECRET)
    identifiers = {*mine.query_hashes.tolist(), *mine.decision_ids.tolist()}
    for text in (SECRET, MARKER, "acquisition", *identifiers):
        assert text.encode() not in content
    for query_hash in set(mine.query_hashes.tolist()):
        assert bytes.fromhex(query_hash) not in content


def test_no_feature_row_is_in_the_artifact(learned: Learned) -> None:
    content = pack_artifact(learned.artifact)["tensors.safetensors"]
    rows = np.unique(of(learned, SECRET).features, axis=0)
    for row in rows:
        for dtype in ("<f2", "<f4", "<f8"):
            assert row.astype(dtype).tobytes()[:64] not in content


def test_no_row_of_a_tensor_points_where_a_query_does(learned: Learned) -> None:
    """Scaled, centred or rounded, a query's vector would still correlate with itself; the mean of
    ten queries that differ in a number comes near to each of them, but not that near.
    """
    embeddings = np.unique(of(learned, SECRET).features[:, :-QUESTION_COLUMNS], axis=0)
    mean = learned.rounds.features[:, :-QUESTION_COLUMNS].mean(axis=0)
    for name, rows in vectors(learned.artifact, learned.rounds.features.shape[1]):
        for candidates in (rows, rows + mean):
            for targets in (embeddings, embeddings - mean):
                assert cosines(candidates, targets).max() < 0.998, name


def vectors(artifact: Artifact, dimension: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """(k, embedding's dimension) each tensor's rows that could be a query's."""
    embedding = dimension - QUESTION_COLUMNS
    for name, tensor in artifact.tensors.items():
        for axis, size in enumerate(tensor.shape):
            if tensor.ndim >= 2 and size in (dimension, embedding):
                rows = np.moveaxis(tensor, axis, -1).reshape(-1, size)[:, :embedding]
                yield name, rows.astype(np.float64)


def cosines(ones: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)

    return np.asarray(unit(ones) @ unit(others).T)


def test_the_check_would_see_a_scaled_row(learned: Learned) -> None:
    row = of(learned, SECRET).features[:1, :-QUESTION_COLUMNS].astype(np.float64)
    stored = (0.3 * row).astype(np.float16)
    assert cosines(stored.astype(np.float64), row).max() > 0.998


def test_a_tenant_is_decided_for_by_what_was_learned_of_it(
    learned: Learned, tmp_path: Path
) -> None:
    """For the same questions, the arm that always serves the secretive tenant."""
    from policies.artifact import write_artifact

    write_artifact(learned.artifact, tmp_path / "policy")
    queries = write_rows(tmp_path / "q.jsonl", outcome_rows(60, 5))
    taken = {}
    for tenant in (SECRET, "nobody"):
        report = ran(
            "decide", "--policy", tmp_path / "policy", "--queries", queries, "--tenant", tenant,
            "--to", tmp_path / "decisions.jsonl", "--objective", '{"quality": 1}',
        )  # fmt: skip
        taken[tenant] = report["share"]["none"]
    assert taken[SECRET] > taken["nobody"] + 0.2
