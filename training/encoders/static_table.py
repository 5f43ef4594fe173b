"""A static encoder's token vectors, to start from and to write again."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from policies.encoders import SHIPPED
from policies.encoders.static import MODEL_FILE, TOKENIZER_FILE, StaticEncoder
from policies.encoders.tokenizer_file import read_tokenizer
from policies.errors import EncoderError
from training.encoders.provenance import PROVENANCE_FILE
from training.encoders.quantize import quantize_rows
from training.encoders.source import SourceModel

Singles = NDArray[np.float32]


class StaticTable(NamedTuple):
    """vectors (tokens, d); a token whose vector is zero counts for nothing."""

    name: str
    vectors: Singles
    tokenizer: Tokenizer

    def encoder(self) -> StaticEncoder:
        """The encoder that this table is served as: int8, one scale a token."""
        return StaticEncoder(self.name, "unwritten", *quantize_rows(self.vectors), self.tokenizer)

    def write(self, directory: Path) -> None:
        """Write what `StaticEncoder.load` reads."""
        table, scale = quantize_rows(self.vectors)
        tensors = {"table": table, "scale": scale}
        save_file(tensors, directory / MODEL_FILE, metadata={"name": self.name})
        (directory / MODEL_FILE).chmod(0o644)  # safetensors makes it readable by its owner alone
        self.tokenizer.save(str(directory / TOKENIZER_FILE), pretty=False)


class StaticSource(SourceModel):
    """A static encoder that another one is made from; its licence stands in its provenance."""

    def licence(self) -> str:
        file = self.directory / PROVENANCE_FILE
        if not file.is_file():
            return "unknown"
        record = json.loads(file.read_text(encoding="utf-8"))
        return str(record.get("source", {}).get("licence", "unknown"))


def static_directory(spec: str) -> Path:
    """Where the static encoder of a specification lies.

    Raises EncoderError where the specification names another kind.
    """
    kind, _, path = spec.partition(":")
    if kind != "static":
        raise EncoderError(
            f"only a static encoder can be fine-tuned, and {spec!r} is configured: set "
            'encoder = "static" or "static:DIR"',
            field="encoder",
        )
    return Path(path) if path else SHIPPED


def read_static_table(directory: Path) -> StaticTable:
    """The vectors and the tokenizer of a static encoder's directory.

    Raises EncoderError where it can't be used.
    """
    version = StaticEncoder.load(directory).version  # checks the files against each other
    tensors = load_file(directory / MODEL_FILE)
    vectors = np.asarray(tensors["table"] * tensors["scale"], dtype=np.float32)
    return StaticTable(version.split(":")[1], vectors, read_tokenizer(directory / TOKENIZER_FILE))
