"""The log's columns as arrays, without a Python loop over rows."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from policies.features import LOGGED_DTYPE
from training.errors import InputError
from training.fit.folds import Ints
from training.log.log_folder import LogPlace
from training.log.rounds import Bools, Floats

# The end of the year 9999: no calendar knows later times.
_LATEST = 253_402_300_799.0


def texts(column: Any) -> NDArray[np.object_]:
    """(n,) texts; an absent one is empty. Equal texts are one object."""
    codes, names = coded(column)
    return names[codes]


def coded(column: Any) -> tuple[Ints, NDArray[np.object_]]:
    """A text column as (n,) numbers in order of first appearance, and the text of each."""
    encoded = one_array(column).fill_null("").dictionary_encode()
    names = np.empty(len(encoded.dictionary), dtype=object)
    names[:] = encoded.dictionary.to_pylist()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.intp), names


def groups(column: Any) -> Ints:
    """(n,) equal hashes get equal numbers, from 0 in order of first appearance; a row without a
    hash is a group of its own.
    """
    codes, names = coded(column)
    own = (names == "")[codes]
    if not own.any():
        return codes
    labels = np.where(own, len(names) + np.arange(len(codes)), codes)
    _, first, number = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[number], dtype=np.intp)


def numbers(column: Any) -> Floats:
    """(n,) numbers, NaN where absent."""
    return np.asarray(one_array(column).to_numpy(zero_copy_only=False), dtype=np.float64)


def flags(column: Any) -> Bools:
    """(n,) flags; an absent one is false."""
    return np.asarray(one_array(column).fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)


def times(decisions: Any, source: LogPlace) -> Floats:
    """(n,) when each decision was made.

    Raises:
        InputError: one is no time of a decision.
    """
    at = numbers(decisions["at"])
    wrong = ~((at >= 0.0) & (at <= _LATEST))  # written so that NaN is refused as well
    if wrong.any():
        raise InputError(
            f"{int(wrong.sum())} decisions were made at no time that can be, such as "
            f"{at[wrong][0]:g} seconds since 1970: the log was altered or its writer is broken; "
            "export it again",
            path=source / "decisions",
            field="at",
        )
    return at


def attributes(column: Any, source: LogPlace) -> NDArray[np.object_]:
    """(n,) a dict each; equal ones are decoded once, and are one object.

    Raises:
        InputError: one isn't a JSON object.
    """
    codes, encoded = coded(column)
    decoded = np.empty(len(encoded), dtype=object)
    for code, text in enumerate(encoded):
        try:
            decoded[code] = msgspec.json.decode(text, type=dict[str, Any]) if text else {}
        except msgspec.DecodeError as error:
            raise InputError(
                f"row {int(np.argmax(codes == code)) + 1} holds no JSON object ({error}): the log "
                "was altered or its writer is broken; export it again",
                path=source / "decisions",
                field="attributes",
            ) from error
    return decoded[codes]


def features(column: Any, source: LogPlace) -> NDArray[np.float32]:
    """(n, d) features.

    Raises:
        InputError: rows differ in length, or aren't finite float16 numbers.
    """
    lengths = {part for chunk in column.chunks for part in _lengths(chunk)}
    if len(lengths) > 1 or lengths == {0}:
        raise InputError(
            "decisions of one feature version have rows of different lengths, or none: export "
            "the log again",
            path=source / "decisions",
            field="features",
        )
    size = lengths.pop() if lengths else 0
    rows = np.empty((len(column), size // LOGGED_DTYPE.itemsize), dtype=np.float32)
    at = 0
    for chunk in column.chunks if size % LOGGED_DTYPE.itemsize == 0 else ():
        rows[at : at + len(chunk)] = _matrix(chunk, size)
        at += len(chunk)
    if at != len(rows) or not np.isfinite(rows).all():
        raise InputError(
            "feature rows aren't float16 numbers: the log was altered or its writer is broken; "
            "export it again",
            path=source / "decisions",
            field="features",
        )
    return rows


def _lengths(chunk: Any) -> set[int]:
    found = pc.binary_length(chunk).fill_null(0).to_numpy(zero_copy_only=False)
    return set(np.unique(found).tolist())


def _matrix(chunk: Any, size: int) -> NDArray[Any]:
    """(n, d) float16 view of rows of one size."""
    _, offsets, data = chunk.buffers()
    first = int(np.frombuffer(offsets, dtype=np.int32)[chunk.offset]) if len(chunk) else 0
    flat = np.frombuffer(data, dtype=LOGGED_DTYPE, count=len(chunk) * size // 2, offset=first)
    return flat.reshape(len(chunk), size // LOGGED_DTYPE.itemsize)


def one_array(column: Any) -> Any:
    """A column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def flat(column: Any) -> tuple[Ints, Any]:
    """A list column as (row of each item, the items); of a map, items have a key and a value."""
    lists = one_array(column)
    if pa.types.is_map(lists.type):
        pairs = pa.struct([("key", lists.type.key_type), ("value", lists.type.item_type)])
        lists = lists.cast(pa.list_(pairs))
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lists)), lengths), lists.flatten()


def positions(values: Any, names: Any) -> Ints:
    """(n,) where each text stands among the names (texts, or a column), −1 where it doesn't."""
    column = isinstance(names, pa.ChunkedArray)
    known = one_array(names) if column else pa.array(list(names), type=pa.string())
    found = pc.index_in(one_array(values), value_set=known)
    return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.intp)


def places(row: Ints, n: int) -> Ints:
    """(items,) where each item of a flattened list stands in its own list."""
    starts = np.searchsorted(row, np.arange(n))
    return np.asarray(np.arange(len(row)) - starts[row])


def by_arm(decisions: Any, column: str, names: Sequence[str]) -> Floats:
    """(n, A) from a list column that is aligned with `arms`; 0 where an arm wasn't configured.

    Raises:
        InputError: a list has another length than its decision's arms.
    """
    rows, arms = flat(decisions["arms"])
    items, values = flat(decisions[column])
    _check_aligned(column, items, rows)
    matrix = np.zeros((decisions.num_rows, len(names)))
    matrix[rows, positions(arms, names)] = values.to_numpy(zero_copy_only=False)
    return matrix


def _check_aligned(column: str, items: Ints, rows: Ints) -> None:
    if len(items) != len(rows) or (items != rows).any():
        raise InputError(f"{column} and arms have different lengths: export the log again")


def eligible(decisions: Any, names: Sequence[str]) -> Bools:
    """(n, A) whether each arm could be taken."""
    rows, arms = flat(decisions["eligible"])
    columns = positions(arms, names)
    matrix = np.zeros((decisions.num_rows, len(names)), dtype=np.bool_)
    matrix[rows[columns >= 0], columns[columns >= 0]] = True
    return matrix


def expected(decisions: Any, names: Sequence[str], metric: str) -> Floats:
    """(n, A) what the serving policy expected of each arm; NaN where it said nothing.

    Raises:
        InputError: it expected something of more or fewer arms than the decision has.
    """
    rows, pairs = flat(decisions["expected"])
    mine = np.asarray(pc.equal(pairs.field("key"), metric).to_numpy(zero_copy_only=False))
    inner, values = flat(pairs.field("value").filter(pa.array(mine, type=pa.bool_())))
    at = rows[mine][inner]
    own, arms = flat(decisions["arms"])
    said = np.zeros(decisions.num_rows, dtype=np.bool_)
    said[at] = True
    _check_aligned("expected", at, own[said[own]])
    matrix = np.full((decisions.num_rows, len(names)), np.nan)
    columns = positions(arms, names)[said[own]]
    matrix[at, columns] = values.to_numpy(zero_copy_only=False)
    return matrix


def weights(decisions: Any, metric: str) -> Floats:
    """(n,) each request's weight of a metric, 0 where it has none."""
    rows, pairs = flat(decisions["weights"])
    mine = np.asarray(pc.equal(pairs.field("key"), metric).to_numpy(zero_copy_only=False))
    found = np.zeros(decisions.num_rows)
    found[rows[mine]] = pairs.field("value").to_numpy(zero_copy_only=False)[mine]
    return found
