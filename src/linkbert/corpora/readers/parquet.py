"""Tables in, Documents out: Parquet files and the Arrow files of Hugging Face `datasets`.

A row is a document, with the columns and options of JSON lines. A shard is a run of row groups or record batches of one
file, read by a worker from the file itself: the columns that are needed, a few rows at a time. No offset is trusted
before it is checked: damage costs a row group or a batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from linkbert.corpora.reader import CUT, EMPTY, FaultError, Reader, Record, Shard, Skipped
from linkbert.corpora.readers.jsonl import Options, choose_columns, column_of, make_record
from linkbert.corpora.readers.streams import LARGEST, TOO_LARGE, decode_utf8
from linkbert.corpora.sources import LARGEST as MOST
from linkbert.corpora.sources import TOO_LARGE as TOO_LARGE_FILE
from linkbert.corpora.sources import decompressed
from linkbert.files import COMPRESSIONS, Member, one_line, open_source, source_size

if TYPE_CHECKING:  # elsewhere where it is needed: every --help lists this reader's options
    import pyarrow as pa

LEFT_BEHIND = "cache-"  # what `map` and `filter` of datasets leave in a dataset: cache-0123456789.arrow
SHARD_BYTES = 16 << 20  # as they are in memory
ROWS = 100  # taken at a time
OWN = re.compile(r"disambiguation: bool|sections: (large_)?list<\w+: struct<name: (large_)?string, start: int\d+>>")


def plan(path: Path, options: Options) -> Iterator[Shard]:
    """Cut a file into shards whose `extra` is (first, stop, row): units [first, stop), from this row of the file on."""
    import pyarrow as pa

    if path.name.startswith(LEFT_BEHIND):
        return
    data = path.data if isinstance(path, Member) else None
    if path.suffix.lower() in COMPRESSIONS:  # there is no way into the middle of it
        data = decompressed(path, most := MOST - len(data or b""))
        if data is None:
            raise FaultError(TOO_LARGE_FILE, f"{path} has more than {most:,} bytes: decompress it, and name that")
    parts, damage = [(0, 0)], ""  # where each part ends: units, rows
    unit = rows = size = 0
    try:
        for unit, (more, bytes_, _) in enumerate(_read_units(Shard(str(path), data=data), options), 1):
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


def _read_rows(batch: pa.RecordBatch, options: Options, skipped: Skipped, file: str, row: int) -> Iterator[Record]:
    """Make Documents of a batch whose first row is this one of the file, from 1 on."""
    import pyarrow as pa

    try:
        chosen = _choose(batch.schema, options, file)
        used = dict.fromkeys(column_of(path, batch.schema.names) for path in chosen.values())
        columns = {name: _check(batch.column(name)) for name in used}
    except (pa.ArrowException, ValueError) as error:
        skipped.note(CUT, f"{file} rows {row} to {row + batch.num_rows - 1} ({one_line(error)})")
        return
    why, where = TOO_LARGE, f"{file} row {row}"
    lists: list[list[object]] | None = None
    if sum(column.nbytes for column in columns.values()) <= LARGEST:
        try:
            lists = [*map(pa.Array.to_pylist, columns.values())]
        except (ValueError, OverflowError) as error:  # a date or a duration that Python has none for
            why, where = CUT, f"{where} ({one_line(error)})"
    if lists is not None:
        for number, values in enumerate(zip(*lists, strict=True), row):
            where = f"{file} row {number}"
            texts = [decode_utf8(value, skipped, where) if isinstance(value, bytes) else value for value in values]
            if made := make_record(dict(zip(columns, texts, strict=True)), skipped, where, chosen):
                yield made
    elif batch.num_rows == 1:
        skipped.note(why, where)
    else:
        for at in range(batch.num_rows):
            yield from _read_rows(batch.slice(at, 1), options, skipped, file, row + at)


def _choose(schema: pa.Schema, options: Options, file: str) -> dict[str, str]:
    own = [field.name for field in schema if OWN.fullmatch(f"{field.name}: {field.type}")]
    return choose_columns(schema.names, options, file, own)


def _read_units(
    shard: Shard, options: Options, first: int = 0
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
                rows = max(min(ROWS, LARGEST * group.num_rows // (group.total_byte_size or 1)), 1)
                read_group = partial(table.iter_batches, rows, row_groups=[number], columns=columns, use_threads=False)
                yield group.num_rows, group.total_byte_size, read_group
            return
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


def _check(column: pa.Array) -> pa.Array:
    """Look at every offset of a column; text becomes bytes, since it may not be UTF-8."""
    from pyarrow import large_binary, types

    column.validate()
    if types.is_dictionary(column.type):
        column.validate(full=True)
        column = column.dictionary_decode()
    if types.is_string(column.type) or types.is_large_string(column.type):
        column = column.cast(large_binary())
    column.validate(full=True)
    return column


READER = Reader(plan=plan, read=read, options=Options, suffixes=(".parquet", ".arrow"))
