"""Citations in a model's text: `[2]` or `[1, 3]`, checked against the passages it was given.

A stream is filtered as it passes: only an open bracket that may still become a citation, of eight
passages at most, is held back.
"""

import re

_CITATION = re.compile(r"\[ ?\d{1,3}(?: ?[,;] ?\d{1,3}){0,7} ?\]")
# What an unfinished citation looks like; anything longer is no citation.
_BEGUN = re.compile(r" ?\[[\d ,;]*\Z| \Z")
_LONGEST = 64


class CitationFilter:
    """Passes text on, without citations of passages that weren't given, and counts them.

    Code (between backticks) is left alone, and so is `[0]`, since passages count from 1.
    """

    def __init__(self, given: int) -> None:
        """Passages 1 to `given` may be cited; more may be given later."""
        self.given = given
        self._held = ""
        self._ticks = 0
        self.cited: set[int] = set()
        self.dropped = 0

    def feed(self, text: str) -> str:
        """What may be passed on now that `text` has come."""
        pending = self._held + text
        begun = _BEGUN.search(pending[-_LONGEST:])
        cut = len(pending) - (len(begun.group()) if begun else 0)
        self._held = pending[cut:]
        return self._passed(pending[:cut])

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        rest, self._held = self._held, ""
        return self._passed(rest)

    def _passed(self, text: str) -> str:
        passed, position = [], 0
        for match in _CITATION.finditer(text):
            before = text[position : match.start()]
            self._ticks += before.count("`")
            kept = match.group() if self._ticks % 2 else self._checked(match.group())
            passed += [before if kept else before.removesuffix(" "), kept]
            position = match.end()
        self._ticks += text.count("`", position)
        return "".join((*passed, text[position:]))

    def _checked(self, citation: str) -> str:
        numbers = [int(digits) for digits in re.findall(r"\d+", citation)]
        if 0 in numbers:
            return citation
        known = [number for number in numbers if number <= self.given]
        self.cited.update(known)
        self.dropped += len(numbers) - len(known)
        if len(known) == len(numbers):
            return citation
        return f"[{', '.join(map(str, known))}]" if known else ""
