"""A row's product doesn't depend on the rows beside it."""

import numpy as np
import pytest

from policies.row_products import row_products


@pytest.mark.parametrize("width", [1, 9, 64, 457])
def test_a_row_has_the_same_bits_alone_and_in_any_company(width: int) -> None:
    rng = np.random.default_rng(width)
    rows = rng.normal(size=(256, 278)).astype(np.float32)
    matrix = rng.normal(size=(278, width)).astype(np.float32)
    together = row_products(rows, matrix)
    order = rng.permutation(256)
    assert row_products(rows[order], matrix).tobytes() == together[order].tobytes()
    for size in (1, 2, 3, 64):
        for start in range(0, 256, size):
            some = row_products(rows[start : start + size], matrix)
            assert some.tobytes() == together[start : start + size].tobytes()


@pytest.mark.parametrize("count", [0, 1, 256, 257, 1000])
def test_it_is_the_product(count: int) -> None:
    rng = np.random.default_rng(count)
    rows = rng.normal(size=(count, 5)).astype(np.float32)
    matrix = rng.normal(size=(5, 4)).astype(np.float32)
    wanted = rows.astype(np.float64) @ matrix.astype(np.float64)
    found = row_products(rows, matrix)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
