"""What every retriever does, over its real store; the http one over a real socket."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.router.retrieval.backends import Backend, passage

CATS = passage("cats", "A cat purrs when it is content, and sleeps most of the day.")
DOGS = passage("dogs", "Dogs bark at strangers and like long walks.")
STOCKS = passage("stocks", "The stock market fell sharply after the bank raised interest rates.")
STRATEGIES = ("vector", "text", "hybrid")
HOSTILE = (
    "' OR '1'='1",
    "x') OR tenant IS NOT NULL --",
    'cat" AND title:*',
    "AND OR NOT",
    "title:cat^9 ~2 +cat -dog (",
    "*",
    "\\",
    "\0cat",
    "{}[]",
    "%s; DROP TABLE passages",
)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_the_best_passage_comes_first(any_backend: Backend, strategy: str) -> None:
    await any_backend.hold(CATS, DOGS, STOCKS)
    assert (await any_backend.titles("why does a cat purr", strategy=strategy))[0] == "cats"


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_at_most_k_are_found(any_backend: Backend, strategy: str) -> None:
    many = [passage(f"cat {n}", f"cat number {n} purrs") for n in range(60)]
    await any_backend.hold(*many)
    for k in (1, 3, 50):
        found = await any_backend.search("cat", strategy=strategy, k=k)
        assert len({one.id for one in found}) == len(found) == k


async def test_a_passage_comes_back_whole(any_backend: Backend) -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 123456, tzinfo=UTC)
    await any_backend.hold(
        passage("naïve 😀", "Grüße, 世界! \"'\n", tenant="a'b", updated_at=moment)
    )
    [found] = await any_backend.search("Grüße", tenant="a'b")
    assert (found.title, found.text, found.tenant) == ("naïve 😀", "Grüße, 世界! \"'\n", "a'b")
    assert found.uri == "https://docs.example/naïve 😀"
    assert found.updated_at == moment
    assert found.updated_at is not None
    assert found.updated_at.utcoffset() == timedelta(0)
    assert len(found.id) == 32


async def test_scores_are_cosines_where_vectors_took_part(any_backend: Backend) -> None:
    await any_backend.hold(CATS, DOGS, STOCKS)
    [query, row] = any_backend.encoder.encode(["cat", f"{CATS.title}\n{CATS.text}"])
    for strategy in ("vector", "hybrid"):
        found = {one.title: one.score for one in await any_backend.search("cat", strategy=strategy)}
        assert found["cats"] == pytest.approx(float(query @ row), abs=1e-4)
        assert all(-1.0001 <= score <= 1.0001 for score in found.values())


async def test_vector_scores_fall(any_backend: Backend) -> None:
    await any_backend.hold(CATS, DOGS, STOCKS)
    scores = [one.score for one in await any_backend.search("cat", strategy="vector")]
    assert scores == sorted(scores, reverse=True)


async def test_text_finds_only_what_shares_a_word(any_backend: Backend) -> None:
    await any_backend.hold(CATS, DOGS, STOCKS)
    assert await any_backend.titles("bark", strategy="text") == ["dogs"]
    assert await any_backend.titles("STOCKS", strategy="text") == ["stocks"]
    assert await any_backend.titles("zebra", strategy="text") == []


async def test_hybrid_finds_what_either_finds(any_backend: Backend) -> None:
    rare = passage("code", "zxqv-4711 is the part's number")
    await any_backend.hold(CATS, DOGS, STOCKS, rare)
    found = await any_backend.titles("a kitten, zxqv", strategy="hybrid")
    assert {"cats", "code"} <= set(found)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_tenant_finds_its_own_and_everybodys(any_backend: Backend, strategy: str) -> None:
    await any_backend.hold(
        passage("public", "a cat purrs"),
        passage("hers", "a cat purrs softly", tenant="a"),
        passage("his", "a cat purrs loudly", tenant="b"),
    )
    wish = {"strategy": strategy, "k": 10}
    assert set(await any_backend.titles("cat", tenant="a", **wish)) == {"public", "hers"}
    assert set(await any_backend.titles("cat", tenant="", **wish)) == {"public"}
    assert set(await any_backend.titles("cat", tenant="nobody", **wish)) == {"public"}
    assert set(await any_backend.titles("cat", tenant=None, **wish)) == {"public", "hers", "his"}


async def test_the_tenants_passages_are_filtered_before_ranking(any_backend: Backend) -> None:
    others = [passage(f"other {n}", "a cat purrs", tenant="b") for n in range(80)]
    await any_backend.hold(*others, passage("own", "dogs and one cat", tenant="a"))
    for strategy in STRATEGIES:
        assert await any_backend.titles("cat purrs", tenant="a", strategy=strategy, k=1) == ["own"]


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_freshness_leaves_out_the_old_and_the_undated(
    any_backend: Backend, strategy: str
) -> None:
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    await any_backend.hold(
        passage("old", "a cat purrs", updated_at=now - timedelta(days=30)),
        passage("new", "a cat purrs", updated_at=now),
        passage("undated", "a cat purrs"),
    )
    wish = {"strategy": strategy, "k": 10}
    since = now - timedelta(days=1)
    assert await any_backend.titles("cat", updated_since=since, **wish) == ["new"]
    elsewhere = now.astimezone(timezone(timedelta(hours=9)))
    assert await any_backend.titles("cat", updated_since=elsewhere, **wish) == ["new"]
    assert await any_backend.titles("cat", updated_since=now + timedelta(seconds=1), **wish) == []
    assert len(await any_backend.titles("cat", **wish)) == 3


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_an_empty_index_gives_nothing(any_backend: Backend, strategy: str) -> None:
    await any_backend.hold()
    assert list(await any_backend.search("cat", strategy=strategy)) == []


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("text", ["!?…", "   ", "😀", "'"])
async def test_a_query_without_a_word_finds_nothing_or_something_but_never_fails(
    any_backend: Backend, text: str, strategy: str
) -> None:
    await any_backend.hold(CATS)
    assert await any_backend.titles(text, strategy=strategy) in ([], ["cats"])


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_hostile_text_is_only_text(any_backend: Backend, strategy: str) -> None:
    await any_backend.hold(CATS, passage("secret", "cat or title drop table", tenant="b"))
    for text in HOSTILE:
        assert "secret" not in await any_backend.titles(text, strategy=strategy, tenant="a")
        assert "secret" not in await any_backend.titles("cat", strategy=strategy, tenant=text)
    assert await any_backend.titles("cat", strategy=strategy, tenant="a") == ["cats"]


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_very_long_query_is_answered(any_backend: Backend, strategy: str) -> None:
    await any_backend.hold(CATS)
    text = " ".join(f"cat{n}" for n in range(5_000))[:32_700] + " cat purrs"
    assert await any_backend.titles(text, strategy=strategy) == ["cats"]


async def test_words_are_found_whatever_their_case_and_script(any_backend: Backend) -> None:
    await any_backend.hold(
        passage("greek", "Η γάτα κοιμάται"), passage("cyrillic", "Кошка спит на диване"), DOGS
    )
    assert await any_backend.titles("КОШКА", strategy="text") == ["cyrillic"]
    assert await any_backend.titles("γάτα", strategy="text") == ["greek"]


async def test_japanese_words_are_found_without_spaces(any_backend: Backend) -> None:
    await any_backend.hold(passage("tokyo", "私は東京に住んでいます。"), DOGS)
    assert await any_backend.titles("東京", strategy="text") == ["tokyo"]


async def test_a_removed_document_is_found_no_more(any_backend: Backend) -> None:
    await any_backend.hold(CATS, DOGS)
    await any_backend.index.remove([CATS.document])
    await _until_gone(any_backend, "cats")
    assert await any_backend.titles("cat") == ["dogs"]


async def test_a_replaced_document_is_found_as_it_is_now(any_backend: Backend) -> None:
    await any_backend.hold(CATS, DOGS)
    await any_backend.search("cat")
    await any_backend.hold(passage("cats", "Felines meow."))
    await _until_gone(any_backend, "cats", words="purrs")
    assert (await any_backend.search("meow", strategy="text"))[0].text == "Felines meow."


async def test_many_searches_at_once_each_get_their_own(any_backend: Backend) -> None:
    await any_backend.hold(*(passage(f"t{n}", f"uniqueword{n} and a cat") for n in range(20)))
    found = await asyncio.gather(
        *(any_backend.titles(f"uniqueword{n}", strategy="text", k=1) for n in range(20))
    )
    assert found == [[f"t{n}"] for n in range(20)]


async def test_closing_twice_is_harmless(any_backend: Backend) -> None:
    await any_backend.hold(CATS)
    await any_backend.search("cat")
    await any_backend.retriever.close()
    await any_backend.retriever.close()


async def _until_gone(any_backend: Backend, title: str, words: str = "cat") -> None:
    """Wait for an index that is re-read once a second."""
    async with asyncio.timeout(30):
        while title in await any_backend.titles(words, strategy="text"):
            await asyncio.sleep(0.02)
