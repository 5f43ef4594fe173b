"""Records beside an encoder what it was made from, how, and what came out."""

import datetime
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from training.encoders.source import SourceModel, sha256

PROVENANCE_FILE = "provenance.json"


def write_provenance(
    directory: Path,
    origin: SourceModel,
    *,
    name: str,
    command: str,
    packages: Iterable[str],
    details: dict[str, Any],
) -> None:
    """Writes `provenance.json`, with the hash of every other file of the directory."""
    files = sorted(file for file in directory.iterdir() if file.name != PROVENANCE_FILE)
    provenance = {
        "name": name,
        "source": {
            "model": origin.name,
            "licence": origin.licence(),
            "sha256": origin.weights_sha256(),
        },
        **details,
        "versions": {package: version(package) for package in packages},
        "command": command,
        "made": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "files": {file.name: sha256(file) for file in files},
    }
    text = json.dumps(provenance, indent=2, ensure_ascii=False) + "\n"
    (directory / PROVENANCE_FILE).write_text(text, encoding="utf-8")
