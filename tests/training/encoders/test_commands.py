"""`rag-policy encoder` on the command line."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import training.encoders.distill
import training.encoders.export
from policies.errors import EncoderError
from training.encoders.commands import encoder
from training.encoders.distill import DistilledEncoder
from training.encoders.export import ExportedEncoder


@pytest.mark.parametrize("command", ["distill", "export"])
def test_help_shows_an_example(command: str) -> None:
    result = CliRunner().invoke(encoder, [command, "--help"])
    assert result.exit_code == 0
    assert f"rag-policy encoder {command} --model sentence-transformers/" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["distill"],
        ["distill", "--model", "m"],
        ["distill", "--model", "m", "--to", "t", "--dimensions", "0"],
        ["export", "--to", "t"],
        ["export", "--model", "m", "--to", "t", "--dimensions", "3"],
    ],
)
def test_wrong_use_exits_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(encoder, arguments).exit_code == 2


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("distill", "model2vec.distill", "distill"),
        ("export", "sentence_transformers", "encoders"),
        pytest.param("export", "onnxscript", "encoders", marks=pytest.mark.encoders),
    ],
)
def test_a_missing_library_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, module: str, extra: str
) -> None:
    if module == "onnxscript":
        pytest.importorskip("torch", reason="torch is asked for before onnxscript")
        pytest.importorskip("sentence_transformers", reason="and sentence-transformers before it")
    monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(encoder, [command, "--model", "m", "--to", str(tmp_path / "to")])
    assert result.exit_code == 1
    assert f'pip install "adaptive-rag-router[{extra}]"' in result.output


def test_an_option_at_fault_is_named_and_exits_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> DistilledEncoder:
        raise EncoderError("the model has 32 dimensions", field="dimensions")

    monkeypatch.setattr(training.encoders.distill, "distill", refuse)
    result = CliRunner().invoke(encoder, ["distill", "--model", "m", "--to", "t"])
    assert result.exit_code == 2
    assert "Invalid value for --dimensions: the model has 32 dimensions" in result.output


def test_distill_reports_what_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    written = DistilledEncoder(Path("to"), "static:m:0123", 256, 29525, 0.9999, 8_123_139)
    monkeypatch.setattr(training.encoders.distill, "distill", lambda *_, **__: written)
    arguments = ["distill", "--model", "m", "--to", "to"]
    text = CliRunner().invoke(encoder, arguments).output
    assert "static:m:0123: 256 dimensions, 8.1 MB" in text
    assert '"static:to"' in text
    facts = json.loads(CliRunner().invoke(encoder, [*arguments, "--json"]).output)
    assert facts["version"] == "static:m:0123"
    assert facts["spec"] == "static:to"
    assert facts["bytes"] == 8_123_139


def test_export_reports_what_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    written = ExportedEncoder(Path("to"), "onnx:m:0123", 384, 256, 2e-7, 91_000_000)
    monkeypatch.setattr(training.encoders.export, "export_onnx", lambda *_, **__: written)
    result = CliRunner().invoke(encoder, ["export", "--model", "m", "--to", "to", "--json"])
    facts = json.loads(result.output)
    assert facts["spec"] == "onnx:to"
    assert facts["difference"] == 2e-7
