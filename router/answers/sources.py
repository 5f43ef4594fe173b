"""The passages that an answer was given: their numbers, and what they say of the retrieval."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from policies.events import Evidence, RetrievalEvidence
from router.retrieval.retriever import Passage


class Sources:
    """Passages in the order in which they were given, counted from 1, each once."""

    def __init__(self) -> None:
        self.passages: list[Passage] = []
        self._ids: set[str] = set()

    def __len__(self) -> int:
        return len(self.passages)

    def add(self, passages: Sequence[Passage], room: int) -> None:
        """Give more passages, as long as there is room (in characters) for them.

        The first passage of all is always given, cut to the room there is.
        """
        for passage in passages:
            if passage.id in self._ids:
                continue
            left = room - sum(len(given.text) for given in self.passages)
            if len(passage.text) > left and self.passages:
                continue
            self._ids.add(passage.id)
            self.passages.append(msgspec.structs.replace(passage, text=passage.text[:left]))

    def evidence(self) -> list[Evidence]:
        """The passages' ids and scores, for the log."""
        return [Evidence(passage.id, passage.score) for passage in self.passages]

    def summary(self, now: datetime, *, cited: int, dropped: int) -> RetrievalEvidence | None:
        """What the log says of the retrieval; None where there was none."""
        if not self.passages:
            return None
        scores = sorted((passage.score for passage in self.passages), reverse=True)
        dates = [passage.updated_at for passage in self.passages if passage.updated_at is not None]
        return RetrievalEvidence(
            count=len(scores),
            top_score=scores[0],
            margin=scores[0] - scores[1] if len(scores) > 1 else None,
            newest_age_s=max(0.0, (now - max(dates)).total_seconds()) if dates else None,
            cited=cited,
            dropped_citations=dropped,
        )
