"""The sentence-transformers model that an encoder is made from: its files, licence and hashes."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from policies.errors import EncoderError
from training.encoders.extras import load_extra

# What a PyTorch model is loaded from; a repository may hold ten times as much in other formats.
_NEEDED = ["*.json", "*.txt", "*.model", "*.safetensors", "README.md"]
_LICENCE = re.compile(r"^license:\s*(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class SourceModel:
    """A model's name and the local directory that holds it."""

    name: str
    directory: Path

    def weights_sha256(self) -> dict[str, str]:
        """SHA-256 of each weights file, by its path within the model."""
        files = sorted(self.directory.rglob("*.safetensors"))
        return {file.relative_to(self.directory).as_posix(): sha256(file) for file in files}

    def licence(self) -> str:
        """The licence that the model card's front matter states, or `unknown`."""
        card = self.directory / "README.md"
        found = _LICENCE.search(card.read_text(encoding="utf-8")) if card.is_file() else None
        return found.group(1) if found else "unknown"


def find_source(model: str, name: str | None, extra: str) -> SourceModel:
    """A local directory as it is, or a hub id's files, downloaded once into the hub's cache.

    Raises EncoderError where the directory holds no model or the hub can't give one.
    """
    directory = Path(model)
    if not directory.is_dir():
        directory = _download(model, extra)
    if not (directory / "config.json").is_file():
        raise EncoderError(
            f"{directory} has no config.json: not a sentence-transformers model", field="model"
        )
    return SourceModel(name or (directory.name if Path(model).is_dir() else model), directory)


def sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(model: str, extra: str) -> Path:
    hub = load_extra("huggingface_hub", extra)
    try:
        return Path(hub.snapshot_download(model, allow_patterns=_NEEDED))
    except Exception as error:  # the hub, its cache and the network each raise their own
        raise EncoderError(
            f"{model!r} is no local directory, and the hub didn't give it ({error}). "
            "Name a directory that holds the model, or a hub id such as "
            "sentence-transformers/all-MiniLM-L6-v2",
            field="model",
        ) from error
