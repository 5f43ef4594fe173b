"""What is logged of a query doesn't depend on the queries it came with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.encoders import Encoder
from policies.exploration import Exploration, until_first_promotion
from policies.features import Featurizer
from policies.rule_policy import RulePolicy
from router.api.schemas import RouteRequest
from router.deciding.decider import Decider
from router.serving_policy import ServingPolicy, fit_to_service
from router.settings import Settings
from tests.policies.every_block import every_block
from training.fit.known_queries import fit_known_queries

TEXT = "who wrote a film about the river bank in 1998 and where is it than café Madame Lu"


def queries(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(TEXT.split(), rng.integers(1, 30))) + "?" for _ in range(count)]


def serving(decider: Decider) -> ServingPolicy:
    """A policy of every block, which knows queries."""
    featurizer = decider.featurizer
    policy = every_block(
        [arm.name for arm in decider.arms],
        featurizer.version,
        featurizer.dimension,
        size=0.3,
        seed=1,
        carried=fit_known_queries(featurizer.features(queries(300)), 0),
    )
    return fit_to_service(
        policy,
        decider.arms,
        featurizer.version,
        featurizer.dimension,
        Exploration(),
        promoted=True,
    )


def cold_start(decider: Decider) -> ServingPolicy:
    featurizer = decider.featurizer
    return fit_to_service(
        RulePolicy(decider.arms),
        decider.arms,
        featurizer.version,
        featurizer.dimension,
        until_first_promotion(Exploration()),
        promoted=False,
    )


def logged(
    encoder: Encoder,
    size: int,
    order: np.ndarray,
    texts: list[str],
    policy_of: Callable[[Decider], ServingPolicy] = serving,
) -> list[Any]:
    """What stands in the log of each text, decided in this order and in batches of this size."""
    name = {text: f"decision-{number}" for number, text in enumerate(texts)}
    found: dict[str, Any] = {}
    ids: list[str] = []
    decider = Decider(Settings(), Featurizer(encoder), new_id=lambda: ids.pop(0))
    policy = policy_of(decider)
    for start in range(0, len(texts), size):
        batch = [texts[index] for index in order[start : start + size]]
        ids += [name[text] for text in batch]
        for text, decision in zip(
            batch, decider.decide([RouteRequest(query=text) for text in batch], policy), strict=True
        ):
            event = decision.event
            found[text] = (event.arm, event.probabilities, event.expected, event.features)
    return [found[text] for text in texts]


def same_in_any_company(encoder: Encoder) -> None:
    texts = list(dict.fromkeys(queries(540)))[:512]
    in_order = np.arange(len(texts))
    alone = logged(encoder, 1, in_order, texts)
    assert logged(encoder, 3, in_order, texts) == alone
    assert logged(encoder, 64, in_order, texts) == alone
    assert logged(encoder, 64, np.random.default_rng(2).permutation(len(texts)), texts) == alone
    assert len({arm for arm, *_ in alone}) == 3


def test_decisions_are_the_same_bits_alone_in_batches_and_in_another_order(
    encoder: Encoder,
) -> None:
    same_in_any_company(encoder)


def test_requests_that_ask_for_different_things_are_logged_the_same_alone_and_together(
    encoder: Encoder,
) -> None:
    """Among them one that weighs a metric which the others' logs don't have."""
    asked: list[dict[str, Any]] = [
        {},
        {"objective": {"quality": 1.0, "retrieval_rate": -0.2}},
        {"objective": "cheap"},
        {"arms": ["hybrid", "retrieve"]},
        {"explore": False},
        {"attributes": {"require_sources": True}, "tenant": "someone"},
    ]
    texts = list(dict.fromkeys(queries(60)))
    requests = [
        RouteRequest(query=text, **asked[number % len(asked)]) for number, text in enumerate(texts)
    ]
    ids = iter([f"decision-{number}" for number in range(len(requests))] * 2)
    decider = Decider(
        Settings(), Featurizer(encoder), new_id=lambda: next(ids), clock=lambda: 1_000.0
    )
    policy = serving(decider)
    alone = [decision for request in requests for decision in decider.decide([request], policy)]
    assert decider.decide(requests, policy) == alone


def test_so_they_are_before_a_policy_is_trained(encoder: Encoder) -> None:
    """By rules of which several apply to one query."""
    words = [*TEXT.split(), "latest", "compare", "summarise", "json", "3*4", "whose", "`x`", "5"]
    rng = np.random.default_rng(4)
    drawn = [" ".join(rng.choice(words, rng.integers(1, 40))) for _ in range(512)]
    texts = list(dict.fromkeys(drawn))
    in_order = np.arange(len(texts))
    alone = logged(encoder, 1, in_order, texts, cold_start)
    for size in (3, 64):
        assert logged(encoder, size, in_order, texts, cold_start) == alone


@pytest.mark.encoders
@pytest.mark.parametrize("quantised", [False, True])
def test_so_they_are_with_a_transformers_encoder_quantised_or_not(
    tmp_path: Path, quantised: bool
) -> None:
    """A dynamically quantised layer takes its scale from all that is multiplied together."""
    pytest.importorskip("onnxruntime")
    same_in_any_company(small_encoder(tmp_path, quantised=quantised))


def small_encoder(directory: Path, *, quantised: bool) -> Encoder:
    """Token vectors, one layer, their mean: with the shipped tokenizer and random weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import quantize_dynamic

    from policies.encoders import SHIPPED, load_encoder

    rng = np.random.default_rng(3)
    tables = {
        "table": rng.normal(size=(30_000, 32)).astype(np.float32),
        "layer": rng.normal(size=(32, 32)).astype(np.float32),
        "axes": np.array([1]),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        helper.make_node("MatMul", ["vectors", "layer"], ["mixed"]),
        helper.make_node("Tanh", ["mixed"], ["bent"]),
        helper.make_node("ReduceMean", ["bent", "axes"], ["sentence"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "t"])],
        [helper.make_tensor_value_info("sentence", TensorProto.FLOAT, ["n", 32])],
        [numpy_helper.from_array(values, name) for name, values in tables.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, directory / ("whole.onnx" if quantised else "model.onnx"))
    if quantised:
        quantize_dynamic(directory / "whole.onnx", directory / "model.onnx")
    (directory / "tokenizer.json").write_bytes((SHIPPED / "tokenizer.json").read_bytes())
    (directory / "encoder.json").write_text(
        '{"name": "small", "dimension": 32, "inputs": ["input_ids"]}'
    )
    return load_encoder(f"onnx:{directory}")
