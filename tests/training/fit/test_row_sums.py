"""Sums of squares and products: of scaled rows, of parts, of rows left out."""

import numpy as np

from policies.question import QUESTION_FEATURES
from training.fit.feature_scale import fit_scale, scale_of
from training.fit.row_sums import HeadSums, RowSums, added, head_sums, masked_sums


def features(n: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = rng.normal(2.0, 1.0, size=(n, 5 + len(QUESTION_FEATURES))).astype(np.float16)
    rows[:, -1] = 7.3  # constant
    return rows.astype(np.float64)


def close(one: RowSums, other: RowSums) -> None:
    for left, right in zip(one, other, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-8)


def test_the_scale_follows_from_the_sums() -> None:
    x = features()
    of_rows, of_sums = fit_scale(x.astype(np.float32)), scale_of(RowSums.of(x))
    np.testing.assert_allclose(of_sums.shift, of_rows.shift, rtol=1e-6)
    np.testing.assert_allclose(of_sums.scale, of_rows.scale, rtol=1e-6)
    assert of_sums.scale[-1] == 0.0


def test_sums_of_scaled_rows_follow_from_those_of_the_rows() -> None:
    x, rng = features(), np.random.default_rng(1)
    scale = scale_of(RowSums.of(x))
    close(RowSums.of(x).scaled(scale), RowSums.of(scale.apply(x.astype(np.float32))))
    y = rng.normal(size=(len(x), 1))
    [ours], [theirs] = head_sums(x, y), head_sums(scale.apply(x.astype(np.float32)), y)
    np.testing.assert_allclose(ours.scaled(scale).xy, theirs.xy, atol=1e-8)


def test_rows_can_be_added_and_taken_off() -> None:
    x = features()
    whole = RowSums.of(x)
    close(RowSums.of(x[:100]).plus(RowSums.of(x[100:])), whole)
    close(whole.minus(RowSums.of(x[:100])), RowSums.of(x[100:]))
    assert whole.minus(None) is whole
    close(RowSums.empty(x.shape[1]).plus(whole), whole)


def test_a_heads_sums_are_of_the_rows_where_its_value_is_known() -> None:
    """Whether they are added up themselves, or the few others taken off."""
    x, rng = features(), np.random.default_rng(2)
    values = rng.normal(size=(len(x), 3))
    values[:40, 1] = np.nan
    values[20:, 2] = np.nan
    for m, found in enumerate(head_sums(x, values)):
        known = ~np.isnan(values[:, m])
        close(found.of, RowSums.of(x[known]))
        y = values[known, m]
        assert isinstance(found, HeadSums)
        np.testing.assert_allclose([found.y, found.yy], [y.sum(), y @ y])
        np.testing.assert_allclose(found.xy, x[known].T @ y)


def test_masks_without_a_row_have_no_sums() -> None:
    x = features()
    masks = np.zeros((len(x), 2), dtype=np.bool_)
    masks[:30, 1] = True
    found = masked_sums(x, masks)
    assert found.keys() == {1}
    close(found[1], RowSums.of(x[:30]))
    both = added(found, {0: RowSums.of(x[:5]), 1: RowSums.of(x[30:])})
    close(both[1], RowSums.of(x))
    close(both[0], RowSums.of(x[:5]))
