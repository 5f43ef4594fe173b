"""Replicas of two releases side by side: each reads what the other has written to the store.

`release_0_1` holds the structs as that release has them, `data/wire_0_1.json` what it wrote by
them. Both stay as they are while the present structs gain fields.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from msgspec.inspect import NODEFAULT, Field, StructType, type_info

from policies import artifact, events, registries, rollout, shards
from tests.policies import release_0_1

WRITTEN: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parent / "data" / "wire_0_1.json").read_text(encoding="utf-8")
)
EVENTS = ("DecisionMade", "AnswerFinished", "FeedbackGiven")
RECORDS = {
    "Activation": registries.Activation,
    "ReplicaStatus": registries.ReplicaStatus,
    "Rollout": rollout.Rollout,
    "EndedRollout": rollout.EndedRollout,
    "WatchReport": rollout.WatchReport,
    "Manifest": artifact.Manifest,
    "Epoch": shards.Epoch,
}
PARTS = {
    "Evidence": events.Evidence,
    "RetrievalEvidence": events.RetrievalEvidence,
    "WatchedMetric": rollout.WatchedMetric,
}
TODAY: dict[str, type[msgspec.Struct]] = {
    **{name: getattr(events, name) for name in EVENTS},
    **RECORDS,
    **PARTS,
}
STREAMED = {*EVENTS, "WatchReport"}  # MessagePack; the others are JSON


def written(name: str, what: str) -> bytes:
    """What release 0.1 wrote: `all` its fields, or the `least`."""
    return base64.b64decode(WRITTEN[name][what])


def plain(value: object) -> Any:
    """A struct's fields and values, of whichever release."""
    return msgspec.to_builtins(value, builtin_types=(bytes,))


def codec(name: str) -> Any:
    return msgspec.msgpack if name in STREAMED else msgspec.json


@pytest.mark.parametrize("what", ["all", "least"])
@pytest.mark.parametrize("name", EVENTS)
def test_events_of_the_release_before_are_read_in_full(name: str, what: str) -> None:
    """Each field as it was written; what it didn't know has its default."""
    event = events.decode_event(written(name, what))
    assert event is not None
    before = msgspec.msgpack.decode(written(name, what), type=getattr(release_0_1, name))
    assert plain(event).items() >= plain(before).items()
    rest = {key: value for key, value in plain(event).items() if key not in plain(before)}
    defaults = {field.name: field for field in fields_of(TODAY[name])}
    assert all(not defaults[key].required for key in rest)


@pytest.mark.parametrize("name", RECORDS)
def test_records_of_the_release_before_are_read_in_full(name: str) -> None:
    for what in ("all", "least"):
        now = codec(name).decode(written(name, what), type=RECORDS[name])
        before = codec(name).decode(written(name, what), type=getattr(release_0_1, name))
        assert plain(now).items() >= plain(before).items()


@pytest.mark.parametrize("name", [*EVENTS, *RECORDS])
def test_the_release_before_reads_what_this_one_writes(name: str) -> None:
    """Its readers leave out what they don't know."""
    now = codec(name).decode(written(name, "all"), type=TODAY[name])
    before = codec(name).decode(codec(name).encode(now), type=getattr(release_0_1, name))
    assert plain(before).items() <= plain(now).items()


@pytest.mark.parametrize("name", EVENTS)
def test_events_of_the_release_after_are_read_without_what_they_add(name: str) -> None:
    """A new field, also of a part, and a new tag."""
    event = msgspec.msgpack.decode(written(name, "all"))
    added = {**event, "of_the_future": {"deep": [1]}}
    if name == "AnswerFinished":
        added["retrieval"] = {**event["retrieval"], "of_the_future": 1}
    known = events.decode_event(written(name, "all"))
    assert events.decode_event(msgspec.msgpack.encode(added)) == known
    assert events.decode_event(msgspec.msgpack.encode({**event, "type": "Unknown"})) is None


@pytest.mark.parametrize("name", TODAY)
def test_no_field_that_the_release_before_knows_has_changed(name: str) -> None:
    assert broken(getattr(release_0_1, name), TODAY[name]) == []


CHANGES: dict[str, tuple[list[Any], str | None, str]] = {
    "renamed": ([("value_2", float)], "Given", "value is gone"),
    "required": ([("value", float), ("unit", str)], "Given", "unit is new and has no default"),
    "another type": ([("value", int)], "Given", "value was float and is int"),
    "another default": ([("value", float), ("source", str, "x")], "Given", "source's default"),
    "another tag": ([("value", float)], "Gave", "its tag was"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_such_a_change_is_found_and_what_to_do_is_said(change: str) -> None:
    """The check itself can fail."""
    fields, tag, message = CHANGES[change]
    before = [("value", float), ("source", str, "")]
    source = [] if change == "another default" else [("source", str, "")]
    one = msgspec.defstruct("Given", before, tag="Given", kw_only=True)
    other = msgspec.defstruct("Given", [*fields, *source], tag=tag, kw_only=True)
    [fault, *_] = broken(one, other)
    assert message in fault
    assert "docs/releasing.md" in fault


def fields_of(struct: type[msgspec.Struct]) -> tuple[Field, ...]:
    info = type_info(struct)
    assert isinstance(info, StructType)
    return info.fields


def broken(before: type[msgspec.Struct], now: type[msgspec.Struct]) -> list[str]:
    """What of a struct the other release couldn't read, a line each."""
    mine = {field.encode_name: field for field in fields_of(now)}
    theirs = {field.encode_name: field for field in fields_of(before)}
    faults = []
    if before.__struct_config__.tag != now.__struct_config__.tag:
        faults.append(f"its tag was {before.__struct_config__.tag!r}")
    for name, field in theirs.items():
        if name not in mine:
            faults.append(f"{name} is gone")
        elif (was := shown(before, field.name)) != (new := shown(now, mine[name].name)):
            faults.append(f"{name} was {was} and is {new}")
        elif default_of(field) != default_of(mine[name]):
            faults.append(f"{name}'s default was {default_of(field)!r}")
    for name in mine.keys() - theirs.keys():
        if mine[name].required:
            faults.append(f"{name} is new and has no default")
    advice = (
        "while an upgrade runs, replicas of the release before read and write this too: keep the "
        "field as it was, give a new one a default, and see `Compatibility` in docs/releasing.md"
    )
    return [f"{now.__name__}: {fault}; {advice}" for fault in faults]


def shown(struct: type[msgspec.Struct], name: str) -> str:
    """A field's type, structs by their names alone: each of them is compared for itself."""
    hint = get_type_hints(struct)[name]
    return re.sub(r"(\w+\.)+(\w)", r"\2", hint.__name__ if isinstance(hint, type) else str(hint))


def default_of(field: Field) -> object:
    """None where there is none; a fresh list and the like are equal by what is in them."""
    if field.default is not NODEFAULT:
        return ("default", field.default)
    return ("default", field.default_factory()) if field.default_factory is not NODEFAULT else None
