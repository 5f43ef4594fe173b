"""The token ids of plain text, word by word, without asking the tokenizer for words it has seen.

A BERT tokenizer lowers a text, cuts it at blanks and around each punctuation mark, and makes tokens
of each word by itself. For printable ASCII that is a regular expression and a look-up: 2 µs for a
query of 14 tokens, where a call of the tokenizer takes 17.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Words remembered, and the longest of them: some 4 MB of English, 21 MB of the rarest letters.
_MOST_WORDS, _LONGEST_WORD = 16_384, 32
# A text of new words costs 2 µs for each; one call of the tokenizer is cheaper for long texts.
_LONGEST_TEXT = 2_000

_WORDS = re.compile(r"[A-Za-z0-9]+|[^ A-Za-z0-9]")

Ids = tuple[int, ...]


class PlainWords:
    """Token ids by word, as one tokenizer gives them. Safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, special: Iterable[str], *, lowercase: bool) -> None:
        """Of a tokenizer that `words_of` has found fit; texts with `special` are left to it."""
        self._tokenizer = tokenizer
        self._lowercase = lowercase
        self._special = re.compile("|".join(map(re.escape, special)) or r"(?!)", re.IGNORECASE)
        self._ids: dict[str, Ids] = {}

    def ids(self, text: str) -> list[int] | None:
        """The text's token ids, without special ones; None where the tokenizer must be asked."""
        if len(text) > _LONGEST_TEXT or not text.isascii():
            return None
        line = text.replace("\n", " ")
        if not line.isprintable() or self._special.search(line):
            return None
        words = _WORDS.findall(line.lower() if self._lowercase else line)
        known = self._ids
        ids: list[int] = []
        try:
            for word in words:
                ids += known[word]
        except KeyError:
            return self._learn(words)
        return ids

    def _learn(self, words: Sequence[str]) -> list[int]:
        known = self._ids
        new = self._ask([word for word in dict.fromkeys(words) if word not in known])
        ids = [id_ for word in words for id_ in (new[word] if word in new else known[word])]
        short = {word: own for word, own in new.items() if len(word) <= _LONGEST_WORD}
        # Another dictionary in its place, rather than clearing: a thread may be reading this one.
        self._ids = short if len(known) + len(short) > _MOST_WORDS else known
        self._ids.update(short)
        return ids

    def _ask(self, words: Sequence[str]) -> dict[str, Ids]:
        encoding = self._tokenizer.encode(words, is_pretokenized=True, add_special_tokens=False)
        ids: dict[str, list[int]] = {word: [] for word in words}
        for word, id_ in zip(encoding.word_ids, encoding.ids, strict=True):
            if word is not None:
                ids[words[word]].append(id_)
        return {word: tuple(own) for word, own in ids.items()}


def words_of(tokenizer: Tokenizer) -> PlainWords | None:
    """The words of a tokenizer that cuts text as BERT's do; None for any other."""
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    special = tokenizer.get_added_tokens_decoder().values()
    if (
        isinstance(tokenizer.model, WordPiece)
        and isinstance(tokenizer.normalizer, BertNormalizer)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        # These are looked for in the text as it is; others, in what normalisation makes of it.
        and not any(token.normalized for token in special)
    ):
        lowercase = tokenizer.normalizer.lowercase
        return PlainWords(tokenizer, [token.content for token in special], lowercase=lowercase)
    return None
