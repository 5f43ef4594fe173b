"""Encoded events straight to Arrow columns.

An event as an object is some sixty others: names of arms, floats, lists. Most of what is nested is
the same in one event after the other, so nested fields stay encoded until they are columns, and
each different encoding is decoded once. That takes half the time of making every event.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

_ARRAY = b"\xdd"  # MessagePack's array with a length of four bytes


class EventColumns:
    """The columns of one type of event, in a schema's order and types.

    Fields of the schema that are text but hold a dict in the event become JSON, null where empty.
    """

    def __init__(self, event: type[msgspec.Struct], schema: pa.Schema) -> None:
        """Prepare the decoders; `shell` is the event with its nested fields left encoded."""
        types = {field.name: field for field in msgspec.structs.fields(event)}
        self.schema = schema
        self._nested = {
            field.name: msgspec.msgpack.Decoder(list.__class_getitem__(types[field.name].type))
            for field in schema
            if _is_nested(types[field.name])
        }
        self.shell = msgspec.defstruct(
            f"Encoded{event.__name__}",
            [_shell_field(types[field.name], field.name in self._nested) for field in schema],
            tag=event.__name__,
            tag_field="type",
            kw_only=True,
            gc=False,
        )
        self._values = attrgetter(*schema.names)

    def table(self, shells: Sequence[Any]) -> pa.Table:
        """One row per shell.

        Raises:
            msgspec.DecodeError: a nested field isn't what the event's type says.
        """
        columns = list(zip(*map(self._values, shells), strict=True)) or [()] * len(self.schema)
        arrays = [
            self._array(field, values) for field, values in zip(self.schema, columns, strict=True)
        ]
        return pa.table(arrays, schema=self.schema)

    def _array(self, field: Any, values: Sequence[Any]) -> Any:
        decoder = self._nested.get(field.name)
        if decoder is None:
            return pa.array(values, type=field.type)
        code_of: dict[bytes, int] = {}
        codes = [code_of.setdefault(bytes(value), len(code_of)) for value in values]
        decoded = decoder.decode(_ARRAY + len(code_of).to_bytes(4, "big") + b"".join(code_of))
        array = _build(decoded, field.type)
        return array if len(code_of) == len(codes) else array.take(pa.array(codes))


def _is_nested(field: msgspec.structs.FieldInfo) -> bool:
    kind = msgspec.inspect.type_info(field.type)
    parts = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    nested = (msgspec.inspect.ListType, msgspec.inspect.DictType, msgspec.inspect.StructType)
    return any(isinstance(part, nested) for part in parts)


def _shell_field(field: msgspec.structs.FieldInfo, nested: bool) -> tuple[str, Any, Any]:
    if field.required:
        return field.name, msgspec.Raw if nested else field.type, msgspec.NODEFAULT
    default = field.default
    if default is msgspec.NODEFAULT:
        default = field.default_factory()
    if nested:
        return field.name, msgspec.Raw, msgspec.Raw(msgspec.msgpack.encode(default))
    return field.name, field.type, default


def _build(values: Sequence[Any], kind: Any) -> Any:
    """An array of decoded values; nested ones by their flattened parts, which is faster."""
    if pa.types.is_map(kind):
        keys = pa.array(chain.from_iterable(values), type=kind.key_type)
        items = _flat(dict.values, values, kind.item_type)
        return pa.MapArray.from_arrays(_offsets(values), keys, items)
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(_offsets(values), _flat(iter, values, kind.value_type))
    if pa.types.is_struct(kind):
        absent = [value is None for value in values]
        parts = [
            pa.array([getattr(value, field.name, None) for value in values], type=field.type)
            for field in kind
        ]
        return pa.StructArray.from_arrays(
            parts, fields=list(kind), mask=pa.array(absent, pa.bool_())
        )
    if pa.types.is_string(kind) and any(isinstance(value, dict) for value in values):
        texts = [msgspec.json.encode(value).decode() if value else None for value in values]
        return pa.array(texts, type=kind)
    return pa.array(values, type=kind)


def _flat(parts: Callable[[Any], Iterable[Any]], values: Sequence[Any], kind: Any) -> Any:
    return _build(list(chain.from_iterable(map(parts, values))), kind)


def _offsets(values: Sequence[Any]) -> Any:
    lengths = np.fromiter(map(len, values), dtype=np.int32, count=len(values))
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
