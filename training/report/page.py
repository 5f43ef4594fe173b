"""An owner's report as one page that needs nothing else: no script, no font, no network."""

from html import escape

from training.report.owner_report import OwnerReport
from training.report.sections import Section, sections, summary

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --alarm: #c33; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .2rem; }
p { margin: .2rem 0 .6rem; } .note { opacity: .75; font-size: .9rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .87rem; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, td.text { text-align: left; }
th { font-weight: 600; vertical-align: bottom; } tr.marked td { color: var(--alarm); }
.bar { display: flex; width: 14rem; height: .9rem; background: var(--soft); }
.bar span { height: 100%; } .key { display: inline-block; width: .8rem; height: .8rem; }
"""
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
_LONG_TEXT = 40


def report_page(report: OwnerReport) -> str:
    """The page, HTML. Every text in it is escaped; no query's text is in the report."""
    lead, *more = summary(report)
    lines = "".join(f"<p>{escape(line)}</p>" for line in (lead, *more))
    tables = "".join(_section(section) for section in sections(report))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Routing report</title><style>{_STYLE}</style></head>"
        f"<body><h1>Routing report</h1>{lines}{tables}</body></html>\n"
    )


def _section(section: Section) -> str:
    heads = "".join(f"<th>{_key(name, section)}{escape(name)}</th>" for name in section.columns)
    heads += "<th></th>" if section.bars else ""
    rows = "".join(
        f"<tr{' class=marked' if index in section.marked else ''}>{_cells(row, section)}</tr>"
        for index, row in enumerate(section.rows)
    )
    return (
        f"<section><h2>{escape(section.title)}</h2><p class=note>{escape(section.note)}</p>"
        f"<div class=wide><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        "</div></section>"
    )


def _cells(row: list[str], section: Section) -> str:
    cells = "".join(
        f"<td{' class=text' if len(cell) > _LONG_TEXT else ''}>{escape(cell)}</td>" for cell in row
    )
    return cells + (f"<td>{_bar(row, section)}</td>" if section.bars else "")


def _bar(row: list[str], section: Section) -> str:
    """The row's shares side by side."""
    parts = "".join(
        f'<span style="width:{escape(row[section.columns.index(name)])};'
        f'background:{_colour(name, section)}" title="{escape(name)}"></span>'
        for name in section.bars
    )
    return f"<div class=bar>{parts}</div>"


def _key(name: str, section: Section) -> str:
    if name not in section.bars:
        return ""
    return f'<span class=key style="background:{_colour(name, section)}"></span> '


def _colour(name: str, section: Section) -> str:
    return _COLOURS[section.bars.index(name) % len(_COLOURS)]
