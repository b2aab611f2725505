"""A table of links comes in, a SQLite file goes out, in which each shard of a build looks up its own documents.

The table is lines of source and target: tab-separated or CSV, with a header that names the two columns or without; or
an adjacency list, lines of a source and all its targets, where lines differ in length.
A column in which every value is a number holds numbers as pandas writes them: 102.0 and 1.02e+02 are the id "102".
"""

import csv
import dataclasses
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from linkbert.corpora.reader import TABLE_CUT, Record, Skipped, number_as_text
from linkbert.files import CutFileError, decompressed_blocks, replacing
from linkbert.records import Document, Link

SQLITE = "links.sqlite"  # in the folder of an unfinished store
LONGEST_LINE, HEAD, SEEN = 1 << 24, 1_000, 1 << 20  # bytes; lines that are looked at first, and bytes of them
UNKNOWN = "links table: unknown source"
PAIRS = {  # what the names of the columns differ in: citing_opinion_id, cited_opinion_id; :START_ID, :END_ID
    "citing": ("cited", "referenced"), "source": ("target", "referenced"), "src": ("dst", "dest", "tgt", "trg"),
    "from": ("to",), "head": ("tail",), "subject": ("object",), "post": ("relatedpost",),
    "start(?=_?(?:id|node))": ("end",),
}  # fmt: skip
TARGET = re.compile(r"(?:cited|referenced?|ref|target|linked|related|neighbou?r)(?![a-z]{2})", re.IGNORECASE)
_POST_LINK = re.compile(r'\b(?:PostId|RelatedPostId)="(\d+)"')  # of PostLinks.xml of Stack Exchange
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?inf", re.IGNORECASE)
_MISSING = re.compile(r"nan|na|none|null|\\n|", re.IGNORECASE)
_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.0)?|\d(?:\.\d+)?e\+\d\d?|nan|NA", re.IGNORECASE)
PROLOGUE = re.compile(r"\ufeff?\s*(?:<\?xml[^<>]*\?>|<!DOCTYPE[^<>]*>|<!--.*-->)?\s*")
NO_TABLE = {  # how another kind of file begins, and what to do with it
    rb"PAR1[\x00-\x1f]": """Parquet, no table of text: python -c "import duckdb; duckdb.sql(\\"copy (select source, \
target from '{}') to 'links.csv'\\")" makes one""",
    rb"(?:\xef\xbb\xbf)?\s*(?:\{|\[\s*(?:\{|\Z))": """JSON, no table of two columns: jq -r 'if type == \
"array" then .[] else . end | [.source, .target] | @tsv' makes one""",
    rb"\xff\xfe|\xfe\xff": "UTF-16: iconv -f UTF-16 -t UTF-8 makes of it what can be read",
    rb"(?i)%%MatrixMarket\b": "Matrix Market: grep -v '^%' '{}' | tail -n +2 > links.txt leaves its table",
    rb"(?:<\S+>|_:\S+)[ \t]+<[^<>\s]+:[^<>\s]*>[ \t].*\.\s*(?:#.*)?\Z|(?i:@?prefix|@?base)\s+[\w-]*:?\s*<": "RDF, \
no table of two columns: write one of its links",
    rb"(?i)\s*(?:graph\s*\[\s*\Z|creator[ ]+\"[^\"\t]*\"\s*\Z|\*(?:vertices|network|arcs|edges)\b[^,\t]*\Z"
    rb"|(?:<\?xml[^<>]*\?>)?\s*<(?:graphml|gexf|rdf:RDF)\b[^,\t]*\Z)": "a graph as networkx reads it: \
its write_edgelist(graph, 'links.tsv', delimiter='\\t', data=False) makes a table",
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


class Shape(NamedTuple):
    """How a table is written, and, in words, which of its columns were taken."""

    delimiter: str
    quoted: bool
    columns: tuple[int, int] = (0, 1)
    every: bool = False  # a line is a source and all its targets
    headed: bool = False
    said: str = ""


def _read_pairs(path: Path, skipped: Skipped, found: list[str]) -> Iterator[tuple[str, str]]:
    """Yield source and target of each line that has both; what was taken for them is put into `found`, in words."""
    shape, lines = None, _read_lines(path, skipped)
    head = [*islice(lines, HEAD)]
    for number, line in enumerate(chain(head, lines), 1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace").rstrip("\r")
        if "\ufffd" in text:
            skipped.note("links table: invalid UTF-8 (replaced)", f"{path.name} line {number}")
        if not shape and (said := next((said for mark, said in NO_TABLE.items() if re.match(mark, line)), "")):
            raise ValueError(f"{path} is {said.replace('{}', str(path))}")
        if not shape and (text.startswith(("#", "%")) or PROLOGUE.fullmatch(text)):  # as those of SNAP and KONECT begin
            continue
        if not shape:
            shape = _look(path, text, head[number:])
            found.append(shape.said)
            if shape.headed:
                continue
        fields = _split(text, shape.delimiter, quoted=shape.quoted) * bool(text.strip())
        pair = _POST_LINK.findall(text) or [fields[column] for column in shape.columns if column < len(fields)]
        if shape.every and fields and fields[0]:
            yield from ((fields[0], target) for target in fields[1:] if target)
        elif len(pair) == 2 and all(pair):
            yield pair[0], pair[1]
        elif fields and not text.lstrip("\ufeff").startswith(("<?xml", "<postlinks>", "</postlinks>")):
            skipped.note("links table: not two columns", f"{path.name} line {number}")


def _look(path: Path, first: str, more: list[bytes]) -> Shape:
    """Find the shape of a table by its first line and those below it; ValueError: a header whose names say nothing.

    In CSV, and where all words of a column are in quotes or some double the marks in them, the quotation marks are the
    table's; else they are part of a name ("Heroes").
    """
    delimiter = "\t" if "\t" in first else max(",;", key=first.count) if re.search("[,;]", first) else " "
    names, below, size = [name.strip() for name in _split(first, delimiter, quoted=True)], list[str](), 0
    for line in more:
        if (size := size + len(line)) > SEEN:
            break
        below += [line.decode("utf-8", "replace").rstrip("\r")] * (line[:1] not in b"#%")
    ends = find_ends(names)
    rows = [row.split("\t") for row in below] or [names]
    quoted = delimiter != "\t" or any(_is_quoted([row[at] for row in rows if at < len(row)]) for at in ends or (0, 1))
    shape = Shape(delimiter, quoted)
    if ends:
        return shape._replace(columns=ends, headed=True, said=f", from {names[ends[0]]} to {names[ends[1]]}")
    rows = [_split(row, delimiter, quoted=quoted) for row in below if row.strip()]
    numbered = len(names) > 2 and names == ["", *map(str, range(len(names) - 1))]  # pandas' columns of lists
    if len(names) > 2 and not numbered and _is_header(names, rows):
        raise ValueError(f"{path} has the columns {', '.join(names)}: call two of them source and target there")
    widest = max(map(len, [names, *rows]))
    if first.lstrip("\ufeff")[:1] == "<" or widest < 3:  # of XML there are no columns
        return shape
    if numbered or ".adjlist" in path.name or _is_ragged([names, *rows]):
        return shape._replace(every=True, headed=numbered, said=", from the first column to all others")
    return shape._replace(said=f", from the first column to the second of {widest}")


def _is_ragged(rows: list[list[str]]) -> bool:
    """Judge whether lines of many lengths are lists of ids, and no prose with the marks that part columns in it."""
    widths = Counter(map(len, rows))
    varied = len(widths) > 2 and max(widths) > 3 and widths.most_common(1)[0][1] < 0.9 * len(rows)
    kinds = [all(map(_INTEGER.fullmatch, filter(None, cells))) for cells in (
        [row[0] for row in rows if row], [cell for row in rows for cell in row[1:]])]  # fmt: skip
    return varied and kinds[0] == kinds[1] and not any("{" in cell for row in rows for cell in row)


def find_ends(names: list[str]) -> tuple[int, int] | None:
    """Find the columns of source and target by names that differ in what PAIRS says; a second one may be a TARGET.

    >>> find_ends(["id", "depth", "cited_opinion_id", "citing_opinion_id"]), find_ends(["a", "b"])
    ((3, 2), None)
    """
    lower = [re.sub(r"\([^()]*\)", "", name).strip().lower() for name in names]  # of Neo4j: START_ID(Person)
    for stem, others in PAIRS.items():
        for at, name in sorted(enumerate(lower), key=lambda each: (each[1] != stem, not each[1].endswith("id"))):
            if found := re.search(rf"(?<![a-z]){stem}", name):
                for target in (name[: found.start()] + other + name[found.end() :] for other in others):
                    if target in lower:
                        return at, lower.index(target)
    return (0, 1) if len(names) > 2 and TARGET.match(names[1]) and not _NUMBER.fullmatch(names[0]) else None


def _is_header(names: list[str], rows: list[list[str]]) -> bool:
    """Judge whether a line names columns: it has no number, and a word stands above nothing but numbers."""
    below = [[row[at] for row in rows if at < len(row) and not _MISSING.fullmatch(row[at])] for at in range(len(names))]
    numbers = [column and all(map(_NUMBER.fullmatch, column)) for column in below]
    return any(numbers) and not any(_NUMBER.fullmatch(name) or _MISSING.fullmatch(name) for name in names[1:])


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
