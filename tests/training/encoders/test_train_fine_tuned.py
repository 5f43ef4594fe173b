"""`rag-policy train --fine-tune` on the command line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from policies.artifact import read_artifact
from policies.encoders import SHIPPED
from policies.encoders.static import StaticEncoder
from tests.training.encoders.blurred_world import rows_of, write_blurred
from tests.training.worlds import write_rows
from training.cli import main

QUIET = pytest.mark.filterwarnings("ignore")


def train(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "table.jsonl.gz", rows_of(240, 1))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    encoder = write_blurred(tmp_path / "blurred")
    file = tmp_path / "router.toml"
    file.write_text(f'encoder = "static:{encoder}"\n')
    return file


@pytest.fixture
def libraries() -> None:
    pytest.importorskip("sentence_transformers", reason="needs the encoders extra")


def refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr


# It decides with the fine-tuned encoder where neither torch nor sentence-transformers can be had.
_WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["sentence_transformers"] = None
from training.cli import main
main(sys.argv[1:])
"""


@pytest.mark.encoders
@QUIET
@pytest.mark.usefixtures("libraries")
def test_a_better_encoder_is_written_and_its_policy_decides_without_torch(
    table: Path, config: Path, tmp_path: Path
) -> None:
    encoder, policy = tmp_path / "encoder", tmp_path / "policy"
    options = ["--config", config, "--fine-tune", encoder, "--to", policy, "--json"]
    result = train("--outcomes", table, *options)
    assert result.exit_code == 0, result.stderr
    assert f'set encoder = "static:{encoder}"' in result.stderr
    assert "it is kept" in result.stderr
    manifest = json.loads(result.stdout)
    compared = manifest["evaluation"]["fine_tuned_encoder"]
    assert compared["kept"] is True
    assert compared["gain"] > compared["standard_error"] > 0.0
    served = StaticEncoder.load(encoder)
    assert served.version.startswith("static:blurred-fine-tuned:")
    assert manifest["feature_version"].startswith(served.version)
    record: dict[str, Any] = json.loads((encoder / "provenance.json").read_text())
    assert record["source"]["model"].startswith("static:blurred:")
    assert record["data"]["rows"] == 240
    assert record["comparison"] == compared
    config.write_text(f'encoder = "static:{encoder}"\n')
    routed = tmp_path / "routed.jsonl"
    arguments = ["decide", "--policy", policy, "--queries", table, "--to", routed]
    command = [sys.executable, "-c", _WITHOUT_TORCH, *arguments, "--config", config]
    done = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    arms = [json.loads(line)["arm"] for line in routed.read_text().splitlines()]
    outcomes = [row["outcomes"] for row in rows_of(240, 1)]
    value = [row[arm]["quality"] for row, arm in zip(outcomes, arms, strict=True)]
    assert sum(value) / len(value) > 0.75  # always the same arm: .5; the best of each topic: .9


@pytest.mark.encoders
@QUIET
@pytest.mark.usefixtures("libraries")
def test_an_encoder_that_is_no_better_is_not_written(config: Path, tmp_path: Path) -> None:
    table = write_rows(tmp_path / "noise.jsonl.gz", rows_of(120, 1, noise=True))
    encoder, policy = tmp_path / "encoder", tmp_path / "policy"
    result = train("--outcomes", table, "--config", config, "--fine-tune", encoder, "--to", policy)
    assert result.exit_code == 0, result.stderr
    assert "the encoder stays as it is" in result.stderr
    assert not encoder.exists()
    manifest = read_artifact(policy).manifest
    assert manifest.feature_version.startswith("static:blurred:")
    assert manifest.evaluation["fine_tuned_encoder"]["kept"] is False


@pytest.mark.parametrize("module", ["torch", "sentence_transformers"])
def test_without_the_extra_it_is_refused_and_the_cure_named(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    for name in ("torch", "sentence_transformers"):
        # Whatever is installed, one is missing and the other would do.
        monkeypatch.setitem(sys.modules, name, None if name == module else sys)
    options = ["--fine-tune", tmp_path / "encoder", "--to", tmp_path / "policy"]
    refused(
        train("--outcomes", table, *options),
        f"{module} can't be imported",
        'pip install "adaptive-rag-router[encoders]"',
    )
    assert not (tmp_path / "policy").exists()


def test_logs_are_refused(table: Path, tmp_path: Path) -> None:
    options = ["--fine-tune", tmp_path / "encoder", "--to", tmp_path / "policy"]
    for given in (["--logs", tmp_path], ["--logs", tmp_path, "--outcomes", table]):
        refused(train(*given, *options), "--fine-tune needs --outcomes, without --logs")


def test_an_encoder_that_is_not_static_is_refused(table: Path, tmp_path: Path) -> None:
    config = tmp_path / "router.toml"
    config.write_text('encoder = "onnx:my-onnx"\n')
    options = ["--fine-tune", tmp_path / "encoder", "--to", tmp_path / "policy"]
    refused(
        train("--outcomes", table, "--config", config, *options),
        "encoder: only a static encoder can be fine-tuned",
    )


def test_a_directory_that_is_in_use_is_refused_before_the_work(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, name, sys)
    refused(
        train("--outcomes", table, "--fine-tune", SHIPPED, "--to", tmp_path / "policy"),
        "fine-tune:",
        "isn't empty",
    )
