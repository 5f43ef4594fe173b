"""Quantising vectors to int8, one scale a row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from training.encoders.quantize import quantize_rows

VECTORS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False),
)


@given(VECTORS)
def test_a_value_is_off_by_at_most_half_a_step(vectors: NDArray[np.float32]) -> None:
    table, scale = quantize_rows(vectors)
    assert table.dtype == np.int8
    assert scale.shape == (len(vectors), 1)
    assert (np.abs(table * scale - vectors) <= scale * 0.5001 + 1e-30).all()


def test_a_row_of_zeros_stays_zero() -> None:
    table, scale = quantize_rows(np.zeros((1, 3), np.float32))
    assert not (table * scale).any()


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_written_is_in_row_order(order: str) -> None:
    """safetensors writes an array's memory as it lies, so column order would scramble the table."""
    vectors = np.asarray(np.arange(6, dtype=np.float32).reshape(2, 3), order=order)  # type: ignore[call-overload]
    table, scale = quantize_rows(vectors)
    assert table.flags.c_contiguous
    assert scale.flags.c_contiguous
    np.testing.assert_allclose(table * scale, vectors, atol=0.03)
