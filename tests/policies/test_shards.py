"""Which shard has a decision, now and after there are more of them."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uuid_utils import uuid7

from policies.shards import SLOTS, Shards, made_at_ms, slot_of, spread_tags
from policies.store_keys import StoreKeys

KEYS = StoreKeys("rag")


def one() -> Shards:
    return Shards.noted(None, KEYS)


@pytest.mark.parametrize("tag", ["{rag}", "{rag/1.88}", "{other}"])
def test_slots_are_those_of_redis(tag: str) -> None:
    from redis.crc import key_slot

    assert slot_of(tag) == key_slot(f"{tag}:decisions".encode())


def test_the_first_shard_is_where_everything_was_before() -> None:
    assert one().of("any").decisions == "{rag}:decisions"
    assert one().grown(3, 0).all[0].trace("d") == "{rag}:trace:d"


@pytest.mark.parametrize("primaries", [2, 3, 5, 8])
@pytest.mark.parametrize("each", [1, 4])
@pytest.mark.parametrize("prefix", ["rag", "project-7", "a:b"])
def test_each_primary_of_a_new_cluster_gets_as_many_shards(
    primaries: int, each: int, prefix: str
) -> None:
    """Their ranges of slots are equal; tags hashed as they come would be spread like dice."""
    tags = spread_tags([StoreKeys(prefix).tag], primaries * each)
    assert len(set(tags)) == primaries * each
    held = Counter(slot_of(tag) * primaries // SLOTS for tag in tags)
    assert set(held.values()) == {each}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_more_shards_keep_those_there_are(steps: list[int]) -> None:
    shards, count = one(), 1
    for number, more in enumerate(steps, start=1):
        before, count = [keys.tag for keys in shards.all], count + more
        shards = shards.grown(count, number)
        assert [keys.tag for keys in shards.all][: len(before)] == before
        assert len({keys.tag for keys in shards.all}) == count


def test_a_decision_stays_where_it_was_made_however_many_shards_there_are_later() -> None:
    """Its id says when it was made: feedback on it months later goes to the same place."""
    ids = [str(uuid7()) for _ in range(300)]
    now = made_at_ms(ids[0])
    before = one().grown(3, 0)
    after = before.grown(6, now + 60_000)
    assert [after.of(id_).tag for id_ in ids] == [before.of(id_).tag for id_ in ids]
    at_once = before.grown(6, now)
    assert {at_once.of(id_).tag for id_ in ids} == {keys.tag for keys in at_once.all}


def test_decisions_are_spread_evenly() -> None:
    """Null: each of 4 shards has a quarter. Chi-squared with 3 degrees of freedom, 1e-6: 30.7."""
    shards = one().grown(4, 0)
    counts = Counter(shards.of(str(uuid7())).tag for _ in range(4_000))
    assert sum((count - 1_000) ** 2 / 1_000 for count in counts.values()) < 30.7
    assert len(counts) == 4


def test_an_id_that_tells_no_time_counts_as_the_earliest() -> None:
    """Whoever sends feedback may send any id; it mustn't move when shards are added."""
    before = one().grown(3, 0)
    after = before.grown(5, 1)
    for id_ in ("decision-000001", "", "0b9d0f7e-6a0c-4e0f-9c59-6d0c6d9a2b11", "z" * 14 + "7" * 22):
        assert made_at_ms(id_) == 0
        assert after.of(id_).tag == before.of(id_).tag


def test_what_is_noted_is_read_back() -> None:
    shards = one().grown(3, 0).grown(5, 1_800_000_000_000)
    assert Shards.noted(shards.encoded(), KEYS).epochs == shards.epochs
    assert [len(epoch.tags) for epoch in shards.epochs] == [3, 5]
    # One shard from a later time on is what a log that was in use begins with.
    assert [len(epoch.tags) for epoch in one().grown(2, 5).epochs] == [1, 2]
