"""The documentation is held to the code."""

import re
import typing
from types import UnionType

import msgspec
import pytest

from policies.settings import SERVICE_TABLES, PolicySettings
from router.settings import Settings
from tests.conftest import ROOT


def structs(struct: type, name: str = "") -> typing.Iterator[tuple[str, str]]:
    """(table, key) of every key of the configuration, nested keys as `when.attribute`."""
    for field in msgspec.structs.fields(struct):
        inner = field.type
        if isinstance(inner, UnionType):
            inner = next(part for part in typing.get_args(inner) if part is not type(None))
        origin, parts = typing.get_origin(inner), typing.get_args(inner)
        held = parts[-1] if origin in (dict, list) and parts else inner
        is_struct = isinstance(held, type) and issubclass(held, msgspec.Struct)
        if is_struct and not name:
            yield from ((field.name, key) for _, key in structs(held, field.name))
            continue
        yield name, field.name
        if is_struct:
            yield from ((name, f"{field.name}.{key}") for _, key in structs(held, field.name))


KEYS = list(structs(Settings))


def test_the_walk_finds_the_keys() -> None:
    assert ("exploration", "floor") in KEYS
    assert ("rules", "when.attribute") in KEYS
    assert ("models", "price_per_1k.input") in KEYS
    assert ("", "encoder") in KEYS


@pytest.mark.parametrize(("table", "key"), KEYS)
def test_every_key_is_documented_under_its_table(table: str, key: str) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    heading = f"[{table}" if table else "Top level"
    [section] = [section for section in sections if heading in section.splitlines()[0]]
    if (table, key) == ("", "objectives"):
        return
    assert f"\n| `{key}` |" in section


@pytest.mark.parametrize("name", ["router.toml", "recorded-arms.toml"])
def test_the_example_configurations_are_sound(name: str) -> None:
    from router.settings import read_settings

    assert read_settings(ROOT / "examples" / name).arms


@pytest.mark.parametrize(
    "page", ["README.md", "CHANGELOG.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{page} links to {target}"


def test_the_command_line_knows_the_services_own_tables() -> None:
    """It leaves them to the service, and refuses all others."""
    mine = {field.name for field in msgspec.structs.fields(PolicySettings)}
    assert {field.name for field in msgspec.structs.fields(Settings)} == {*mine, *SERVICE_TABLES}
