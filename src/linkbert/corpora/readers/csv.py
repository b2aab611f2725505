"""Tables as text in, Documents out: CSV and TSV files whose first row names the columns, which are those of JSON lines.

Cells in quotes may hold line breaks, so only a parser knows where a row ends: the planner parses, the workers make
Documents. A quotation mark that is never closed costs itself and no more: what follows is read again.
"""

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any

from linkbert.corpora.reader import EMPTY, FaultError, Reader, Record, Shard, Skipped
from linkbert.corpora.readers.jsonl import Options, choose_columns, column_of, make_records, parse_columns
from linkbert.corpora.readers.markup import telling
from linkbert.corpora.readers.streams import TOO_LARGE, cut_stream

SHARD_BYTES = 4 << 20
LONGEST_CELL = 1 << 24  # characters, of which a parser takes eight bytes each
MANY_LINES, MANY_ROWS = 1 << 20, 250_000  # of a row; of a shard, where they have few bytes
CELLS = "row with more or fewer cells than the header (left out)"
UNCLOSED = "quotation mark that is not closed (read as text)"
LATIN = "row that is not UTF-8 (read as Windows-1252)"
# Numbers as pandas writes them where one is missing: all of a cell of numbers, else those that are an item alone.
_NUMBERS, _FLOAT = re.compile(r"[\[\]\d.;|,\s]*"), re.compile(r"(?<![\w./])(\d+)\.0(?![\w./])")
_ITEM = re.compile(r"(?:(?<=[\[;|,])|\A)(\s*\d+)\.0(?=\s*[\];|,]|\Z)")
Row = tuple[int, list[str], str]  # number of its first line, its cells, what is amiss


def plan(path: Path, options: Options) -> Iterator[Shard]:
    """Cut a file into runs of rows of about SHARD_BYTES; `extra` is (header, rows)."""
    pieces = cut_stream(path, b"\n", SHARD_BYTES)
    first = next(pieces)
    head, faults, start, stop = first.data or b"", list[tuple[str, str]](), 0, 0
    if not head.strip(codecs.BOM_UTF8 + b"\r\n ") and not first.faults:
        raise FaultError(EMPTY, f"{path} is empty: there is no row in it")
    if first.faults and head.startswith(b"\n"):
        raise FaultError(TOO_LARGE, f"{path} has no header: its first line is too large, or it is no table")
    header, delimiter, quoted = _find_dialect(head)
    wanted = parse_columns(options.columns).values()
    if wanted and all(map(str.isdigit, wanted)) and not {*wanted} <= {*header}:  # places, from 1 on: without a header
        header = tuple(map(str, range(1, len(header) + 1)))
    choose_columns(header, options, path.name)

    def read_lines() -> Iterator[bytes]:
        nonlocal stop
        for piece in chain([first], pieces):
            faults.extend(piece.faults)
            stop = piece.stop
            yield from io.BytesIO(piece.data or b"")

    rows, size = list[Row](), 0
    for row in _read_rows(read_lines(), delimiter, quoted):
        if size >= SHARD_BYTES or len(rows) >= MANY_ROWS:
            yield Shard(str(path), start, stop, faults=tuple(faults), extra=(header, rows))
            start, rows, size = stop, [], 0
            faults.clear()
        size += sum(map(len, row[1])) + len(row[1])
        rows.append(row)
    yield Shard(str(path), start, stop, faults=tuple(faults), extra=(header, rows))


@telling
def read(shard: Shard, options: Options, skipped: Skipped) -> Iterator[Record]:
    """Read the Documents of a shard; `skipped` counts rows, cells and links that are not as they should be."""
    name, (header, rows) = PurePosixPath(shard.path).name, shard.extra
    columns = choose_columns(header, options, name)
    plain = {column_of(columns[key], header) for key in ("id", "links") if key in columns}
    for number, cells, fault in rows:
        where = f"{name} line {number}"
        if fault:
            skipped.note(fault, where)
        if (number == 1 and header[0] != "1") or not any(cells):
            continue
        if len(cells) != len(header):
            skipped.note(CELLS, where)
            continue
        record = dict(zip(header, cells, strict=True))
        for each in plain:
            record[each] = (_FLOAT if _NUMBERS.fullmatch(record[each]) else _ITEM).sub(r"\1", record[each]).strip()
        record = {each: cell for each, cell in record.items() if cell or each != columns.get("title")}
        yield from make_records(record, skipped, where, columns, options.markup)


def _find_dialect(head: bytes) -> tuple[tuple[str, ...], str, bool]:
    """Return the names of the columns, what parts cells, and whether cells may be in quotes.

    Quotes count in CSV; between tabs they do if nearly all of the first megabytes is well formed that way.
    """
    line = head.removeprefix(codecs.BOM_UTF8).split(b"\n", 1)[0].decode(errors="replace")
    delimiter = "\t" if "\t" in line else max(",;|", key=line.count)
    sample = [row for row in islice(_read_rows(io.BytesIO(head), delimiter, True), MANY_ROWS) if row[1]]
    widths = {len(cells) for _, cells, _ in sample[1:-1] or sample[1:]}
    quoted = delimiter != "\t" or '"' in line or 10 * sum(row[2] == UNCLOSED for row in sample) < len(sample)
    _, names, _ = next(_read_rows(io.BytesIO(head), delimiter, quoted))
    names = ["", *names] if widths == {len(names) + 1} else names  # R does not name the column of its row names
    return tuple(each.strip() for each in names), delimiter, quoted


def _read_rows(lines: Iterable[bytes], delimiter: str, quoted: bool) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_CELL)
    source, pending, taken, number, width = map(_decode, lines), deque[tuple[str, str]](), list[tuple[str, str]](), 1, 0

    def take() -> Iterator[str]:
        while line := pending.popleft() if pending else next(source, None):
            taken.append(line)
            if len(taken) > MANY_LINES:  # else short lines behind a quotation mark take fifty times their bytes
                raise csv.Error
            yield line[0]

    def parse(lines: Iterable[str], quoted: bool, *, strict: bool = False) -> Iterator[list[str]]:
        how: Any = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        return csv.reader(lines, delimiter=delimiter, quoting=how, strict=strict)

    rows = parse(take(), quoted, strict=True)
    while True:
        try:
            cells, fault = next(rows), max(fault for _, fault in taken)
        except StopIteration:
            return
        except csv.Error:
            pending.extendleft(reversed(taken[1:]))
            del taken[1:]
            cells, fault = [], TOO_LARGE
            if len(taken[0][0]) < LONGEST_CELL:
                readings = [next(parse([taken[0][0]], quotes)) for quotes in (quoted, False)]
                cells, fault = next((each for each in readings if len(each) == width), readings[0]), UNCLOSED
            rows = parse(take(), quoted, strict=True)
        width = width or len(cells)
        yield number, cells, fault
        number += len(taken)
        taken.clear()


def _decode(line: bytes) -> tuple[str, str]:
    try:
        text, fault = line.decode("utf-8-sig" if line.startswith(codecs.BOM_UTF8) else "utf-8"), ""
    except UnicodeDecodeError:
        text, fault = line.decode("cp1252", "replace"), LATIN
    return text.replace("\r\n", "\n").replace("\r", " ") if "\r" in text else text, fault


READER = Reader(plan=plan, read=read, options=Options, suffixes=(".csv", ".tsv"))
