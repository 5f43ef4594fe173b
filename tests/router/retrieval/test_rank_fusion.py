"""Reciprocal rank fusion, and the words that are counted."""

import pytest

from router.retrieval.rank_fusion import fuse_ranks
from router.retrieval.searchable import terms
from router.retrieval.sparse_terms import passage_terms, query_terms


def test_what_both_rankings_hold_comes_first() -> None:
    assert fuse_ranks([["a", "b", "c"], ["d", "c", "e"]], 3) == ["c", "a", "d"]


def test_one_ranking_keeps_its_order() -> None:
    assert fuse_ranks([["b", "a"], []], 5) == ["b", "a"]


def test_terms_are_folded_and_split_at_punctuation_and_between_ideographs() -> None:
    assert terms("Straße, ＡＢＣ-x 東京!") == ["strasse", "abc", "x", "東", "京"]
    assert terms("?!… \x00") == []


def test_a_words_weight_grows_with_its_count_and_saturates() -> None:
    weights = [passage_terms("cat " * count + "x " * (200 - count))[1][0] for count in (1, 2, 50)]
    assert weights == sorted(weights)
    assert weights[0] == pytest.approx(1.0)
    assert weights[-1] < 2.2


def test_a_querys_words_count_once() -> None:
    ids, weights = query_terms("cat Cat dog")
    assert len(ids) == 2
    assert weights == [1.0, 1.0]
    assert set(ids) <= set(passage_terms("the dog and the cat")[0])
