"""Each format's text, title and date."""

import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from router.indexing.content import UnknownTenantError, moment_in, one_line
from router.indexing.parsers import PARSERS
from router.indexing.parsers.html import read_html
from router.indexing.parsers.jsonl import numbered_lines, read_line
from router.indexing.parsers.markdown import read_markdown
from router.indexing.parsers.pdf import read_pdf
from router.indexing.parsers.plain import read_plain


def pdf(*pages: str, title: str = "", password: str | None = None) -> bytes:
    """A PDF with a line of text on each page."""
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(300, 300)
        font = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
    if title:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def test_markdown_is_kept_and_named_by_its_first_heading() -> None:
    content = read_markdown(b"intro\n\n## The *big* one ##\n\ntext")
    assert content.parts[0].text == "intro\n\n## The *big* one ##\n\ntext"
    assert content.title == "The *big* one"
    assert content.markdown


def test_front_matter_wins_over_the_heading_and_isnt_text() -> None:
    content = read_markdown(
        b'---\r\ntitle: "Our rules"\r\ndate: 2026-02-03\r\nurl: https://x/y\r\n'
        b"tags: [a]\r\ntenant: acme\r\n---\r\n# Other\r\n"
    )
    assert content.title == "Our rules"
    assert content.updated_at == datetime(2026, 2, 3, tzinfo=UTC)
    assert (content.uri, content.tenant) == ("https://x/y", "acme")
    assert content.parts[0].text.strip() == "# Other"


def test_a_rule_at_the_start_is_no_front_matter() -> None:
    assert "title: x" in read_markdown(b"text\n---\ntitle: x\n---\n").parts[0].text
    assert read_markdown(b"---\nunclosed: x\n").parts[0].text.startswith("---")


def test_a_wrong_date_is_an_error() -> None:
    with pytest.raises(ValueError, match="'yesterday' is no ISO 8601 date"):
        read_markdown(b"---\ndate: yesterday\n---\n")


def test_html_is_what_a_reader_sees() -> None:
    content = read_html(
        "<html><head><title>Ti &amp;\n tle</title><style>.x{}</style></head><body><h1>Grüße</h1>"
        "<script>evil()</script><p>Para <b>bold</b></p><ul><li>point</li></ul></body>"
        "</html>".encode()
    )
    text = content.parts[0].text
    assert content.title == "Ti & tle"
    assert "Grüße" in text
    assert "Para bold" in text
    assert "* point" in text
    assert "evil" not in text
    assert ".x" not in text


def test_html_in_a_declared_encoding() -> None:
    page = '<html><head><meta charset="iso-8859-1"></head><body>Café</body></html>'
    assert "Café" in read_html(page.encode("latin-1")).parts[0].text


@pytest.mark.parametrize("suffix", sorted(PARSERS.keys() - {".pdf"}))
def test_an_empty_file_has_no_text(suffix: str) -> None:
    assert not "".join(part.text for part in PARSERS[suffix](b"").parts).strip()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("\ufeffnaïve".encode(), "naïve"),
        ("naïve".encode("cp1252"), "naïve"),
        ("naïve".encode("utf-16"), "naïve"),
    ],
)
def test_plain_text_in_the_usual_encodings(data: bytes, text: str) -> None:
    assert read_plain(data).parts[0].text == text


@pytest.mark.parametrize("suffix", sorted(PARSERS.keys() - {".pdf"}))
def test_binary_data_under_a_texts_name_is_refused(suffix: str) -> None:
    with pytest.raises(ValueError, match="binary"):
        PARSERS[suffix](b"\x7fELF\x02\x01\0\0 some words")


def test_many_control_characters_are_binary_and_a_few_are_not() -> None:
    with pytest.raises(ValueError, match="binary"):
        read_plain(bytes(range(1, 32)) * 9)
    assert read_plain(b"\x1b[31mred\x1b[0m and a bell \x07, form feed \x0c" + b"." * 30)


def test_html_of_any_depth_keeps_its_text_or_fails() -> None:
    def nested(depth: int) -> bytes:
        return b"<body>" + b"<div>" * depth + b"deep" + b"</div>" * depth + b"<p>after</p>"

    assert read_html(nested(500)).parts[0].text.split() == ["deep", "after"]
    with pytest.raises(ValueError, match="nested too deep"):
        read_html(nested(20_000))


def test_a_lone_surrogate_in_a_pdf_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pypdf.PageObject.extract_text", lambda *_: "a\ud800b")
    assert read_pdf(pdf("any")).parts[0].text == "a\ufffdb"


def test_pdf_pages_have_addresses() -> None:
    content = read_pdf(pdf("first page", "", "third page", title="Report"))
    assert [(part.text, part.fragment) for part in content.parts] == [
        ("first page", "#page=1"),
        ("third page", "#page=3"),
    ]
    assert content.title == "Report"


def test_a_pdf_encrypted_without_a_password_is_read() -> None:
    assert read_pdf(pdf("open", password="")).parts[0].text == "open"


def test_an_encrypted_pdf_says_so() -> None:
    with pytest.raises(ValueError, match="it is encrypted"):
        read_pdf(pdf("closed", password="x"))


@pytest.mark.parametrize("data", [b"", b"junk", b"%PDF-1.7\nbroken", pdf("cut off")[:200]])
def test_a_broken_pdf_says_so(data: bytes) -> None:
    with pytest.raises(ValueError, match="can't be read as PDF"):
        read_pdf(data)


def test_a_line_of_jsonl() -> None:
    name, content = read_line(
        b'{"id": 7, "text": "x", "title": "T", "uri": "u",'
        b' "updated_at": "2026-01-02T03:04:05+01:00", "tenant": "a", "other": 1}'
    )
    assert (name, content.title, content.uri, content.tenant) == ("7", "T", "u", "a")
    assert content.updated_at == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "line", [b"{}", b"[]", b'{"text": 1}', b"{", b'{"text":"x","updated_at":"?"}']
)
def test_a_wrong_line_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        read_line(line)


def test_lines_of_a_compressed_file_are_numbered(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl.gz"
    file.write_bytes(gzip.compress(b"one\n\n  \nfour\n"))
    assert [(line.number, line.data) for line in numbered_lines(file)] == [
        (1, b"one\n"),
        (4, b"four\n"),
    ]


def test_a_broken_compressed_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl.gz"
    for data in (gzip.compress(b"one\n" * 99)[:20], b"not gzip"):
        file.write_bytes(data)
        with pytest.raises(ValueError, match="compressed data is broken"):
            list(numbered_lines(file))


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_a_moment_out_of_the_calendar_is_an_error(moment: str) -> None:
    with pytest.raises(ValueError, match="is no ISO 8601 date"):
        moment_in(moment)


def test_moments_are_utc() -> None:
    assert moment_in("2026-01-02") == datetime(2026, 1, 2, tzinfo=UTC)
    assert moment_in("2026-01-02T03:04:05Z") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_title_is_one_line() -> None:
    assert one_line(" a\n\tb\x07  c ") == "a b c"


@pytest.mark.parametrize("key", ["Tenant", "tenant_id", "tenants", " tenant "])
def test_a_line_whose_tenant_cant_be_told_is_nobodys(key: str) -> None:
    line = json.dumps({"text": "x", key: "acme"}).encode()
    with pytest.raises(UnknownTenantError, match="name the owner in `tenant`"):
        read_line(line)
