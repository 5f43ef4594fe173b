"""Peers in processes of their own answer line by line, and one that can't run says why."""

import sys
from pathlib import Path

import pytest

from tests.benchmarks.conftest import BENCHMARKS

COUNTING = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS / "peers")!r})
from protocol import Peer, Way, serve

def build(arms, train):
    print("a library's chatter must not get between the answers")
    asked = []
    if not train:
        raise RuntimeError("nothing to learn from")
    ways = [Way("count", "counts", asked.append, call_batch=asked.extend)]
    return Peer([], ways, {{"other": f"for {{len(arms)}} arms alone"}})

serve(build)
"""


@pytest.fixture
def peer(tmp_path: Path) -> object:
    from peers.environments import PeerSpec

    (tmp_path / "peer.py").write_text(COUNTING)
    return PeerSpec("counting", str(tmp_path / "peer.py"))


def test_a_peer_times_every_query_of_a_round(peer: object, tmp_path: Path) -> None:
    from peers.running import BATCH, Timed, running

    with running(peer, tmp_path, hub=False) as process:
        hello = process.ask({"arms": ["a", "b"], "train": [{"query": "q", "quality": {}}]})
        assert [way["name"] for way in hello["ways"]] == ["count"]
        assert hello["missing"] == {"other": "for 2 arms alone"}
        single = Timed("count", "", process, 0, batch=False)
        single.run(["warm"], ["one", "two", "three"])
        assert len(single.taken[0]) == 3
        assert 0.0 < single.quantile(50) < 1e6
        batch = Timed("count", "", process, 0, batch=True)
        batch.run(["warm"], ["one", "two", "three"])
        assert len(batch.taken[0]) == BATCH


def test_a_peer_that_ends_says_its_last_words(peer: object, tmp_path: Path) -> None:
    from peers.running import PeerError, running

    with (
        running(peer, tmp_path, hub=False) as process,
        pytest.raises(PeerError, match="nothing to learn from"),
    ):
        process.ask({"arms": [], "train": []})


def test_a_peer_without_an_environment_is_missing_with_the_cure(tmp_path: Path) -> None:
    from peers.environments import PEERS, why_missing

    ours, *others = PEERS
    assert ours.python(tmp_path) == Path(sys.executable)
    assert why_missing(ours, tmp_path) is None
    assert all("--setup" in (why_missing(other, tmp_path) or "") for other in others)


def test_every_peer_has_its_script_and_its_pinned_requirements() -> None:
    from peers.environments import HERE, PEERS

    for peer in PEERS:
        assert (HERE / peer.script).is_file()
        if peer.requirements is not None:
            lines = (HERE / "requirements" / f"{peer.requirements}.txt").read_text().splitlines()
            assert all("==" in line for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("split", ["train", None])
def test_questions_to_decide_on_are_none_that_were_learnt_from(
    tmp_path: Path, split: str | None
) -> None:
    import json

    from peers.questions import recorded

    rows = [
        {
            "query": f"question {number}",
            "split": (split if number < 6 else "test") if split else "all",
            "outcomes": {"a": {"quality": 1.0}, "b": {"quality": 0.0}},
        }
        for number in range(12)
    ]
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = recorded(table, 4)
    assert len(questions.train) == 6
    assert len(questions.queries) == 4
    assert not {row["query"] for row in questions.train} & set(questions.queries)
