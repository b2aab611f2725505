"""A table of links comes in, a SQLite file goes out, in which each shard of a build looks up its own documents.

The table is lines of source and target: tab-separated or CSV, with a header that names the two columns or without, with
fields in quotes or without, compressed or not. A column in which every value is a number holds numbers as pandas and R
write them: 102.0 and 1.02e+02 are the id "102".
"""

from __future__ import annotations

import csv
import dataclasses
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from linkbert.corpora.reader import TABLE_CUT, Record, Skipped, number_as_text
from linkbert.files import CutFileError, decompressed_blocks, read_json, replacing, write_json
from linkbert.records import Document, Link

SQLITE, COUNTS = "links.sqlite", "links.json"  # in the folder of an unfinished store
LONGEST_LINE = 1 << 24
NO_COLUMNS = "links table: not two columns"
_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.0)?|\d(?:\.\d+)?e\+\d+|nan|NA", re.IGNORECASE)


def load_links(path: Path, to: Path) -> tuple[Skipped, str]:
    """Put a table of links into a store's folder, if it is not there yet; return what was skipped, and read how."""
    skipped, form = Skipped(), _Form()
    if (to / COUNTS).exists():
        saved = read_json(to / COUNTS)
        skipped.update(saved["skipped"])
        skipped.examples = saved["examples"]
        return skipped, saved["read"]
    integers = [True, True]  # whether all sources, all targets are

    def pairs() -> Iterator[tuple[str, str]]:
        for pair in _read_pairs(path, form, skipped):
            for i in range(2):
                integers[i] = integers[i] and _INTEGER.fullmatch(pair[i]) is not None
            yield pair

    with replacing(to / SQLITE) as part, closing(sqlite3.connect(part)) as database:
        try:
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("CREATE TABLE links (source TEXT, target TEXT)")
            rows = database.executemany("INSERT INTO links VALUES (?, ?)", pairs()).rowcount
            database.create_function("plain", 1, lambda text: number_as_text(Decimal(text)) or text)
            for column, is_integer in zip(("source", "target"), integers, strict=True):
                if is_integer:
                    database.execute(f"UPDATE links SET {column} = plain({column}) WHERE {column} GLOB '*[.eE]*'")  # noqa: S608
            database.execute("CREATE INDEX by_source ON links (source)")
            database.commit()
        except sqlite3.OperationalError as error:
            raise ValueError(f"{path} could not be put into {to}: {error}") from None
        if rows < 1:
            raise ValueError(f"{path} holds no links: each line must be a source, a tab or a comma, and a target")
    read = f"{path}: {rows:,} link{'s' * (rows != 1)}" + ", fields in quotes" * form.quoted
    write_json(to / COUNTS, {"skipped": skipped, "examples": skipped.examples, "read": read})
    return skipped, read


def add_links(records: Iterator[Record], to: Path) -> Iterator[Record]:
    """Add its links of the table to each Document, as links without a place."""
    with closing(sqlite3.connect(f"{(to / SQLITE).absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        for record in records:
            if isinstance(record, Document):
                rows = database.execute("SELECT target FROM links WHERE source = ? ORDER BY rowid", (record.id,))
                links = tuple(Link(-1, -1, target) for (target,) in rows)
                record = dataclasses.replace(record, links=record.links + links) if links else record
            yield record


def count_by_source(to: Path) -> Iterator[list[tuple[str, int]]]:
    """Yield the sources of the table and their numbers of links, some at a time."""
    with closing(sqlite3.connect(to / SQLITE)) as links:
        cursor = links.execute("SELECT source, count(*) FROM links GROUP BY source")
        while rows := cursor.fetchmany(100_000):
            yield rows


@dataclasses.dataclass
class _Form:
    """How a table is written: what its first line shows, and the next one where that is a header."""

    delimiter: str = ""
    quoted: bool = False  # all text is in quotes, or may be (CSV)
    columns: tuple[int, int] = (0, 1)  # of source and target
    width: int = 0  # columns of the header

    def look_at(self, text: str) -> None:
        self.delimiter = next((each for each in ("\t", '" "', ",") if each in text), "\t").strip('"')
        fields = text.split(self.delimiter)
        in_quotes = any(map(_is_quoted, fields)) and all(
            _is_quoted(each) or _INTEGER.fullmatch(each) for each in fields
        )
        self.quoted = self.delimiter == "," or in_quotes


def _read_pairs(path: Path, form: _Form, skipped: Skipped) -> Iterator[tuple[str, str]]:
    """Yield source and target of each line that has both."""
    for number, text in _read_lines(path, skipped):
        if not form.delimiter:
            form.look_at(text)
        fields = _split(text, form.delimiter, quoted=form.quoted)
        names = [field.strip().lower() for field in fields]
        if not form.width and {"source", "target"} <= {*names}:
            form.columns, form.width, form.delimiter = (names.index("source"), names.index("target")), len(names), ""
            continue
        shift = len(fields) == form.width + 1  # R writes the numbers of rows, without a name, first
        form.width = form.width or -1
        try:
            source, target = (fields[column + shift] for column in form.columns)
        except IndexError:
            source = target = ""
        if source and target:
            yield source, target
        else:
            skipped.note(NO_COLUMNS, f"{path.name} line {number}")


def _is_quoted(field: str) -> bool:
    return len(field) > 1 and field[0] == field[-1] == '"'


def _split(text: str, delimiter: str, *, quoted: bool) -> list[str]:
    r"""Split a line; of a table without quotes, only what cannot be meant otherwise is in quotes.

    >>> _split('"Heroes"\t"the ""King"" Elvis"', "\t", quoted=False)
    ['"Heroes"', 'the "King" Elvis']
    """
    if '"' not in text:
        return text.split(delimiter)
    if quoted:
        escape = "\\" if '\\"' in text and '""' not in text else None  # as R does
        try:
            return next(csv.reader([text], delimiter=delimiter, escapechar=escape))
        except csv.Error:
            return []
    fields = text.split(delimiter)
    return [field[1:-1].replace('""', '"') if _is_quoted(field) and '""' in field[1:-1] else field for field in fields]


def _read_lines(path: Path, skipped: Skipped) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not empty."""
    for number, line in enumerate(_cut_lines(path, skipped), 1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            skipped.note("links table: invalid UTF-8 (replaced)", f"{path.name} line {number}")
            text = line.decode(errors="replace")
        text = text.removeprefix("\ufeff" if number == 1 else "").rstrip("\r")
        if text.strip():
            yield number, text


def _cut_lines(path: Path, skipped: Skipped) -> Iterator[bytes]:
    pending = b""
    try:
        for block, _ in decompressed_blocks(path):
            *lines, pending = (pending + block).split(b"\n")
            yield from lines
            if len(pending) > LONGEST_LINE:
                raise ValueError(f"{path} is not a table of links: it has a line of more than 16 MB")
    except CutFileError as error:
        skipped.note(TABLE_CUT, str(error))
    if pending:
        yield pending
