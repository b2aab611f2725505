"""A report in three forms: text for the terminal, Markdown, or one page of HTML.

In: sections, which hold values. Tabulate lays their tables out as text; a page is a template that lies here, fetches
nothing and escapes what it is given. The report and the demo share base.html: style, tables, values with intervals.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from linkbert.files import replacing
from linkbert.progress import printable
from linkbert.views.plots import Plot, svg

Table = Sequence[Sequence[str]]  # rows below one that heads them; the first column has names, a name alone heads a part


class Measured(str):
    """A cell, and what it writes, with `value`, `low` and `high`: a page draws them, from 0 to `whole` at least."""

    found: Any
    whole: float

    def __new__(cls, words: str, found: Any, whole: float = 0.0) -> Self:
        """Make a cell of its words."""
        cell = super().__new__(cls, words)
        cell.found, cell.whole = found, whole
        return cell


@dataclass(frozen=True)
class Section:
    """A part of a report: a heading, a line above its table, the table, lines below; on a page plots, too."""

    title: str
    lines: Sequence[str] = ()
    table: Table = ()
    about: str = ""
    caption: str = ""  # of the page's table, in place of `about`
    plots: Sequence[Plot] = ()
    more: Table = ()  # a second one


def lay_out(table: Table, form: str = "plain", *, right: bool = True) -> list[str]:
    """Lay a table out as lines of text ("plain") or Markdown ("pipe"); all columns but the first stand at the right."""
    from tabulate import tabulate

    if not table:
        return []
    aligned = ["left", *["right" if right else "left"] * (len(table[0]) - 1)]
    rows = [[printable(cell) for cell in row] for row in table]  # a break in one would make two of it
    text = tabulate(rows[1:], rows[0], form, colalign=aligned, disable_numparse=True, preserve_whitespace=True)
    return [line.rstrip() for line in text.splitlines() if line.strip()]  # an empty head is no line


def text_lines(section: Section) -> list[str]:
    """Lay a section out for the terminal."""
    tables = [*lay_out(section.table), *lay_out(section.more)]
    return ["", section.title, *filter(None, [section.about]), *tables, *section.lines]


def write_report(sections: Sequence[Section], to: Path) -> None:
    """Write sections as Markdown, where the name ends so, or as a page of HTML with plots."""
    if to.suffix != ".md":
        write_page(to, "report.html", {"sections": sections, "svg": svg})
        return
    text = partial(re.sub, r"[\\`|<!&*_~\[\]]", r"\\\g<0>")  # no code, table, HTML, emphasis, picture of another site
    parts = ["# linkbert report", ""]
    for section in sections:
        both = ([[text(cell) for cell in row] for row in table] for table in (section.table, section.more))
        lines = [*(f"    {line}" for line in section.lines), ""] if section.lines else []
        about = [text(section.about), ""] if section.about else []
        tables = (line for table in both for line in [*lay_out(table, "pipe"), ""])
        parts += [f"## {text(section.title)}", "", *about, *tables, *lines]
    with replacing(to) as part:
        part.write_text("\n".join(map(printable, parts)), encoding="utf-8")


def write_page(to: Path, template: str, values: Mapping[str, Any]) -> None:
    """Write a page from a template of this folder."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    def line(value: Any) -> Any:
        return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value

    loader = PackageLoader("linkbert", "views")
    env = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, finalize=line)
    with replacing(to) as part:
        part.write_text(printable(env.get_template(template).render(values), keep="\n\t"), encoding="utf-8")
