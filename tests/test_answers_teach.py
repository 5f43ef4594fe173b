"""The router's own measurements train the cost and latency models, with nobody reporting them."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from policies.artifact import read_artifact
from policies.encoders import Encoder
from policies.features import Featurizer
from policies.loading import load_policy
from tests.faulty_backend import FaultyBackend
from tests.service_process import ServiceProcess
from training.cli import main

ANSWERS = 600
CONFIG = """
[models.dear]
base_url = "{url}/v1"
model = "dear"
price_per_1k = {{ input = 10.0, output = 10.0 }}
[models.cheap]
base_url = "{url}/v1"
model = "cheap"
price_per_1k = {{ input = 1.0, output = 1.0 }}
[retrievers.docs]
kind = "http"
url = "{url}/search"
[arms.finetuned]
route = "finetuned"
model = "cheap"
[arms.retrieve]
route = "retrieve"
model = "dear"
retriever = "docs"
[exploration]
kind = "uniform"
"""


@pytest.fixture
def backend() -> Iterator[FaultyBackend]:
    passages = [{"id": "emma", "text": "Jane Austen wrote Emma.", "score": 0.9}]
    with FaultyBackend(passages=passages) as started:
        yield started


def test_a_trained_policy_knows_what_each_arm_costs(
    backend: FaultyBackend, tmp_path: Path, encoder: Encoder
) -> None:
    data = tmp_path / "data"
    with ServiceProcess(data, config=CONFIG.format(url=backend.url)) as service:

        def ask(number: int) -> None:
            query = {"query": f"Which author wrote the novel number {number}?"}
            body = service.client.post("/v1/answer", json=query).raise_for_status().json()
            feedback = {"decision_id": body["decision_id"], "metric": "quality", "value": 1.0}
            service.client.post("/v1/feedback", json=feedback).raise_for_status()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, range(ANSWERS)))
        logs, policy = str(tmp_path / "logs"), str(tmp_path / "policy")
        runner = CliRunner()
        exported = runner.invoke(main, ["export", "--from", str(data), "--to", logs])
        assert exported.exit_code == 0, exported.output
    trained = runner.invoke(main, ["train", "--logs", logs, "--to", policy, "--json"])
    assert trained.exit_code == 0, trained.output
    assert json.loads(trained.stdout)
    learned = load_policy(read_artifact(Path(policy)))
    assert {"quality", "cost_usd", "latency_s", "first_token_s", "steps"} <= set(learned.metrics)
    features = Featurizer(encoder).features(["Which author wrote the novel number 7?"])
    expected = dict(
        zip(learned.metrics, np.moveaxis(learned.expected(features)[0], 1, 0), strict=True)
    )
    arms = list(learned.arms)
    dear, cheap = arms.index("retrieve"), arms.index("finetuned")
    # The scripted server counts 20 tokens in and 7 out for every answer.
    assert expected["cost_usd"][cheap] == pytest.approx(0.027, rel=0.1)
    assert expected["cost_usd"][dear] == pytest.approx(0.27, rel=0.1)
    assert expected["steps"][dear] == pytest.approx(1.0, abs=0.1)
    assert expected["steps"][cheap] == pytest.approx(0.0, abs=0.1)
    assert (expected["latency_s"] > 0.0).all()
