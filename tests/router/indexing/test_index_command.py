"""`rag-router index` as its users meet it, with real indexes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from policies.encoders import Encoder
from router.cli import cli, main
from router.retrieval.errors import IndexMissingError
from router.retrieval.open_retriever import open_retriever
from router.retrieval.retriever import Passage, Search
from router.settings import RetrieverSettings
from tests.stores import wait_until


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with two documents, in the current directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "cats.md").write_text("# Cats\n\nA cat purrs.")
    (folder / "dogs.txt").write_text("Dogs bark.")
    return folder


def index(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["index", *map(str, arguments)])


def indexed(*arguments: object) -> dict[str, Any]:
    """The report of a run that must succeed."""
    result = index(*arguments, "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, *arguments: object, status: int = 2
) -> str:
    """The message of a run that ends with this status, through the program's entry point."""
    monkeypatch.setattr(sys, "argv", ["rag-router", "index", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == status
    return str(capsys.readouterr().err)


def found(settings: RetrieverSettings, encoder: Encoder, text: str) -> list[Passage]:
    async def search() -> list[Passage]:
        retriever = open_retriever(settings, environ={}, encoder=encoder)
        passages = await retriever.search(Search(text=text, tenant=None))
        await retriever.close()
        return list(passages)

    return asyncio.run(search())


def test_without_a_configuration_it_fills_the_example_configurations_index(
    docs: Path, encoder: Encoder
) -> None:
    assert indexed("docs")["added"] == 2
    assert indexed("docs")["unchanged"] == 2
    (docs / "dogs.txt").unlink()
    assert indexed("docs")["removed"] == 1
    settings = RetrieverSettings(kind="lancedb", path="index/")
    [cats] = found(settings, encoder, "cat")
    assert (cats.title, cats.uri) == ("Cats", (docs / "cats.md").as_uri())


def test_the_summary_is_one_line(docs: Path) -> None:
    (docs / "picture.png").write_bytes(b"x")
    result = index("docs", "--to", "here")
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "2 documents added, 0 updated, 0 unchanged, 0 removed, 1 file skipped; "
        "2 passages written in "
    )
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


@pytest.mark.parametrize("kind", ["lancedb", "qdrant"])
def test_it_fills_the_configured_retriever(docs: Path, encoder: Encoder, kind: str) -> None:
    Path("router.toml").write_text(
        f'[retrievers.own]\nkind = "http"\nurl = "http://127.0.0.1:9"\n'
        f'[retrievers.docs]\nkind = "{kind}"\npath = "held"\ncollection = "manuals"\n'
    )
    assert indexed("docs", "--config", "router.toml", "--tenant", "acme")["passages"] == 2
    settings = RetrieverSettings(kind=kind, path="held", collection="manuals")  # type: ignore[arg-type]
    cats = found(settings, encoder, "cat")[0]
    assert (cats.title, cats.tenant) == ("Cats", "acme")
    assert indexed("docs", "--config", "router.toml", "--tenant", "acme")["unchanged"] == 2


def test_failures_are_told_and_end_with_status_1(docs: Path) -> None:
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7")
    result = index("docs", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["failed"] == 1
    assert "broken.pdf: it can't be read as PDF" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["Missing argument 'PATH...'", "--help"]),
        (["nowhere"], ["nowhere", "does not exist"]),
        (["docs", "--retriever", "doc"], ["[retrievers.doc]"]),
        (["docs", "--to", "x", "--retriever", "docs"], ["--to or --retriever"]),
        (["docs", "--chunk-chars", "5"], ["--chunk-chars"]),
        (["docs", "docs", "--base-uri", "https://x"], ["--base-uri"]),
        (["docs", "--base-uri", "docs.example.com"], ["--base-uri must be a URI"]),
        (["docs", "--base-uri", "C:\\docs"], ["--base-uri must be a URI"]),
        (["docs", "--to", ""], ["--to is empty"]),
        (["docs", "--tenant", "x" * 129], ["--tenant takes at most 128"]),
        (["docs", "--retriever", "docs"], ["no configuration was given", "--config"]),
        (["notes.rst"], ["notes.rst has none of the formats .md, ", ".jsonl"]),
        (["docs", "--config", "two.toml"], ["--retriever", "a, b"]),
        (["docs", "--config", "own.toml"], ["--retriever"]),
        (["docs", "--config", "own.toml", "--retriever", "own"], ["search service"]),
    ],
)
def test_wrong_use_ends_with_status_2(
    docs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    arguments: list[str],
    parts: list[str],
) -> None:
    lancedb = 'kind = "lancedb"\npath = "x"\n'
    Path("two.toml").write_text(f"[retrievers.a]\n{lancedb}[retrievers.b]\n{lancedb}")
    Path("own.toml").write_text('[retrievers.own]\nkind = "http"\nurl = "http://127.0.0.1:9"\n')
    Path("notes.rst").write_text("x")
    message = refused(monkeypatch, capsys, *arguments)
    for part in parts:
        assert part in message
    assert "Traceback" not in message


def test_a_server_that_is_away_ends_with_status_1(
    docs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    Path("router.toml").write_text('[retrievers.q]\nkind = "qdrant"\nurl = "http://127.0.0.1:9"\n')
    message = refused(monkeypatch, capsys, "docs", "--config", "router.toml", status=1)
    assert message.startswith("rag-router: ")
    assert "can't be reached" in message


def test_a_broken_index_ends_with_status_1_and_without_rust(
    docs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    indexed("docs")
    for file in Path("index/passages.lance/_versions").iterdir():
        file.write_bytes(b"junk")
    message = refused(monkeypatch, capsys, "docs", status=1)
    assert "the index at index/ can't be read or written: " in message
    assert "source" not in message
    assert ".rs" not in message


def test_an_interrupted_run_leaves_a_sound_index_and_can_be_continued(
    docs: Path, encoder: Encoder
) -> None:
    """Interrupted as soon as the first batch is in the index."""
    with (docs / "many.jsonl").open("w") as file:
        for n in range(20_000):
            file.write(json.dumps({"id": n, "text": f"passage number {n} of many"}) + "\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "router.cli", "index", "docs"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    settings = RetrieverSettings(kind="lancedb", path="index", timeout_s=30.0)

    def something_is_written() -> bool:
        try:
            return bool(found(settings, encoder, "passage number"))
        except IndexMissingError:
            return False

    wait_until(lambda: something_is_written() or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"Traceback" not in errors
    assert something_is_written()
    rest = indexed("docs")
    assert rest["added"] > 0
    assert rest["added"] + rest["unchanged"] == 20_002
    assert rest["updated"] == 0
