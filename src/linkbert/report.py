"""A report: one page of HTML with everything in it, tables as text and plots as pictures; it fetches nothing."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from linkbert.files import replacing

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>linkbert report</title>
<style>
body {{ font-family: sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }}
pre {{ overflow-x: auto; }}
img {{ max-width: 100%; }}
</style></head>
<body>
<h1>linkbert report</h1>
{sections}
</body>
</html>
"""


@dataclass(frozen=True)
class Section:
    """A part of a report: a heading, lines as they stand on the terminal, PNG files."""

    title: str
    lines: list[str]
    plots: list[Path]


def write_report(sections: Iterable[Section], to: Path) -> None:
    """Write sections as one page."""
    parts = []
    for section in sections:
        text = escape("\n".join(section.lines))
        parts.append(f"<h2>{escape(section.title)}</h2>\n<pre>{text}</pre>")
        for plot in section.plots:
            data = b64encode(plot.read_bytes()).decode()
            parts.append(f'<img alt="{escape(plot.stem)}" src="data:image/png;base64,{data}">')
    with replacing(to) as part:
        part.write_text(_PAGE.format(sections="\n".join(parts)), encoding="utf-8")
