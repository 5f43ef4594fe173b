"""What of a passage is searched, and the words in it."""

import re
import unicodedata

# Chinese and Japanese write no spaces: each character counts as a word there.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_TERM = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")


def searchable_text(title: str, text: str) -> str:
    """What is encoded and counted for a passage; a query is taken as it is."""
    return f"{title}\n{text}" if title else text


def terms(text: str) -> list[str]:
    """The words of a text in order, folded: case and the forms of a character don't count."""
    return _TERM.findall(unicodedata.normalize("NFKC", text).casefold())
