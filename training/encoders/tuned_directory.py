"""Writes a fine-tuned static encoder as a directory that is served like any other."""

from pathlib import Path
from typing import Any

import numpy as np

from policies.encoders.static import StaticEncoder
from policies.errors import EncoderError
from training.encoders.fine_tune import settings
from training.encoders.provenance import write_provenance
from training.encoders.static_table import StaticSource, StaticTable
from training.encoders.target import new_directory

_SUFFIX = "-fine-tuned"
_PROBES = ("who", "Who wrote Dune?", "Where was the director of the film born?", "naïve café")


def write_fine_tuned(
    table: StaticTable, start: Path, to: Path, *, seed: int, details: dict[str, Any]
) -> StaticEncoder:
    """Write the encoder whole, or not at all, and give it back as it will be served.

    Args:
        table: its vectors.
        start: the directory of the encoder that it was fine-tuned from.
        to: must be new or empty.
        seed: that it was fine-tuned with.
        details: for the record: what it was fine-tuned on, how it compared.

    Raises EncoderError where `to` isn't empty, or what was written gives other vectors.
    """
    label = table.name.removesuffix(_SUFFIX) + _SUFFIX
    origin = StaticSource(StaticEncoder.load(start).version, start)
    with new_directory(to) as staging:
        table._replace(name=label).write(staging)
        write_provenance(
            staging,
            origin,
            name=label,
            command=f"rag-policy train --outcomes FILE --fine-tune DIR --to POLICY --seed {seed}",
            packages=("sentence-transformers", "tokenizers", "torch"),
            details={
                "changes": "token vectors fine-tuned on arms' outcomes, quantised to int8",
                "settings": settings(),
                **details,
            },
        )
        encoder = StaticEncoder.load(staging)
        if not np.array_equal(encoder.encode(_PROBES), table.encoder().encode(_PROBES)):
            raise EncoderError("the written encoder gives other vectors than the fine-tuned one")
    return encoder
