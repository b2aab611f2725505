"""Tables in, Documents out: Parquet files and the Arrow files of Hugging Face `datasets`.

A row is a document, with the columns and options of JSON lines. A shard is a run of row groups or record batches of one
file, read by a worker from the file itself: the columns that are needed, a few rows at a time. No offset is trusted
before it is checked: damage costs a row group or a batch, as does what a few bytes say to hold hundreds of megabytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linkbert.corpora import sources
from linkbert.corpora.reader import CUT, EMPTY, FaultError, Reader, Record, Shard, Skipped
from linkbert.corpora.readers.jsonl import Options, choose_columns, column_of, make_records
from linkbert.corpora.readers.markup import telling
from linkbert.corpora.readers.streams import LARGEST, TOO_LARGE, decode_utf8
from linkbert.files import COMPRESSIONS, Member, one_line, open_source, source_size

if TYPE_CHECKING:  # elsewhere where it is needed: every --help lists this reader's options
    import pyarrow as pa

LEFT_BEHIND = "cache-"  # what `map` and `filter` of datasets leave in a dataset: cache-0123456789.arrow
SHARD_BYTES = 16 << 20  # as they are in memory
ROWS = 100  # taken at a time
BOMB, RATIO = 8 * LARGEST, 200  # bytes of a page or a batch, and how many come of one on disk, that are no table's
FRAMES = (b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")  # how those of zstd and of lz4 begin
DICTIONARY, HEADER = 4, 1 << 16  # a kind of page; bytes in which one is described
SHARED = re.compile("dictionary|view|run_end")  # types in which many rows may be one value
OWN = re.compile(r"disambiguation: bool|sections: (large_)?list<\w+: struct<name: (large_)?string, start: int\d+>>")


def plan(path: Path, options: Options) -> Iterator[Shard]:
    """Cut a file into shards whose `extra` is (first, stop, row): units [first, stop), from this row of the file on."""
    import pyarrow as pa

    if path.name.startswith(LEFT_BEHIND):
        return
    data = path.data if isinstance(path, Member) else None
    if path.suffix.lower() in COMPRESSIONS:  # there is no way into the middle of it
        data = sources.decompressed(path, most := sources.LARGEST - len(data or b""))
        if data is None:
            raise FaultError(sources.TOO_LARGE, f"{path} has more than {most:,} bytes: decompress it, and name that")
    parts, damage = [(0, 0)], ""  # where each part ends: units, rows
    unit = rows = size = 0
    try:
        for unit, (more, bytes_, _) in enumerate(_read_units(Shard(str(path), data=data), options), 1):
            if more > bytes_:  # of no values, or of one value again and again: there may be any number of them
                raise OSError(f"{more:,} rows in {bytes_:,} bytes")
            rows, size = rows + more, size + bytes_
            if size >= SHARD_BYTES and data is None:
                parts.append((unit, rows))
                size = 0
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:  # it may ask for any length
        damage = f"{path} is cut off, damaged or no table ({one_line(error)})"
    if rows > parts[-1][1]:
        parts.append((unit, rows))
    if not rows:
        raise FaultError(CUT if damage else EMPTY, damage or f"{path} is empty: there is no row in it")
    start, bytes_ = 0, source_size(path)
    for (first, row), (stop, end) in pairwise(parts):
        faults = ((CUT, damage),) if damage and end == rows else ()
        yield Shard(str(path), start, start := bytes_ * end // rows, data, faults=faults, extra=(first, stop, row))


@telling
def read(shard: Shard, options: Options, skipped: Skipped) -> Iterator[Record]:
    """Read the Documents of a shard; `skipped` counts rows and links that are not as they should be, and damage."""
    import pyarrow as pa

    file, (first, stop, start) = Path(shard.path).name, shard.extra
    for rows, _, read_batches in islice(_read_units(shard, options, first), stop - first):
        row = start + 1
        try:
            for batch in read_batches():
                yield from _read_rows(batch, options, skipped, file, row)
                row += batch.num_rows
        except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:  # it may ask for any length
            skipped.note(CUT, f"{file} row {row} and on ({one_line(error)})")
        start += rows


def read_bounded(name: str, data: bytes, most: int) -> pa.Table | None:
    """Read a table that is no corpus, None if it has no row; ValueError where its rows have more bytes than `most`.

    Each row counts its own copy of what it shares with others: as a list of Python, it has one.
    """
    import pyarrow as pa

    batches, size = list[Any](), 0
    try:
        for rows, bytes_, read_batches in _read_units(Shard(name, data=data), None):
            if rows > bytes_:
                raise OSError(f"{rows:,} rows in {bytes_:,} bytes")
            for batch in read_batches():
                size += max(batch.nbytes, sum(map(_size, batch.columns)))
                if size > most:
                    raise OSError(f"{len(data):,} bytes that should become more than {most:,}")
                batches.append(batch)
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        kind = "parquet file" if ".parquet" in name else "stream of Arrow"
        raise ValueError(f"{name} is damaged or not a {kind} ({one_line(error)})") from None
    return pa.Table.from_batches(batches) if batches else None


def _read_rows(batch: pa.RecordBatch, options: Options, skipped: Skipped, file: str, row: int) -> Iterator[Record]:
    """Make Documents of a batch whose first row is this one of the file, from 1 on."""
    import pyarrow as pa

    columns: dict[str, pa.Array] = {}
    try:
        chosen = _choose(batch.schema, options, file)
        used = dict.fromkeys(column_of(path, batch.schema.names) for path in chosen.values())
        if sum(_size(batch.column(name)) for name in used) <= LARGEST:
            columns = {name: _check(batch.column(name)) for name in used}
    except (pa.ArrowException, ValueError) as error:
        skipped.note(CUT, f"{file} rows {row} to {row + batch.num_rows - 1} ({one_line(error)})")
        return
    why, where = TOO_LARGE, f"{file} row {row}"
    lists: list[list[object]] | None = None
    if columns and sum(column.nbytes for column in columns.values()) <= LARGEST:
        try:
            lists = [*map(pa.Array.to_pylist, columns.values())]
        except (ValueError, OverflowError) as error:  # a date or a duration that Python has none for
            why, where = CUT, f"{where} ({one_line(error)})"
    if lists is not None:
        for number, values in enumerate(zip(*lists, strict=True), row):
            where = f"{file} row {number}"
            texts = [decode_utf8(value, skipped, where) if isinstance(value, bytes) else value for value in values]
            record = dict(zip(columns, texts, strict=True))
            yield from make_records(record, skipped, where, chosen, options.markup)
    elif batch.num_rows == 1:
        skipped.note(why, where)
    else:
        for at in range(batch.num_rows):
            yield from _read_rows(batch.slice(at, 1), options, skipped, file, row + at)


def _choose(schema: pa.Schema, options: Options | None, file: str) -> dict[str, str]:
    if options is None:
        return dict(zip(schema.names, schema.names, strict=True))
    own = [field.name for field in schema if OWN.fullmatch(f"{field.name}: {field.type}")]
    own += ["url"] if options.markup and "url" in schema.names else []
    return choose_columns(schema.names, options, file, own)


def _read_units(
    shard: Shard, options: Options | None, first: int = 0
) -> Iterator[tuple[int, int, Callable[[], Iterable[pa.RecordBatch]]]]:
    """Yield each row group or record batch from the `first` on: its rows, its bytes, and what reads ROWS at a time."""
    import pyarrow as pa
    from pyarrow import ipc, parquet

    with open_source(shard.source) as file, pa.PythonFile(file, mode="r") as source:
        mark = source.read(6)
        source.seek(0)
        if mark[:4] == b"PAR1":
            table = parquet.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20, arrow_extensions_enabled=False)
            names = table.schema_arrow.names
            columns = [column_of(path, names) for path in _choose(table.schema_arrow, options, shard.path).values()]
            for number in range(first, table.metadata.num_row_groups):
                group = table.metadata.row_group(number)
                yield group.num_rows, group.total_byte_size, partial(_read_group, source, table, number, columns)
            return
        source = pa.PythonFile(_Checked(file), mode="r")
        open_ = ipc.open_file if mark == b"ARROW1" else ipc.open_stream
        schema = open_(source).schema
        chosen = _choose(schema, options, shard.path).values()
        fields = [schema.names.index(column_of(path, schema.names)) for path in chosen]
        source.seek(0)
        batches = open_(source, options=ipc.IpcReadOptions(included_fields=fields, use_threads=False))
        is_file = mark == b"ARROW1"
        numbers = range(first, batches.num_record_batches if is_file else 0)
        for batch in map(batches.get_batch, numbers) if is_file else islice(batches, first, None):
            read_batch = partial(pa.Table.from_batches([batch]).to_batches, ROWS)
            yield batch.num_rows, batch.get_total_buffer_size(), read_batch


class _Checked:
    """A file of Arrow, whose compressed buffers begin with the bytes that are allocated for each."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def read(self, size: int = -1) -> bytes:
        data: bytes = self.file.read(size)
        before = (part[-8:] for frame in FRAMES if frame in data for part in data.split(frame)[:-1])
        asked = sum(size for size in (int.from_bytes(each, "little") for each in before) if size < 1 << 40)
        if asked > max(BOMB, RATIO * len(data)):
            raise OSError(f"{len(data):,} bytes that should become {asked:,}")
        return data


def _read_group(source: Any, table: Any, number: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Read a row group, so few rows at a time that each may have the whole dictionary of its column."""
    group, dictionaries = table.metadata.row_group(number), 0
    for chunk in map(group.column, range(group.num_columns)):
        if not any(f"{chunk.path_in_schema}.".startswith(f"{column}.") for column in columns):
            continue
        at = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)), default=0)
        packed, whole = chunk.total_compressed_size, chunk.total_uncompressed_size
        end = at + packed
        while at < end:  # what is allocated is what each page says, whatever the footer says of all
            source.seek(at)
            try:
                header, (kind, size, length) = _read_header(source.read(HEADER))
            except (IndexError, ValueError, RecursionError):
                raise OSError(f"row group {number} has no page at byte {at:,}") from None
            if size > BOMB or whole > max(BOMB, RATIO * packed):
                raise OSError(f"{packed:,} bytes that should become {max(size, whole):,}")
            dictionaries += size * (kind == DICTIONARY)
            at += header + length
    rows = max(min(ROWS, LARGEST * group.num_rows // (group.total_byte_size or 1), LARGEST // (dictionaries or 1)), 1)
    return table.iter_batches(rows, row_groups=[number], columns=columns, use_threads=False)


def _read_header(data: bytes) -> tuple[int, list[int]]:
    """Read thrift's header of a page: its length, and the numbers of its kind, its bytes, and those on disk."""
    found, at, depth = list[int](), 0, 1

    def number() -> int:
        nonlocal at
        value, at = data[at], at + 1
        return value if value < 128 else value & 127 | number() << 7

    while depth:
        field, at = data[at], at + 1
        if field and not field >> 4:
            number()  # of the field, where it is no next one
        if (kind := field & 15) in (0, 12):  # the end, and the beginning, of a table
            depth += 1 if kind else -1
        elif kind in (5, 6):
            found += [number() >> 1] * (depth == 1)
        elif kind == 8:  # bytes
            at = number() + at
        elif kind > 2:
            raise ValueError(f"a field of kind {kind}")
    return at, found[:3]


def _size(column: pa.Array) -> int:
    """Return the bytes of a column whose rows may share values, as they are when each has its own."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    kind = column.type
    if not SHARED.search(str(kind)):
        return 0
    column.validate(full=True)
    if types.is_struct(kind):
        return sum(map(_size, column.flatten()))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or types.is_map(kind):
        return _size(column.flatten())
    if str(kind) in ("string_view", "binary_view"):  # each begins with its length
        return int(np.frombuffer(column.buffers()[1], np.int32)[4 * column.offset :: 4][: len(column)].clip(0).sum())
    values = column.dictionary if types.is_dictionary(kind) else column
    if len(column) * values.nbytes <= LARGEST:
        return 0
    try:
        return pc.sum(pc.binary_length(values).take(column.indices)).as_py() or 0
    except (pa.ArrowNotImplementedError, AttributeError):  # runs, or a dictionary of other things
        return len(column) * values.nbytes


def _check(column: pa.Array) -> pa.Array:
    """Look at every offset of a column; text becomes bytes, since it may not be UTF-8."""
    from pyarrow import large_binary, types

    column.validate()
    if types.is_dictionary(column.type):
        column.validate(full=True)
        column = column.dictionary_decode()
    if str(column.type) in ("string", "large_string", "string_view"):
        column = column.cast(large_binary())
    column.validate(full=True)
    return column


READER = Reader(plan=plan, read=read, options=Options, suffixes=(".parquet", ".arrow"))
