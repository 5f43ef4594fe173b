"""A document's text and what it says of itself, whatever its format."""

from datetime import UTC, datetime

import msgspec


class Part(msgspec.Struct, frozen=True):
    """A piece of a document with an address of its own, such as a page (`#page=3`)."""

    text: str
    fragment: str = ""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a parser read. An empty or absent field is one that the document doesn't state."""

    parts: tuple[Part, ...]
    title: str = ""
    uri: str = ""
    updated_at: datetime | None = None
    tenant: str | None = None
    markdown: bool = False


class UnknownTenantError(ValueError):
    """A document says that it is somebody's, but not whose.

    What was indexed of it earlier goes: it may have been everybody's.
    """


def moment_in(text: str) -> datetime:
    """An ISO 8601 date or time, in UTC; one without an offset is taken for UTC.

    Raises:
        ValueError: it is no date, or its offset carries it out of the years 1 to 9999.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text[:40]!r} is no ISO 8601 date or time") from error


def one_line(text: str, most: int = 300) -> str:
    """Without line breaks, doubled spaces and control characters, cut to a title's length."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:most]
