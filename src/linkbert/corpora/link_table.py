"""A table of links comes in, a SQLite file goes out, in which each shard of a build looks up its own documents.

The table is lines of source and target: tab-separated or CSV, with a header that names the two columns or without; or
an adjacency list, lines of a source and all its targets, where lines differ in length.
A column in which every value is a number holds numbers as pandas writes them: 102.0 and 1.02e+02 are the id "102".
"""

import csv
import dataclasses
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path

from linkbert.corpora.reader import TABLE_CUT, Record, Skipped, number_as_text
from linkbert.files import CutFileError, decompressed_blocks, replacing
from linkbert.records import Document, Link

SQLITE = "links.sqlite"  # in the folder of an unfinished store
LONGEST_LINE, HEAD = 1 << 24, 1_000  # bytes; lines that are looked at first
UNKNOWN = "links table: unknown source"
SOURCES = ("source", "citing", "from", "citing_id", "source_id")  # what a header may call the columns
TARGETS = ("target", "cited", "to", "cited_id", "target_id", "referenced")
# Other names of theirs, of which letters count: citing_opinion_id, citingcorpusid, src, :START_ID; cited_paper_id, dst.
_ENDS = [
    re.compile(f"(?:{stems})(?:[a-z]*(?:ids?|node|doi|pmid|paper|page|article|document|doc|key|title|name|url))?")
    for stems in (
        "citing|source|src|from|start|subject|head|post",
        "cited|target|tgt|dst|dest|destination|to|end|object|tail|referenced|relatedpost",
    )
]
_POST_LINK = re.compile(r'\b(?:PostId|RelatedPostId)="(\d+)"')  # of PostLinks.xml of Stack Exchange
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)
_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.0)?|\d(?:\.\d+)?e\+\d\d?|nan|NA", re.IGNORECASE)
NO_TABLE = {  # how another kind of file begins, and what to do with it
    rb"PAR1": """Parquet, no table of text: python -c "import duckdb; duckdb.sql(\\"copy (select source, target from \
'{}') to 'links.csv'\\")" makes one""",
    rb"\s*(?:\{|\[\s*(?:\{|\Z))": """JSON, no table of two columns: jq -r 'if type == "array" then .[] else . end | \
[.source, .target] | @tsv' makes one""",
    rb"\xff\xfe|\xfe\xff": "UTF-16: iconv -f UTF-16 -t UTF-8 makes of it what can be read",
}


def load_links(path: Path, to: Path) -> tuple[Skipped, str]:
    """Put a table of links into a store's folder; return what was skipped, and say what was read."""
    skipped, found = Skipped(), list[str]()
    with replacing(to / SQLITE) as part, closing(sqlite3.connect(part)) as database:
        try:
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("CREATE TABLE links (source TEXT, target TEXT)")
            rows = database.executemany("INSERT INTO links VALUES (?, ?)", _read_pairs(path, skipped, found)).rowcount
            database.create_function("is_integer", 1, lambda text: _INTEGER.fullmatch(text) is not None)
            database.create_function("plain", 1, lambda text: number_as_text(Decimal(text)) or text)
            for column in ("source", "target"):
                if not database.execute(f"SELECT 1 FROM links WHERE NOT is_integer({column}) LIMIT 1").fetchall():  # noqa: S608
                    database.execute(f"UPDATE links SET {column} = plain({column}) WHERE {column} GLOB '*[.eE]*'")  # noqa: S608
            database.execute("CREATE INDEX by_source ON links (source)")
            database.commit()
        except sqlite3.OperationalError as error:
            raise ValueError(f"{path} could not be put into {to}: {error}") from None
        if rows < 1:
            raise ValueError(f"{path} holds no links: each line must be a source, a tab or a comma, and a target")
    return skipped, f"{path}: {rows:,} link{'s' * (rows != 1)}{''.join(found)}"


def add_links(records: Iterator[Record], to: Path) -> Iterator[Record]:
    """Add its links of the table to each Document, as links without a place."""
    with closing(sqlite3.connect(f"{(to / SQLITE).absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        for record in records:
            if isinstance(record, Document):
                rows = database.execute("SELECT target FROM links WHERE source = ? ORDER BY rowid", (record.id,))
                links = tuple(Link(-1, -1, target) for (target,) in rows)
                record = dataclasses.replace(record, links=record.links + links) if links else record
            yield record


def count_unknown(to: Path, ids: Iterable[tuple[str]], skipped: Skipped) -> None:
    """Count the rows of the table whose source is not the id of a document."""
    with closing(sqlite3.connect(to / SQLITE)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS documents (id TEXT PRIMARY KEY) WITHOUT ROWID")
        database.executemany("INSERT OR IGNORE INTO documents VALUES (?)", ids)
        of_source = "SELECT source, count(*) FROM links WHERE source NOT IN documents GROUP BY source ORDER BY source"
        for source, count in database.execute(of_source):
            skipped.note(UNKNOWN, repr(source))
            skipped[UNKNOWN] += count - 1


def _read_pairs(path: Path, skipped: Skipped, found: list[str]) -> Iterator[tuple[str, str]]:
    """Yield source and target of each line that has both; a header may name them, among other columns.

    What was taken for them is put into `found`, in words. ValueError: a header whose names say nothing, a file that is
    no table.

    In CSV, and where all words of a column are in quotes or some double the marks in them, the quotation marks are the
    table's; else they are part of a name ("Heroes").
    """
    delimiter, quoted, columns, lines = "", True, (0, 1), _read_lines(path, skipped)
    head, many = [*islice(lines, HEAD)], False
    if said := next((said for mark, said in NO_TABLE.items() if head and re.match(mark, head[0])), ""):
        raise ValueError(f"{path} is {said.replace('{}', str(path))}")
    for number, line in enumerate(chain(head, lines), 1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace").rstrip("\r")
        if "\ufffd" in text:
            skipped.note("links table: invalid UTF-8 (replaced)", f"{path.name} line {number}")
        if not delimiter and text.startswith(("#", "%")):  # as those of SNAP and KONECT begin
            continue
        if not delimiter and text.strip():
            delimiter = "\t" if "\t" in text else max(",;", key=text.count) if re.search("[,;]", text) else " "
            names = [name.strip() for name in _split(text, delimiter, quoted=True)]
            below = [row.decode("utf-8", "replace").rstrip("\r") for row in head[number:]]
            ends = find_ends(names)
            columns = ends or columns
            rows = [row.split("\t") for row in below] or [names]
            quoted = delimiter != "\t" or any(_is_quoted([row[at] for row in rows if at < len(row)]) for at in columns)
            rows = [_split(row, delimiter, quoted=quoted) for row in below if row.strip()]
            if ends:
                found.append(f", from {names[ends[0]]} to {names[ends[1]]}")
                continue
            wide = len(names) > 3 and names[not names[0] :] == [*map(str, range(len(names) - (not names[0])))]
            if len(names) > 2 and not wide and _is_header(names, rows):
                raise ValueError(f"{path} has the columns {', '.join(names)}: call two of them source and target there")
            widths = {len(names), *map(len, rows)}
            ragged = wide or ".adjlist" in path.name or (len(widths) > 1 and max(widths) > 3)
            many = ragged and text[:1] != "<" and "{" not in "".join(below)  # networkx writes what it knows of an edge
            if many or max(widths) > 2:
                others = "all others" if many else f"the second of {max(widths)}"
                found.append(f", from the first column to {others}")
            if wide:  # as pandas numbers the columns of lists
                continue
        fields = _split(text, delimiter, quoted=quoted) * bool(text.strip())
        pair = _POST_LINK.findall(text) or [fields[column] for column in columns if column < len(fields)]
        if many and fields and fields[0]:
            yield from ((fields[0], target) for target in fields[1:] if target)
        elif len(pair) == 2 and all(pair):
            yield pair[0], pair[1]
        elif fields and not text.lstrip("\ufeff").startswith(("<?xml", "<postlinks>", "</postlinks>")):
            skipped.note("links table: not two columns", f"{path.name} line {number}")


def find_ends(names: list[str]) -> tuple[int, int] | None:
    """Find the columns of source and target by their names, of which those count first that SOURCES and TARGETS have.

    >>> find_ends(["id", "depth", "cited_opinion_id", "citing_opinion_id"]), find_ends(["a", "b"])
    ((3, 2), None)
    """
    ends, lower = list[int](), [name.lower() for name in names]
    for known, pattern in zip((SOURCES, TARGETS), _ENDS, strict=True):
        like = sorted(lower, key=lambda name: not name.endswith("id"))
        like = [name for name in like if pattern.fullmatch(re.sub("[^a-z]", "", name))]
        ends += [lower.index(name) for name in (*known, *like) if name in lower][:1]
    return (ends[0], ends[1]) if len({*ends}) == 2 else None


def _is_header(names: list[str], rows: list[list[str]]) -> bool:
    """Judge whether a line names columns: a word stands above nothing but numbers."""
    below = ([row[at] for row in rows if at < len(row) and row[at]] for at in range(len(names)))
    return any(column and all(map(_NUMBER.fullmatch, column)) and not _NUMBER.fullmatch(name) and name
               for name, column in zip(names, below, strict=True))  # fmt: skip


def _is_quoted(cells: list[str]) -> bool:
    """Judge whether quotation marks are those of the table, by the cells of a column."""
    words = {cell: re.fullmatch(r'"(?:[^"]|"")*"', cell) for cell in cells if cell and not _INTEGER.fullmatch(cell)}
    return any(found and '""' in cell[1:-1] for cell, found in words.items()) or (bool(words) and all(words.values()))


def _split(text: str, delimiter: str, *, quoted: bool) -> list[str]:
    with suppress(csv.Error):  # a field of more than 128 KB
        if quoted and '"' in text:
            return next(csv.reader([text], delimiter=delimiter, skipinitialspace=delimiter != "\t"))
        cells = text.split(delimiter.strip(" ") or None)
        return cells if delimiter == "\t" else [cell.strip() for cell in cells]
    return []


def _read_lines(path: Path, skipped: Skipped) -> Iterator[bytes]:
    pending = b""
    try:
        for block, _ in decompressed_blocks(path):
            *lines, pending = (pending + block).split(b"\n")
            yield from lines
            if len(pending) > LONGEST_LINE:
                raise ValueError(f"{path} is not a table of links: it has a line of more than 16 MB")
    except CutFileError as error:
        skipped.note(TABLE_CUT, str(error))
    yield pending
