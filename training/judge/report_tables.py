"""An owner's report as tables for a terminal."""

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from training.report.owner_report import OwnerReport
from training.report.sections import Section, sections, summary


def report_tables(report: OwnerReport) -> Group:
    """The summary, then every table."""
    lines = [escape(line) for line in summary(report)]
    return Group(*lines, *(_table(section) for section in sections(report)))


def _table(section: Section) -> Table:
    table = Table(title=escape(section.title), caption=escape(section.note), caption_justify="left")
    for index, column in enumerate(section.columns):
        numeric = 0 < index < len(section.columns) - 1
        table.add_column(escape(column), justify="right" if numeric else "left")
    for index, row in enumerate(section.rows):
        style = "bold red" if index in section.marked else None
        table.add_row(*(escape(cell) for cell in row), style=style)
    return table
