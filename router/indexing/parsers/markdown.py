"""Markdown, kept as it is; simple front matter and the first heading name it."""

import re

from router.indexing.content import Content, Part, moment_in, one_line
from router.indexing.parsers.plain import decoded

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"^(title|uri|url|tenant|updated_at|updated|date)[ \t]*:[ \t]*(.+?)[ \t]*$")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)(?:[ \t]+#+)?[ \t]*$", re.MULTILINE)


def read_markdown(data: bytes) -> Content:
    """The text after the front matter, of which the single-line fields below are read.

    `title`, `uri` (or `url`), `tenant`, and `updated_at` (or `updated`, or `date`).

    Raises:
        ValueError: a date that is none.
    """
    text = decoded(data)
    fields: dict[str, str] = {}
    if match := _FRONT_MATTER.match(text):
        fields, text = _fields(match[1]), text[match.end() :]
    moment = fields.get("updated_at") or fields.get("updated") or fields.get("date")
    return Content(
        parts=(Part(text),),
        title=one_line(fields.get("title") or _first_heading(text)),
        uri=fields.get("uri") or fields.get("url") or "",
        updated_at=moment_in(moment) if moment else None,
        tenant=fields.get("tenant"),
        markdown=True,
    )


def _fields(block: str) -> dict[str, str]:
    found = (_FIELD.match(line) for line in block.splitlines())
    return {match[1]: _unquoted(match[2]) for match in found if match}


def _unquoted(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _first_heading(text: str) -> str:
    match = _HEADING.search(text)
    return match[1] if match else ""
