"""A report in three forms: text for the terminal, Markdown, or one page of HTML with its plots in it.

In: sections of lines, tables and PNG files. Markdown leaves the plots out; the page fetches nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from linkbert.files import replacing

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>linkbert report</title>
<style>
body {{ font-family: sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }}
pre, div {{ overflow-x: auto; }}
img {{ max-width: 100%; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .2em .7em; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd; }}
th:first-child, td:first-child {{ text-align: left; }}
.said {{ color: #666; font-style: italic; }}
</style></head>
<body>
<h1>linkbert report</h1>
{sections}
</body>
</html>
"""


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head, the first column a name; the last `said` rows are somebody else's word."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    said: int = 0


@dataclass(frozen=True)
class Section:
    """A part of a report: a heading, tables, lines as they stand on the terminal, PNG files."""

    title: str
    lines: Sequence[str]
    plots: Sequence[Path] = ()
    tables: Sequence[Table] = ()


def write_report(sections: Iterable[Section], to: Path) -> None:
    """Write sections as Markdown, where the name ends so, or as a page of HTML."""
    form, page = (_markdown, "# linkbert report\n\n{sections}\n") if to.suffix == ".md" else (_html, _PAGE)
    parts = [part for section in sections for part in form(section)]
    with replacing(to) as part:
        part.write_text(page.format(sections="\n".join(parts)), encoding="utf-8")


def lay_out(table: Table, form: str = "plain", *, right: bool = True) -> list[str]:
    """Lay a table out as lines of text ("plain") or Markdown ("pipe"); all columns but the first stand at the right."""
    from tabulate import tabulate

    aligned = ["left", *["right" if right else "left"] * (len(table.head or table.rows[0]) - 1)]
    text = tabulate(table.rows, table.head, form, colalign=aligned, disable_numparse=True, preserve_whitespace=True)
    return [line.rstrip() for line in text.splitlines()]


def text_lines(section: Section) -> Iterator[str]:
    """Lay a section out for the terminal; a heading stands where there are tables."""
    for table in section.tables:
        yield from ("", section.title) if table is section.tables[0] else ("",)
        yield from lay_out(table)
    yield from section.lines


def _markdown(section: Section) -> Iterator[str]:
    yield f"## {section.title}\n"
    for table in section.tables:
        rows = [[cell.replace("|", "\\|") for cell in row] for row in (table.head, *table.rows)]
        yield "\n".join([*lay_out(Table(rows[0], rows[1:]), "pipe"), ""])
    if section.lines:
        yield "\n".join(["```", *section.lines, "```\n"])


def _html(section: Section) -> Iterator[str]:
    yield f"<h2>{escape(section.title)}</h2>"
    for table in section.tables:
        yield "<div><table>"
        for number, row in enumerate([table.head, *table.rows]):
            cell = "td" if number else "th"
            said = ' class="said"' if number > len(table.rows) - table.said else ""
            yield f"<tr{said}>" + "".join(f"<{cell}>{escape(each)}</{cell}>" for each in row) + "</tr>"
        yield "</table></div>"
    if section.lines:
        text = escape("\n".join(section.lines))
        yield f"<pre>{text}</pre>"
    for plot in section.plots:
        data = b64encode(plot.read_bytes()).decode()
        yield f'<img alt="{escape(plot.stem)}" src="data:image/png;base64,{data}">'
