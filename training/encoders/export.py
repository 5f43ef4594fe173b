"""Exports a sentence-transformers model to ONNX, for serving without torch.

The graph holds every module of the model (transformer, pooling, dense layers, normalisation), with
dynamic batch and token axes. Before the directory is handed over, its vectors are compared with the
library's own.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from policies.encoders.onnx import (
    CONFIG_FILE,
    GRAPH_FILE,
    TOKENIZER_FILE,
    OnnxConfig,
    OnnxEncoder,
)
from policies.errors import EncoderError
from training.encoders.extras import load_extra
from training.encoders.provenance import write_provenance
from training.encoders.source import find_source
from training.encoders.target import new_directory, size_of

EXTRA = "encoders"

# Modules whose computation is a function of the token tensors alone. Others (word weights, bags of
# words, images, static embeddings) need inputs that a tokenizer.json can't give.
_REPRODUCIBLE = {"Transformer", "Pooling", "Dense", "LayerNorm", "Dropout", "Normalize"}
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_TOLERANCE = 1e-5
_LARGEST_ONE_FILE = 1_900_000_000  # bytes; protobuf stops at 2 GiB
_PROBES = ("", "a", "Who wrote Dune?", "Wo liegt Žilina? 東京は？", "token " * 9000)


@dataclass(frozen=True)
class ExportedEncoder:
    """What was written, and the largest difference to the library's vectors."""

    directory: Path
    version: str
    dimension: int
    max_tokens: int | None
    difference: float
    bytes: int


def export_onnx(
    model: str, to: Path, *, name: str | None = None, source: str | None = None
) -> ExportedEncoder:
    """Exports `model`, a local directory or a hub id, into the directory `to`.

    `name` becomes part of the encoder's version; `source` is the model's public name where `model`
    is a local copy.

    Raises EncoderError where the extra is missing, the model can't be had or has a module that the
    exported graph can't reproduce, or the exported vectors differ from the library's.
    """
    library = load_extra("sentence_transformers", EXTRA)
    for module in ("torch", "onnxscript", "onnxruntime"):
        load_extra(module, EXTRA)
    origin = find_source(model, source, EXTRA)
    transformer = library.SentenceTransformer(str(origin.directory), device="cpu").eval().float()
    _check_modules(transformer)
    label = name or origin.name.rsplit("/", 1)[-1].lower()
    config = _config(transformer, label)
    with new_directory(to) as staging:
        _write_graph(transformer, config.inputs, staging / GRAPH_FILE)
        transformer.tokenizer.backend_tokenizer.save(str(staging / TOKENIZER_FILE), pretty=False)
        text = msgspec.json.format(msgspec.json.encode(config), indent=2)
        (staging / CONFIG_FILE).write_bytes(text + b"\n")
        write_provenance(
            staging,
            origin,
            name=label,
            command=f"rag-policy encoder export --model {origin.name} --name {label} --to DIR",
            packages=("sentence-transformers", "transformers", "torch", "onnxscript"),
            details={"changes": "exported to ONNX"},
        )
        encoder = OnnxEncoder.load(staging)
        difference = _difference(transformer, encoder)
    return ExportedEncoder(
        directory=to,
        version=encoder.version,
        dimension=encoder.dimension,
        max_tokens=config.max_tokens,
        difference=difference,
        bytes=size_of(to),
    )


def _check_modules(transformer: Any) -> None:
    kinds = [type(module).__name__ for module in transformer]
    unknown = [kind for kind in kinds if kind not in _REPRODUCIBLE]
    if unknown or kinds[0] != "Transformer":
        raise EncoderError(
            f"the model is {' → '.join(kinds)}: only a Transformer followed by "
            f"{', '.join(sorted(_REPRODUCIBLE - {'Transformer'}))} can be exported",
            field="model",
        )
    if not hasattr(transformer.tokenizer, "backend_tokenizer"):
        raise EncoderError("the model's tokenizer has no tokenizer.json form", field="model")
    if _prompt(transformer) and any(not getattr(m, "include_prompt", True) for m in transformer):
        raise EncoderError(
            "the model leaves its prompt's tokens out of pooling: that can't be exported",
            field="model",
        )


def _prompt(transformer: Any) -> str:
    """What the library puts before every text."""
    name = transformer.default_prompt_name
    return str(transformer.prompts.get(name, "")) if name else ""


def _config(transformer: Any, label: str) -> OnnxConfig:
    longest = transformer.max_seq_length
    features = transformer.preprocess(["a query"])
    return OnnxConfig(
        name=label,
        dimension=transformer.get_embedding_dimension(),
        inputs=tuple(name for name in _INPUTS if name in features),
        # transformers writes "no limit" as 10**30
        max_tokens=longest if longest is not None and longest < 10**9 else None,
        prompt=_prompt(transformer),
    )


def _write_graph(transformer: Any, inputs: tuple[str, ...], file: Path) -> None:
    import torch

    class Sentence(torch.nn.Module):  # type: ignore[misc]
        """The model as a function of positional tensors, each (batch, tokens)."""

        def __init__(self) -> None:
            super().__init__()
            self.model = transformer

        def forward(self, *tensors: Any) -> Any:
            return self.model(dict(zip(inputs, tensors, strict=True)))["sentence_embedding"]

    features = transformer.preprocess(["two texts, so that", "neither axis is constant"])
    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    size = sum(weight.numel() * weight.element_size() for weight in transformer.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch's own exporter
        torch.onnx.export(
            Sentence().eval(),
            tuple(features[name] for name in inputs),
            str(file),
            input_names=list(inputs),
            output_names=["sentence_embedding"],
            dynamic_shapes=(tuple(axes for _ in inputs),),
            external_data=size > _LARGEST_ONE_FILE,
            dynamo=True,
            verbose=False,
        )


def _difference(transformer: Any, encoder: OnnxEncoder) -> float:
    """The largest difference between the served vectors and the library's.

    Raises EncoderError where it is more than rounding.
    """
    expected = transformer.encode(list(_PROBES), normalize_embeddings=True, batch_size=1)
    difference = float(np.abs(encoder.encode(_PROBES) - expected).max())
    if not difference <= _TOLERANCE:
        raise EncoderError(
            f"the exported vectors differ from the library's by {difference:.1e}, more than "
            f"{_TOLERANCE:.0e}: this model can't be served from ONNX",
            field="model",
        )
    return difference
