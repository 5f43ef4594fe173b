"""One run of `rag-router index`: what is new is written, what is gone is deleted."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from policies.encoders import Encoder
from policies.encoders.text import well_formed
from router.indexing.content import UnknownTenantError
from router.indexing.documents import Failure, Found, documents_in
from router.indexing.passage_index import HeldDocument, NewPassage, PassageIndex
from router.indexing.passages import PassageCutter
from router.indexing.sources import Sources, find_sources, lies_under
from router.retrieval.searchable import searchable_text

# Passages written at once: 2 MB of text and vectors, and a transaction of the index.
_BATCH = 1024
_REMOVED_AT_ONCE = 1000
_FAILURES_LISTED = 100


class Root(msgspec.Struct, frozen=True):
    """A PATH of the command line and its location."""

    path: Path
    location: str


class IndexReport(msgspec.Struct):
    """What a run did. All but `passages` and `skipped` count documents.

    `passages` were written, `empty` documents hold no text, `skipped` files are hidden or of
    another format, and `failures` tells the first hundred.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    empty: int = 0
    failed: int = 0
    skipped: int = 0
    passages: int = 0
    seconds: float = 0.0
    failures: list[str] = []


class IndexRun:
    """Carries a run's state from document to document; `advance` is called with bytes read."""

    def __init__(
        self,
        index: PassageIndex,
        encoder: Encoder,
        cutter: PassageCutter,
        *,
        on_failure: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._index, self._encoder, self._cutter = index, encoder, cutter
        self._on_failure = on_failure
        self._held: Mapping[str, HeldDocument] = {}
        self._kept: set[str] = set()
        self._unread: set[str] = set()
        self._waiting: list[NewPassage] = []
        self.report = IndexReport()

    async def run(
        self, roots: Sequence[Root], *, progress: Callable[[int], Callable[[int], None]]
    ) -> IndexReport:
        """Index what is under the roots.

        progress: called with the bytes to read, gives what to call with bytes that were read.

        Raises:
            IndexMissingError: the index was made with another encoder.
            RetrievalError: it can't be read or written. What was written until then stays.
        """
        began = time.monotonic()
        self._held = await self._index.documents()
        sources = [find_sources(root.path, root.location) for root in roots]
        advance = progress(sum(file.bytes for found in sources for file in found.files))
        for document in self._documents(sources):
            if isinstance(document, Failure):
                self._fail(document)
                continue
            self._take(document)
            if len(self._waiting) >= _BATCH:
                await self._write()
            advance(document.bytes_read)
        await self._write()
        await self._remove_gone(roots)
        if self.report.passages or self.report.removed:
            await self._index.finish()
        self.report.seconds = round(time.monotonic() - began, 3)
        return self.report

    def _documents(self, sources: Sequence[Sources]) -> Iterator[Found | Failure]:
        """Every document once, even where one root lies in another."""
        done: set[str] = set()
        for found in sources:
            self.report.skipped += found.skipped
            yield from (Failure(at, at, "it can't be read") for at in found.unreadable)
            for file in found.files:
                if file.location not in done:
                    done.add(file.location)
                    yield from documents_in(file)

    def _take(self, found: Found) -> None:
        held = self._held.get(found.id)
        if held is not None and held.digest == self._cutter.digest(found):
            self._kept.add(found.id)
            self.report.unchanged += 1
            return
        try:
            passages = self._cutter.cut(found, found.read())
        except ValueError as error:
            reason = " ".join(str(error).split())
            unread = not isinstance(error, UnknownTenantError)
            self._fail(Failure(found.source, found.name, reason, unread))
            return
        if not passages:
            self.report.empty += 1
            return
        self._kept.add(found.id)
        self._waiting += passages
        self.report.passages += len(passages)
        if held is None:
            self.report.added += 1
        else:
            self.report.updated += 1

    async def _write(self) -> None:
        if not self._waiting:
            return
        texts = [searchable_text(new.title, new.text) for new in self._waiting]
        await self._index.replace(self._waiting, self._encoder.encode(texts))
        self._waiting = []

    async def _remove_gone(self, roots: Sequence[Root]) -> None:
        """Delete what was under the roots and isn't any more.

        What stands where something couldn't be read is kept: it may still be there.
        """
        gone = [
            document
            for document, held in self._held.items()
            if document not in self._kept
            and any(lies_under(held.source, root.location) for root in roots)
            and not any(lies_under(held.source, unread) for unread in self._unread)
        ]
        for start in range(0, len(gone), _REMOVED_AT_ONCE):
            await self._index.remove(gone[start : start + _REMOVED_AT_ONCE])
        self.report.removed += len(gone)

    def _fail(self, failure: Failure) -> None:
        if failure.unread:
            self._unread.add(failure.source)
        self.report.failed += 1
        # A file's name needn't be UTF-8; JSON and terminals must be.
        message = well_formed(f"{failure.where}: {failure.reason}")
        if len(self.report.failures) < _FAILURES_LISTED:
            self.report.failures.append(message)
        self._on_failure(message)
