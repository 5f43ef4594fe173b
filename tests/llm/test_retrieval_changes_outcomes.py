"""The whole path with a real language model: the official client, a real index, a real server.

The same small model answers 60 PopQA questions alone (route `finetuned`) and with passages looked
up (route `retrieve`). At temperature 0, one after the other, a rerun gives the same answers; what
may vary is the sample of questions, which is fixed.
"""

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest

from tests.model_servers import LanguageModelServer
from tests.service_process import ServiceProcess

QUESTIONS = 60
SEED = 11
MIN_GAIN = 0.15
CONFIG = """
[models.small]
base_url = "{url}"
model = "{model}"
price_per_1k = {{ input = 0.01, output = 0.03 }}
system_prompt = "Answer in one short sentence."
parameters = {{ temperature = 0, max_tokens = 24 }}
first_token_timeout_s = 120.0
stall_timeout_s = 60.0
total_timeout_s = 300.0
[retrievers.docs]
kind = "lancedb"
path = "{index}"
timeout_s = 30.0
[answers]
deadline_s = 300.0
[arms.finetuned]
route = "finetuned"
model = "small"
[arms.retrieve]
route = "retrieve"
model = "small"
retriever = "docs"
k = 2
[arms.multi]
route = "retrieve"
model = "small"
retriever = "docs"
k = 1
steps = 3
"""

pytestmark = [pytest.mark.llm, pytest.mark.data, pytest.mark.timeout(1200)]


class Question(NamedTuple):
    """One question and the answers that count as right."""

    text: str
    gold: list[str]

    def is_answered_in(self, text: str) -> bool:
        """Whether any right answer stands in the text, in any case."""
        return any(answer.casefold() in text.casefold() for answer in self.gold)


@pytest.fixture(scope="module")
def table(recorded: Path) -> list[dict[str, Any]]:
    path = recorded / "passages_popqa_1000.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def questions(table: list[dict[str, Any]]) -> list[Question]:
    sample = random.Random(SEED).sample(table, QUESTIONS)
    return [Question(row["query"], row["gold"]) for row in sample]


@pytest.fixture(scope="module")
def index(table: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every passage of the table, indexed by the command that a user would type."""
    folder = tmp_path_factory.mktemp("popqa")
    passages = {p["text"]: p["title"] for row in table for p in row["passages"]}
    lines = [json.dumps({"text": text, "title": title}) for text, title in passages.items()]
    (folder / "passages.jsonl").write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "router.cli", "index", "passages.jsonl", "--to", "index"]
    # A model of 135 M parameters loses its way in long passages.
    command += ["--chunk-chars", "400", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["added"] == len(passages)
    return folder / "index"


@pytest.fixture(scope="module")
def client(
    language_model: LanguageModelServer, index: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[openai.OpenAI]:
    data = tmp_path_factory.mktemp("llm") / "data"
    url, model = language_model.base_url, language_model.model
    config = CONFIG.format(url=url, model=model, index=index)
    with (
        ServiceProcess(data, config=config) as router,
        openai.OpenAI(base_url=f"{router.url}/v1", api_key="none", timeout=300.0) as opened,
    ):
        yield opened


def ask(client: openai.OpenAI, question: str, arm: str) -> tuple[str, Any]:
    completion: Any = client.chat.completions.create(
        model=f"arm:{arm}", messages=[{"role": "user", "content": question}]
    )
    return completion.choices[0].message.content or "", completion


def test_retrieval_changes_outcomes(
    client: openai.OpenAI, questions: list[Question], capsys: pytest.CaptureFixture[str]
) -> None:
    right = {"finetuned": 0, "retrieve": 0}
    with_gold, seconds = 0, {"finetuned": 0.0, "retrieve": 0.0}
    for question in questions:
        for arm in right:
            answer, completion = ask(client, question.text, arm)
            right[arm] += question.is_answered_in(answer)
            metrics = completion.router["metrics"]
            seconds[arm] += metrics["latency_s"]
            assert completion.router["degraded_from"] is None
            assert metrics["cost_usd"] > 0.0
            assert metrics["steps"] == (1.0 if arm == "retrieve" else 0.0)
            if arm == "retrieve":
                passages = " ".join(source["passage"] for source in completion.sources)
                with_gold += question.is_answered_in(passages)
    accuracy = {arm: count / QUESTIONS for arm, count in right.items()}
    report = {
        "accuracy": accuracy,
        "gold in sources": with_gold / QUESTIONS,
        "seconds an answer": {arm: total / QUESTIONS for arm, total in seconds.items()},
    }
    with capsys.disabled():
        print(f"\n{report}")
    assert accuracy["retrieve"] - accuracy["finetuned"] >= MIN_GAIN, report
    assert with_gold / QUESTIONS > 0.5, report


def test_a_stream_of_a_real_model_ends_with_its_sources(
    client: openai.OpenAI, questions: list[Question]
) -> None:
    stream: Any = client.chat.completions.create(
        model="arm:retrieve",
        messages=[{"role": "user", "content": questions[0].text}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == ask(client, questions[0].text, "retrieve")[0]
    assert len(chunks) > 3
    assert len(chunks[-1].sources) == 2
    assert chunks[-1].usage.prompt_tokens > 50


def test_a_real_model_may_search_again(client: openai.OpenAI, questions: list[Question]) -> None:
    steps = []
    for question in questions[:3]:
        _, completion = ask(client, question.text, "multi")
        steps.append(completion.router["metrics"]["steps"])
        assert 1 <= len(completion.sources) <= steps[-1]
    assert all(step in (1.0, 2.0, 3.0) for step in steps), steps
    assert max(steps) > 1.0, steps
