"""Markdown, kept as it is; simple front matter and the first heading name it."""

import re

from router.indexing.content import Content, Part, moment_in, one_line
from router.indexing.parsers.front_matter import split_front_matter
from router.indexing.parsers.plain import decoded

_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)(?:[ \t]+#+)?[ \t]*$", re.MULTILINE)


def read_markdown(data: bytes) -> Content:
    """The text after the front matter, of which the single-line fields below are read.

    `title`, `uri` (or `url`), `tenant`, and `updated_at` (or `updated`, or `date`).

    Raises:
        ValueError: it is binary, or a date is none.
        UnknownTenantError: a tenant is named in a form that isn't read.
    """
    fields, text = split_front_matter(decoded(data))
    moment = fields.get("updated_at") or fields.get("updated") or fields.get("date")
    return Content(
        parts=(Part(text),),
        title=one_line(fields.get("title") or _first_heading(text)),
        uri=fields.get("uri") or fields.get("url") or "",
        updated_at=moment_in(moment) if moment else None,
        tenant=fields.get("tenant"),
        markdown=True,
    )


def _first_heading(text: str) -> str:
    match = _HEADING.search(text)
    return match[1] if match else ""
