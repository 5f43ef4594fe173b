"""From a file's bytes to its text: one format a file.

Markdown and text need nothing beside the standard library; HTML and PDF need the `index` extra.
"""

from collections.abc import Callable

from router.indexing.content import Content
from router.indexing.parsers.html import read_html
from router.indexing.parsers.markdown import read_markdown
from router.indexing.parsers.pdf import read_pdf
from router.indexing.parsers.plain import read_plain

Parser = Callable[[bytes], Content]

PARSERS: dict[str, Parser] = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".txt": read_plain,
    ".text": read_plain,
    ".html": read_html,
    ".htm": read_html,
    ".xhtml": read_html,
    ".pdf": read_pdf,
}
