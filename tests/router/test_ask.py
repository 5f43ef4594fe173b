"""`rag-router ask` and what `rag-router check` says of models, against a real service."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from router.cli import cli
from tests.faulty_backend import FaultyBackend
from tests.service_process import ServiceProcess

CONFIG = """
[models.base]
base_url = "{url}/v1"
model = "base-model"
[retrievers.docs]
kind = "http"
url = "{url}/search"
[arms.retrieve]
route = "retrieve"
model = "base"
retriever = "docs"
[arms.decided]
route = "finetuned"
"""


@pytest.fixture(scope="module")
def backend() -> Iterator[FaultyBackend]:
    passages = [
        {"id": "emma", "title": "Emma", "uri": "emma.md", "text": "By Jane Austen.", "score": 0.9},
        {"id": "other", "text": "Something else.", "score": 0.1},
    ]
    with FaultyBackend(reply="Jane Austen [1].", passages=passages) as started:
        yield started


@pytest.fixture(scope="module")
def router(
    backend: FaultyBackend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    data = tmp_path_factory.mktemp("ask") / "data"
    with ServiceProcess(data, config=CONFIG.format(url=backend.url)) as started:
        yield started


def ask(router: ServiceProcess, *options: str) -> Result:
    arguments = ["ask", "Who wrote Emma?", "--url", router.url, *options]
    return CliRunner().invoke(cli, arguments)


def test_an_answer_is_shown_with_sources_and_reasons(router: ServiceProcess) -> None:
    result = ask(router, "--objective", "cheap", "--sources")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "Jane Austen [1]."
    assert "[1] Emma emma.md" in lines
    assert "[2] other  (not cited)" in lines
    assert any(line.startswith("arm retrieve; latency_s ") for line in lines)
    assert "- require_sources: the request asks for sources" in lines


def test_json_is_the_whole_response(router: ServiceProcess) -> None:
    weights = json.dumps({"quality": 1, "latency_s": -0.5})
    result = ask(router, "--objective", weights, "--arm", "retrieve", "--tenant", "a", "--json")
    body = json.loads(result.output)
    assert (body["arm"], body["answer"]) == ("retrieve", "Jane Austen [1].")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objective", "chep"], "did you mean 'cheap'"),
        (["--arm", "hybrid"], "unknown arm"),
        (["--url", "http://127.0.0.1:9"], "is `rag-router serve` running there?"),
    ],
)
def test_what_goes_wrong_is_a_message(
    router: ServiceProcess, options: list[str], message: str
) -> None:
    result = ask(router, *options)
    assert result.exit_code != 0
    assert message in str(result.exception)


def test_weights_that_arent_json_are_wrong_use(router: ServiceProcess) -> None:
    result = ask(router, "--objective", "{quality")
    assert result.exit_code == 2
    assert "neither a name nor JSON" in result.output


def test_check_tells_models_and_what_only_decides(tmp_path: Path, backend: FaultyBackend) -> None:
    path = tmp_path / "router.toml"
    path.write_text(CONFIG.format(url=backend.url), encoding="utf-8")
    result = CliRunner().invoke(cli, ["check", "--config", str(path)])
    assert result.exit_code == 0, result.output
    assert f"model:      base: base-model at {backend.base_url}" in result.output
    assert f"retriever:  docs: http at {backend.search_url}" in result.output
    assert "arm decided only decides: no model is configured for it" in result.output
