"""The part of the chart's schema that is the service's configuration, as the structs have it.

    python -m tests.deploy.chart_schema

writes it anew after a key of router.toml has come or gone.
"""

import json
from typing import Any

import msgspec

from router.settings import Settings
from tests.conftest import ROOT

SCHEMA = ROOT / "deploy" / "chart" / "values.schema.json"
# The chart's own definitions; all others are the configuration's.
OWN = "chart."
# Docstrings and defaults would only make the file change more often.
_LEFT_OUT = {"title", "description", "default"}


def configuration_definitions() -> dict[str, Any]:
    """`$defs` of a JSON schema, `Settings` among them, sorted by name."""
    definitions = msgspec.json.schema(Settings)["$defs"]
    return {name: _bare(definitions[name]) for name in sorted(definitions)}


def _bare(schema: Any) -> Any:
    """A schema without remarks. What lies under `properties` is a name, not a keyword."""
    if isinstance(schema, list):
        return [_bare(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _bare(held) for name, held in part.items()}
        if key == "properties"
        else _bare(part)
        for key, part in schema.items()
        if key not in _LEFT_OUT
    }


def with_configuration(schema: dict[str, Any]) -> dict[str, Any]:
    """The chart's schema with the configuration's definitions as they are now."""
    own = {name: held for name, held in schema["$defs"].items() if name.startswith(OWN)}
    return {**schema, "$defs": own | configuration_definitions()}


if __name__ == "__main__":
    written = with_configuration(json.loads(SCHEMA.read_text(encoding="utf-8")))
    SCHEMA.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
