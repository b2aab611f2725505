r"""A folder or a tar of plain or Markdown files in, one Document a file out, without links: books, for example.

The id is the path inside the source without its suffix, the title the first heading or else the file's name. Of
Markdown the marks go and the words stay. Lines that were wrapped at a column are joined again (a line break ends a
sentence in this project); a blank line, a heading or a list item always starts a new line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from linkbert.corpora.reader import Options, Reader, Shard, Skipped
from linkbert.corpora.tree import plan_tree, read_tree
from linkbert.records import Document

SUFFIXES = (".txt", ".md", ".markdown")
WRAPPED = range(45, 101)  # characters of a line that was broken because it was full


def plan(path: Path, _: Options) -> Iterator[Shard]:
    """Cut a folder, an archive or a single file into shards of files."""
    return plan_tree(path, SUFFIXES)


def read(shard: Shard, _: Options, skipped: Skipped) -> Iterator[Document]:
    """Read the Documents of a shard; `skipped` counts files that are not UTF-8 or hold no text."""
    for name, content in read_tree(shard, skipped):
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            skipped.note("not UTF-8 (read as Latin-1)", name)
            text = content.decode("latin-1")
        path = PurePosixPath(name)
        title, text = to_prose(text, markdown=path.suffix.lower() != ".txt")
        if not text:
            skipped.note("no text in the file", name)
            continue
        yield Document(str(path.with_suffix("")), title or path.stem, text.removeprefix(f"{title}\n"))


_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*)")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+(.*)")
_RULE = re.compile(r"[ \t]*(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|=+|```.*|~~~.*|\[[^\]]*\]:.*)")
_INLINE = (  # each alternative ends at the next mark of its kind, so that none looks far ahead
    (re.compile(r"!\[[^\[\]]*\]\([^()]*\)|\[\^[^\[\]]*\]|<!--[^<>]*-->|</?[A-Za-z][^<>]*>"), ""),
    (re.compile(r"\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])"), r"\1"),
    (re.compile(r"`+([^`]*)`+"), r"\1"),
    (re.compile(r"(?<!\\)(\*{1,3})(?=\S)([^*]*[^*\s])\1"), r"\2"),
    (re.compile(r"(?<![\w\\])(_{1,3})(?=\S)([^_]*[^_\s])\1(?!\w)"), r"\2"),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)


def to_prose(text: str, *, markdown: bool) -> tuple[str, str]:
    r"""Return the first heading ("" if none) and the text as prose, one paragraph, heading or list item a line.

    >>> to_prose("# One\n\nA *short* [story](x.html).\n- item", markdown=True)
    ('One', 'One\nA short story.\nitem')
    """
    lines: list[str] = []
    title = ""
    full = False  # whether the line before was broken because it was full
    for raw in text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").split("\n"):
        line, starts, heading = raw.strip(), False, None
        if markdown:
            line = line.lstrip("> ") if line.startswith(">") else line
            if line and _RULE.fullmatch(line):
                line = ""
            elif heading := _HEADING.fullmatch(line):
                line, starts = heading[1].rstrip("# \t"), True
                title = title or _strip_marks(line)
            elif item := _ITEM.fullmatch(line):
                line, starts = item[1], True
        if line and full and not starts:
            lines[-1] += " " + line
        elif line:
            lines.append(line)
        full = len(raw) in WRAPPED and bool(line) and not heading
    if markdown:
        lines = [stripped for line in lines if (stripped := _strip_marks(line).strip())]
    return title, "\n".join(lines)


def _strip_marks(line: str) -> str:
    for pattern, replacement in _INLINE:
        line = pattern.sub(replacement, line)
    return line


READER = Reader(plan, read, suffixes=SUFFIXES, trees=True)
