"""A document's text cut into passages."""

from collections import Counter
from collections.abc import Iterator

import msgspec
from semantic_text_splitter import MarkdownSplitter, TextSplitter

from policies.errors import SettingsError
from router.indexing.content import Content
from router.indexing.documents import Found, digest_of
from router.indexing.passage_index import NewPassage

# Part of every digest: raise it when passages come out differently for the same document.
_FORMAT = "2"
# A longer one couldn't be asked for: requests (router.api.schemas) take no more.
_LONGEST_TENANT = 128


class Cutting(msgspec.Struct, frozen=True):
    """How documents become passages: greatest length and overlap in characters, and the tenant."""

    chars: int = 1200
    overlap: int = 0
    tenant: str = ""

    def __post_init__(self) -> None:
        if not 100 <= self.chars <= 30_000:
            raise SettingsError(
                f"--chunk-chars must lie in 100..30000, not at {self.chars}", field="--chunk-chars"
            )
        if not 0 <= self.overlap < self.chars:
            raise SettingsError(
                f"--overlap must lie below --chunk-chars, not at {self.overlap}", field="--overlap"
            )
        if len(self.tenant) > _LONGEST_TENANT:
            raise SettingsError(
                f"--tenant takes at most {_LONGEST_TENANT} characters, as requests do",
                field="--tenant",
            )


class PassageCutter:
    """Cuts at headings, paragraphs, sentences, words: the highest of them that fits."""

    def __init__(self, cutting: Cutting) -> None:
        self._cutting = cutting
        self._plain = TextSplitter(cutting.chars, overlap=cutting.overlap)
        self._markdown = MarkdownSplitter(cutting.chars, overlap=cutting.overlap)

    def digest(self, found: Found) -> str:
        """Changes with the document, its place and the way it is cut."""
        cutting = self._cutting
        settings = (_FORMAT, str(cutting.chars), str(cutting.overlap), cutting.tenant, found.uri)
        return digest_of(*settings, found.digest)

    def cut(self, found: Found, content: Content) -> list[NewPassage]:
        """The document's passages, in order."""
        texts = list(self._texts(content))
        tenant = self._cutting.tenant if content.tenant is None else content.tenant
        digest = self.digest(found)
        earlier: Counter[str] = Counter()
        passages = []
        for text, fragment in texts:
            # By what it says, not by its number: a paragraph added above leaves the others' ids.
            name = digest_of(found.id, text, str(earlier[text]))
            earlier[text] += 1
            passage = NewPassage(
                id=name,
                document=found.id,
                source=found.source,
                digest=digest,
                parts=len(texts),
                text=text,
                title=content.title,
                uri=(content.uri or found.uri) + fragment,
                updated_at=content.updated_at or found.modified,
                tenant=tenant,
            )
            passages.append(passage)
        return passages

    def _texts(self, content: Content) -> Iterator[tuple[str, str]]:
        splitter = self._markdown if content.markdown else self._plain
        for part in content.parts:
            yield from ((text, part.fragment) for text in splitter.chunks(part.text))
