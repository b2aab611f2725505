"""A report in three forms: text for the terminal, Markdown, or one page of HTML with its plots in it.

In: sections. Tabulate lays tables out; the page is the Markdown, rendered, with the plots in it, and fetches nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from linkbert.files import replacing

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>linkbert report</title>
<style>
body {{ font-family: sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }}
pre, table {{ display: block; overflow-x: auto; border-collapse: collapse; }}
img {{ max-width: 100%; }}
th, td {{ padding: .2em .7em; white-space: nowrap; border-bottom: 1px solid #ddd; }}
</style></head>
<body>
{}
</body>
</html>
"""

Table = Sequence[Sequence[str]]  # rows of cells under a first row that heads them; the first column holds names


@dataclass(frozen=True)
class Section:
    """A part of a report: a heading, a table, lines as they stand on the terminal, PNG files."""

    title: str
    lines: Sequence[str] = ()
    plots: Sequence[Path] = ()
    table: Table = ()


def lay_out(table: Table, form: str = "plain", *, right: bool = True) -> list[str]:
    """Lay a table out as lines of text ("plain") or Markdown ("pipe"); all columns but the first stand at the right."""
    from tabulate import tabulate

    if not table:
        return []
    aligned = ["left", *["right" if right else "left"] * (len(table[0]) - 1)]
    text = tabulate(table[1:], table[0], form, colalign=aligned, disable_numparse=True, preserve_whitespace=True)
    return [line.rstrip() for line in text.splitlines()]


def text_lines(section: Section) -> list[str]:
    """Lay a section out for the terminal."""
    return ["", section.title, *lay_out(section.table), *section.lines]


def write_report(sections: Iterable[Section], to: Path) -> None:
    """Write sections as Markdown, where the name ends so, or as a page of HTML with plots."""
    from markdown_it import MarkdownIt

    html = to.suffix != ".md"
    render = MarkdownIt("zero").enable(["heading", "table", "fence"]).render if html else str
    parts = [render("# linkbert report\n")]
    for section in sections:
        table = [[cell.replace("|", "\\|") for cell in row] for row in section.table]
        lines = ["```", *section.lines, "```", ""] if section.lines else []
        parts.append(render("\n".join([f"## {section.title}", "", *lay_out(table, "pipe"), "", *lines])))
        for plot in section.plots if html else ():
            data = b64encode(plot.read_bytes()).decode()
            parts.append(f'<img alt="{escape(plot.stem)}" src="data:image/png;base64,{data}">')
    page = "\n".join(parts)
    with replacing(to) as part:
        part.write_text(_PAGE.format(page) if html else page, encoding="utf-8")
