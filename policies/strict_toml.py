"""Strict reading of TOML into structs: an error names the wrong key or type and its place."""

import tomllib
from collections.abc import Collection, Iterable
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from policies.arms import did_you_mean
from policies.errors import SettingsError

_STRUCT = type(msgspec.Struct)

T = TypeVar("T", bound=msgspec.Struct)


def read_toml(path: Path) -> dict[str, Any]:
    """The file as a dictionary.

    Raises:
        SettingsError: it can't be read, or isn't TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"no configuration file at {path}", field="config") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} can't be read as TOML: {error}", field="config") from error


def decode_strictly(raw: dict[str, Any], struct: type[T]) -> T:
    """The struct in a dictionary.

    Raises:
        SettingsError: naming the innermost key at fault and, for an unknown one, the nearest known.
    """
    _check(raw, struct, "")
    return msgspec.convert(raw, struct)


def require_known(keys: Iterable[str], known: Collection[str], path: str = "") -> None:
    """Raise SettingsError for a key of the table at `path` that isn't known, with the nearest."""
    for key in keys:
        if key not in known:
            where = f"{path}.{key}".lstrip(".")
            raise SettingsError(
                f"unknown key {where!r}{did_you_mean(key, known)}; known keys here: "
                f"{', '.join(known)}",
                field=where,
            )


def _check(raw: Any, expected: Any, path: str) -> None:
    """Check children before parents, so that the error names the innermost key."""
    if isinstance(expected, UnionType) and isinstance(raw, dict):
        tables = [part for part in get_args(expected) if isinstance(part, _STRUCT)]
        expected = tables[0] if len(tables) == 1 else expected
    if get_origin(expected) is dict and isinstance(raw, dict):
        for key, value in raw.items():
            _check(value, get_args(expected)[1], f"{path}.{key}".lstrip("."))
        return
    if get_origin(expected) is list and isinstance(raw, list):
        for index, value in enumerate(raw):
            _check(value, get_args(expected)[0], f"{path}[{index}]")
        return
    if (
        isinstance(expected, type)
        and issubclass(expected, msgspec.Struct)
        and isinstance(raw, dict)
    ):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(expected)}
        for key, value in raw.items():
            require_known([key], list(fields), path)
            _check(value, fields[key], f"{path}.{key}".lstrip("."))
    if get_origin(expected) is Literal and isinstance(raw, str) and raw not in get_args(expected):
        allowed = get_args(expected)
        raise SettingsError(
            f"{path}: {raw!r} is not among {', '.join(map(repr, allowed))}"
            f"{did_you_mean(raw, allowed)}",
            field=path,
        )
    try:
        msgspec.convert(raw, expected)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path or 'the configuration'}: {error}", field=path) from error
