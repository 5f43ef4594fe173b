"""Imported outcomes."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.worlds import ARMS, outcome_rows, write_rows
from training.errors import InputError
from training.tables.outcomes import OutcomeTable, read_outcomes
from training.tables.query_features import query_features
from training.tables.warm_start import (
    aligned_values,
    import_path,
    read_warm_start,
    warm_start_of,
    write_warm_start,
)


def table_at(path: Path, n: int = 12) -> OutcomeTable:
    rows = outcome_rows(n, 0)
    del rows[3]["outcomes"]["multi"]
    return read_outcomes([write_rows(path, rows)])


def test_what_was_stored_is_what_was_read(tmp_path: Path) -> None:
    table = table_at(tmp_path / "t.jsonl")
    features = query_features(table.queries)
    write_warm_start(table, features, import_path(tmp_path, table, None, features.version))
    stored, direct = read_warm_start(tmp_path), warm_start_of(table, features)
    assert stored is not None
    np.testing.assert_array_equal(stored.values, direct.values)
    np.testing.assert_array_equal(stored.features, direct.features)
    assert stored.query_hashes == direct.query_hashes
    assert (stored.arms, stored.metrics) == (ARMS, ("quality", "steps"))


def test_the_same_rows_have_the_same_file_and_others_another(tmp_path: Path) -> None:
    table, other = table_at(tmp_path / "t.jsonl"), table_at(tmp_path / "u.jsonl", 13)
    path = import_path(tmp_path, table, None, "test-1")
    assert path == import_path(tmp_path, table_at(tmp_path / "copy.jsonl.gz"), None, "test-1")
    others = {
        import_path(tmp_path, other, None, "test-1"),
        import_path(tmp_path, table, "train", "test-1"),
        import_path(tmp_path, table, None, "test-2"),
    }
    assert len({path, *others}) == 4


def test_no_import_is_no_warm_start(tmp_path: Path) -> None:
    assert read_warm_start(tmp_path) is None


def test_rows_of_another_encoder_are_refused(tmp_path: Path) -> None:
    table = table_at(tmp_path / "t.jsonl")
    features = query_features(table.queries)
    write_warm_start(table, features, import_path(tmp_path, table, None, features.version))
    with pytest.raises(InputError, match="was imported with features"):
        read_warm_start(tmp_path, "another")


def test_values_are_put_into_another_order_with_gaps(tmp_path: Path) -> None:
    table = table_at(tmp_path / "t.jsonl")
    warm = warm_start_of(table, query_features(table.queries))
    values = aligned_values(warm, ("new", "multi", "none"), ("steps", "cost_usd"))
    assert np.isnan(values[:, 0]).all()
    assert np.isnan(values[:, :, 1]).all()
    np.testing.assert_array_equal(values[:, 2, 0], warm.values[:, 0, 1])
