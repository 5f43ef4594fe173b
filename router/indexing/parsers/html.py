"""HTML as the text that a reader sees."""

import re

from router.indexing.content import Content, Part, one_line
from router.indexing.parsers.plain import require_text


def read_html(data: bytes) -> Content:
    """The page's text, laid out by inscriptis; scripts and styles are left out.

    Raises:
        ValueError: it is binary, or nested too deep.
    """
    from inscriptis import Inscriptis
    from lxml.etree import ParserError
    from lxml.html import HTMLParser, document_fromstring

    require_text(data)
    # lxml heeds the encoding that the page declares, and takes UTF-8 where it declares none. Unless
    # asked for huge trees, it leaves out what is nested deeper than 256 elements, without a word.
    parser = HTMLParser(encoding=_encoding(data), huge_tree=True)
    try:
        page = document_fromstring(data, parser=parser)
        text = Inscriptis(page).get_text()
    except ParserError:  # how lxml says that there is nothing in it
        return Content(parts=())
    except RecursionError as error:
        raise ValueError("its elements are nested too deep") from error
    title = page.findtext(".//title") or page.findtext(".//h1") or ""
    return Content(parts=(Part(text),), title=one_line(title))


def _encoding(data: bytes) -> str | None:
    """UTF-8 for a page that declares nothing: None leaves it to what the page says."""
    declares = re.search(rb"charset\s*=|encoding\s*=", data[:2048], re.IGNORECASE)
    return None if declares or data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
