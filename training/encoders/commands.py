"""`rag-policy encoder`: making an encoder."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from policies.errors import EncoderError

if TYPE_CHECKING:
    from training.encoders.distill import DistilledEncoder
    from training.encoders.export import ExportedEncoder

_MODEL = click.option(
    "--model",
    required=True,
    metavar="ID|DIR",
    help="A sentence-transformers model: a hub id, or a directory that holds one.",
)
_TO = click.option(
    "--to",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The directory to write; it must be new or empty.",
)
_NAME = click.option("--name", help="The encoder's name in its version.  [default: the model's]")
_SOURCE = click.option(
    "--source", help="The model's public name for the record, where --model is a local copy."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group()
def encoder() -> None:
    """Make the encoder that turns queries into vectors.

    A router needs neither command: it ships with a static encoder. Use them to route in another
    language, or on vectors of a model of your own.
    """


@encoder.command()
@_MODEL
@_TO
@click.option(
    "--dimensions",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Columns kept by PCA.",
)
@click.option(
    "--sif",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Weight frequent tokens down by this coefficient, such as 1e-4.  [default: no weights]",
)
@_NAME
@_SOURCE
@_JSON
def distill(
    *,
    model: str,
    to: Path,
    dimensions: int,
    sif: float | None,
    name: str | None,
    source: str | None,
    as_json: bool,
) -> None:
    """Distil a static encoder: a table of token vectors, microseconds a query.

    \b
    Example:
      rag-policy encoder distill --model sentence-transformers/all-MiniLM-L6-v2 --to my-encoder
    The encoder's specification is then static:my-encoder
    """
    from training.encoders.distill import distill as distill_model

    with _clear_errors():
        result = distill_model(model, to, dimensions, name=name, source=source, sif_coefficient=sif)
    _show(result, f"static:{to}", as_json)


@encoder.command()
@_MODEL
@_TO
@_NAME
@_SOURCE
@_JSON
def export(*, model: str, to: Path, name: str | None, source: str | None, as_json: bool) -> None:
    """Export a sentence-transformers model to ONNX, to serve it without torch.

    The written vectors are compared with the library's before the command succeeds.

    \b
    Example:
      rag-policy encoder export --model sentence-transformers/all-MiniLM-L6-v2 --to my-onnx
    The encoder's specification is then onnx:my-onnx
    """
    from training.encoders.export import export_onnx

    with _clear_errors():
        result = export_onnx(model, to, name=name, source=source)
    _show(result, f"onnx:{to}", as_json)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Says an EncoderError in one line: exit status 2 where an option is at fault, else 1."""
    try:
        yield
    except EncoderError as error:
        if error.field is not None:
            raise click.BadParameter(str(error), param_hint=f"--{error.field}") from error
        raise click.ClickException(str(error)) from error


def _show(result: "DistilledEncoder | ExportedEncoder", spec: str, as_json: bool) -> None:
    facts = {**dataclasses.asdict(result), "directory": str(result.directory), "spec": spec}
    if as_json:
        click.echo(json.dumps(facts))
        return
    click.echo(f"{result.version}: {result.dimension} dimensions, {result.bytes / 1e6:.1f} MB")
    click.echo(f'written to {result.directory}; name it as "{spec}"')
