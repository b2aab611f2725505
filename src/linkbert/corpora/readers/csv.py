"""Tables as text in, Documents out: CSV and TSV files whose first row names the columns, which are those of JSON lines.

Cells in quotes may hold line breaks, so only a parser knows where a row ends: the planner cuts a file where it says so.
A quotation mark that is never closed costs itself and no more: what follows is read again from the next line on.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from linkbert.corpora.reader import CUT, EMPTY, FaultError, Reader, Record, Shard, Skipped
from linkbert.corpora.readers.jsonl import Options, choose_columns, column_of, make_record, parse_columns
from linkbert.corpora.readers.streams import cut_stream

SHARD_BYTES = 4 << 20
LONGEST_CELL = 1 << 26  # characters
CELLS = "row with more or fewer cells than the header (left out)"
UNCLOSED = "quotation mark that is not closed (read as text)"
LATIN = "row that is not UTF-8 (read as Windows-1252)"
_FLOAT = re.compile(r"(?<![\w./])(\d+)\.0(?![\w./])")  # as pandas writes ids where one is missing
Row = tuple[int, bytes, list[str], str]  # number of its first line, its bytes, its cells, what is amiss


def plan(path: Path, options: Options) -> Iterator[Shard]:
    """Cut a file into runs of whole rows of about SHARD_BYTES; `extra` is (header, delimiter, whether quotes count)."""
    pieces = cut_stream(path, b"\n", SHARD_BYTES)
    head, start, stop, fault = next(pieces)
    if not head.strip(codecs.BOM_UTF8 + b"\r\n "):
        raise FaultError(CUT if fault else EMPTY, fault or f"{path} is empty: there is no row in it")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FaultError(CUT, f"{path} is UTF-16: `iconv -f UTF-16 -t UTF-8` makes of it what can be read")
    header, delimiter, quoted = _find_dialect(head)
    wanted = parse_columns(options.columns).values()
    if wanted and all(name.isdigit() and name not in header for name in wanted):  # places, from 1 on: without a header
        header = tuple(map(str, range(1, len(header) + 1)))
    choose_columns(header, options, path.name)

    def read_lines() -> Iterator[bytes]:
        nonlocal stop, fault
        yield from io.BytesIO(head)
        for data, _, stop, fault in pieces:  # noqa: B007 - the caller sees them
            yield from io.BytesIO(data)

    rows, first, data = _read_rows(read_lines(), delimiter, quoted), 1, bytearray()
    for number, raw, *_ in rows:
        if len(data) >= SHARD_BYTES:
            yield Shard(str(path), start, stop, bytes(data), first, extra=(header, delimiter, quoted))
            start, first = stop, number
            data.clear()
        data += raw
    faults = ((CUT, fault),) if fault else ()
    yield Shard(str(path), start, stop, bytes(data), first, faults, extra=(header, delimiter, quoted))


def read(shard: Shard, options: Options, skipped: Skipped) -> Iterator[Record]:
    """Read the Documents of a shard; `skipped` counts rows, cells and links that are not as they should be."""
    name, (header, delimiter, quoted) = PurePosixPath(shard.path).name, shard.extra
    columns = choose_columns(header, options, name)
    plain = {column_of(columns[key], header) for key in ("id", "links") if key in columns}
    for number, _, cells, fault in _read_rows(io.BytesIO(shard.data or b""), delimiter, quoted, shard.first_line):
        where = f"{name} line {number}"
        if fault:
            skipped.note(fault, where)
        if (number == 1 and header[0] != "1") or not any(cells):
            continue
        if len(cells) != len(header):
            skipped.note(CELLS, where)
            continue
        record = dict(zip(header, cells, strict=True))
        record |= {each: _FLOAT.sub(r"\1", record[each]) for each in plain}
        record = {each: cell for each, cell in record.items() if cell or each != columns.get("title")}
        if made := make_record(record, skipped, where, columns):
            yield made


def _find_dialect(head: bytes) -> tuple[tuple[str, ...], str, bool]:
    """Return the names of the columns, what parts cells, and whether cells may be in quotes.

    Quotes count in CSV; between tabs they do if nearly all of the first megabytes is well formed that way.
    """
    line = head.removeprefix(codecs.BOM_UTF8).split(b"\n", 1)[0].decode(errors="replace")
    delimiter = "\t" if "\t" in line else max(",;|", key=line.count)
    sample = [row for row in _read_rows(io.BytesIO(head), delimiter, True) if row[2]]
    widths = {len(cells) for _, _, cells, _ in sample[1:-1] or sample[1:]}
    unclosed = sum(fault == UNCLOSED for *_, fault in sample)
    quoted = delimiter != "\t" or '"' in line or 10 * unclosed < len(sample)
    names = next(_read_rows(io.BytesIO(head), delimiter, quoted))[2]
    names = ["", *names] if widths == {len(names) + 1} else names  # R does not name the column of its row names
    return tuple(each.strip() for each in names), delimiter, quoted


def _read_rows(lines: Iterable[bytes], delimiter: str, quoted: bool, number: int = 1, width: int = 0) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_CELL)
    source, pending, taken, fault = iter(lines), deque[bytes](), list[bytes](), ""

    def decode(line: bytes) -> str:
        nonlocal fault
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            text, fault = line.decode("cp1252", "replace"), LATIN
        return text.replace("\r\n", "\n").replace("\r", " ") if "\r" in text else text

    def take() -> Iterator[str]:
        while line := pending.popleft() if pending else next(source, b""):
            taken.append(line)
            yield decode(line)

    def parse(lines: Iterable[str], *, strict: bool = False, quotes: bool = quoted) -> Iterator[list[str]]:
        how: Any = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
        return csv.reader(lines, delimiter=delimiter, quoting=how, strict=strict)

    rows = parse(take(), strict=True)
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error:
            pending.extendleft(reversed(taken[1:]))
            taken[1:], cells = [], ["?"]
            if len(taken[0]) < LONGEST_CELL:
                line, fault = decode(taken[0]), UNCLOSED
                readings = [next(parse([line], quotes=quotes)) for quotes in (True, False)]
                cells = next((each for each in readings if len(each) == width), readings[0])
            rows = parse(take(), strict=True)
        width = width or len(cells)
        yield number, b"".join(taken), cells, fault
        number, fault = number + len(taken), ""
        taken.clear()


READER = Reader(plan=plan, read=read, options=Options, suffixes=(".csv", ".tsv"))
