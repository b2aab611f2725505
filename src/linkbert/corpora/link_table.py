"""A table of links comes in, a SQLite file goes out, in which each shard of a build looks up its own documents.

The table is lines of source and target: tab-separated or CSV, with a header that names the two columns or without.
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
_POST_LINK = re.compile(r'\b(?:PostId|RelatedPostId)="(\d+)"')  # of PostLinks.xml of Stack Exchange
_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.0)?|\d(?:\.\d+)?e\+\d\d?|nan|NA", re.IGNORECASE)


def load_links(path: Path, to: Path) -> tuple[Skipped, str]:
    """Put a table of links into a store's folder; return what was skipped, and say what was read."""
    skipped = Skipped()
    with replacing(to / SQLITE) as part, closing(sqlite3.connect(part)) as database:
        try:
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("CREATE TABLE links (source TEXT, target TEXT)")
            rows = database.executemany("INSERT INTO links VALUES (?, ?)", _read_pairs(path, skipped)).rowcount
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
    return skipped, f"{path}: {rows:,} link{'s' * (rows != 1)}"


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


def _read_pairs(path: Path, skipped: Skipped) -> Iterator[tuple[str, str]]:
    """Yield source and target of each line that has both; a header may name them, among other columns.

    In CSV, and where all words of a column are in quotes or some double the marks in them, the quotation marks are the
    table's; else they are part of a name ("Heroes").
    """
    delimiter, quoted, columns, lines = "", True, (0, 1), _read_lines(path, skipped)
    head = [*islice(lines, HEAD)]
    for number, line in enumerate(chain(head, lines), 1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace").rstrip("\r")
        if "\ufffd" in text:
            skipped.note("links table: invalid UTF-8 (replaced)", f"{path.name} line {number}")
        if not delimiter and text.startswith(("#", "%")):  # as those of SNAP and KONECT begin
            continue
        if not delimiter and text.lstrip()[:1] == "{":
            raise ValueError(f"{path} is JSON, no table of two columns: jq -r '[.source, .target] | @tsv' makes one")
        if not delimiter and text.strip():
            delimiter = "\t" if "\t" in text else max(",;", key=text.count) if re.search("[,;]", text) else " "
            names = [name.strip().lower() for name in _split(text, delimiter, quoted=True)]
            first = (next((names.index(name) for name in known if name in names), -1) for known in (SOURCES, TARGETS))
            ends = [at for at in first if at >= 0]
            columns = (ends[0], ends[1]) if len(ends) == 2 else columns
            rows = [row.decode("utf-8", "replace").rstrip("\r").split("\t") for row in head[number:]] or [names]
            quoted = delimiter != "\t" or any(_is_quoted([row[at] for row in rows if at < len(row)]) for at in columns)
            if len(ends) == 2:
                continue
        fields = _split(text, delimiter, quoted=quoted) * bool(text.strip())
        pair = _POST_LINK.findall(text) or [fields[column] for column in columns if column < len(fields)]
        if len(pair) == 2 and all(pair):
            yield pair[0], pair[1]
        elif fields and not text.lstrip("\ufeff").startswith(("<?xml", "<postlinks>", "</postlinks>")):
            skipped.note("links table: not two columns", f"{path.name} line {number}")


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
