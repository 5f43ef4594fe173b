"""PDF, page by page."""

import io
import logging

from policies.encoders.text import well_formed
from router.indexing.content import Content, Part, one_line


def read_pdf(data: bytes) -> Content:
    """Each page's text, addressed as `#page=N`. Scanned pages have none: there is no OCR here.

    Raises:
        ValueError: it is encrypted, or too broken to be read.
    """
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    # It logs each oddity of a file; what can't be read is reported by the caller, once.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(io.BytesIO(data))
        # Many files are encrypted with an empty password, only to forbid changes.
        if reader.is_encrypted and not reader.decrypt(""):
            raise ValueError("it is encrypted")
        pages = [well_formed(page.extract_text()) for page in reader.pages]
        title = well_formed(str(reader.metadata.title or "")) if reader.metadata else ""
    except ValueError:
        raise
    except PyPdfError as error:
        raise ValueError(f"it can't be read as PDF: {error}") from error
    except Exception as error:  # pypdf lets every kind of error through on broken files
        raise ValueError(f"it can't be read as PDF: {type(error).__name__}") from error
    parts = (Part(text.replace("\0", ""), f"#page={n}") for n, text in enumerate(pages, start=1))
    return Content(parts=tuple(part for part in parts if part.text.strip()), title=one_line(title))
