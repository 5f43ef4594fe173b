"""Plain text."""

from router.indexing.content import Content, Part


def read_plain(data: bytes) -> Content:
    """The text; bytes that aren't UTF-8 are taken for Windows-1252, the commonest other one."""
    return Content(parts=(Part(decoded(data)),))


def decoded(data: bytes) -> str:
    """The bytes as text: a byte order mark is heeded, lines end in \\n, NULs are left out."""
    text = _decoded(data)
    return text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
