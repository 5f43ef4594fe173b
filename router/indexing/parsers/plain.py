"""Plain text."""

import re

from router.indexing.content import Content, Part

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# What no text holds, beside tabs, line breaks, form feeds and the escapes of a coloured log.
_CONTROL = re.compile("[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffd]")
_MOST_CONTROL = 0.05


def read_plain(data: bytes) -> Content:
    """The text; bytes that aren't UTF-8 are taken for Windows-1252, the commonest other one.

    Raises:
        ValueError: it is binary.
    """
    return Content(parts=(Part(decoded(data)),))


def decoded(data: bytes) -> str:
    """The bytes as text: a byte order mark is heeded, lines end in \\n.

    Raises:
        ValueError: it is binary.
    """
    require_text(data)
    text = _decoded(data)
    if len(_CONTROL.findall(text)) > _MOST_CONTROL * len(text):
        raise _binary()
    return text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")


def require_text(data: bytes) -> None:
    """Refuse bytes with a NUL among them, which only UTF-16 text has.

    Raises:
        ValueError: it is binary.
    """
    if b"\0" in data and not data.startswith(_UTF_16):
        raise _binary()


def _decoded(data: bytes) -> str:
    if data.startswith(_UTF_16):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _binary() -> ValueError:
    return ValueError("it is binary, not text in UTF-8, UTF-16 with a byte order mark or cp1252")
