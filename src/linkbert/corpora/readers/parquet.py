"""Tables in, Documents out: Parquet files and the Arrow files of Hugging Face `datasets`.

A row is a document, with the columns and options of JSON lines. A folder may be what `save_to_disk` wrote, what the hub
keeps (data/train-0-of-7.parquet) or any other tree. A shard is a run of row groups or record batches of one file, read
by a worker from the file itself: the columns that are needed, a few rows at a time. No offset is trusted before it is
checked: damage costs a row group or a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from linkbert.corpora.reader import CUT, EMPTY, FaultError, Reader, Shard, Skipped
from linkbert.corpora.readers.jsonl import KEYS, Options, make_document, parse_columns
from linkbert.files import COMPRESSIONS, DecompressedFile, Member, open_source, source_size
from linkbert.records import Document

LEFT_BEHIND = "cache-"  # what `map` and `filter` of datasets leave in a dataset: cache-0123456789.arrow
SHARD_BYTES = 16 << 20  # as they are in memory
ROWS = 100  # taken at a time
NO_COLUMN = "file without the columns (left out)"


def plan(path: Path, options: Options) -> Iterator[Shard]:
    """Cut a file into shards whose `extra` is (first, stop, row): units [first, stop), from this row of the file on."""
    if path.name.startswith(LEFT_BEHIND):
        return
    data = path.data if isinstance(path, Member) else None
    if path.suffix in COMPRESSIONS:  # there is no way into the middle of it
        data = DecompressedFile(path).read()
    parts, damage = [(0, 0)], ""  # where each part ends: units, rows
    unit = rows = size = 0
    try:
        for unit, (more, bytes_) in enumerate(_measure(Shard(str(path), data=data), options), 1):
            rows, size = rows + more, size + bytes_
            if size >= SHARD_BYTES and data is None:
                parts.append((unit, rows))
                size = 0
    except (pa.ArrowException, OSError) as error:
        damage = f"{path} is cut off, damaged or no table ({error})"
    if rows > parts[-1][1]:
        parts.append((unit, rows))
    if not rows:
        raise FaultError(CUT if damage else EMPTY, damage or f"{path} is empty: there is no row in it")
    start, bytes_ = 0, source_size(path)
    for (first, row), (stop, end) in pairwise(parts):
        faults = ((CUT, damage),) if damage and end == rows else ()
        yield Shard(str(path), start, start := bytes_ * end // rows, data, faults=faults, extra=(first, stop, row))


def read(shard: Shard, options: Options, skipped: Skipped) -> Iterator[Document]:
    """Read the Documents of a shard; `skipped` counts rows and links that are not as they should be, and damage."""
    file = Path(shard.path).name
    for row, batch in _read_batches(shard, options, skipped):
        try:
            chosen = _choose(batch.schema.names, options, file)
            columns = {key: _to_list(batch.column(name)) for key, name in chosen.items()}
        except (pa.ArrowException, ValueError) as error:
            skipped.note(CUT, f"{file} rows {row} to {row + batch.num_rows - 1} ({error})")
            continue
        for number, values in enumerate(zip(*columns.values(), strict=True), row):
            where = f"{file} row {number}"
            record = {key: _decode(value, skipped, where) for key, value in zip(columns, values, strict=True)}
            if document := make_document(record, skipped, where):
                yield document


def _choose(names: list[str], options: Options, file: str) -> dict[str, str]:
    """Return {key: column} of a file; one that is neither needed nor asked for may be missing."""
    wanted = parse_columns(options.columns)
    chosen = {key: wanted.get(key, key) for key in KEYS}
    for key, name in list(chosen.items()):
        if names.count(name) != 1:
            if key in ("id", "text") or key in wanted:
                raise FaultError(
                    NO_COLUMN,
                    f"{file} has no column {name!r} to be the {key}: say --columns {key}=NAME with one of its columns, "
                    + ", ".join(names),
                )
            del chosen[key]
    return chosen


def _open(shard: Shard) -> pa.NativeFile:
    if shard.data is not None:
        return pa.BufferReader(shard.data)
    path = shard.source
    return pa.OSFile(str(path)) if isinstance(path, Path) else pa.PythonFile(open_source(path), mode="r")


def _open_parquet(source: pa.NativeFile) -> pq.ParquetFile | None:
    is_parquet = source.read(4) == b"PAR1"
    source.seek(0)
    if not is_parquet:
        return None
    return pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20, arrow_extensions_enabled=False)


def _measure(shard: Shard, options: Options) -> Iterator[tuple[int, int]]:
    """Yield rows and bytes of each row group or record batch."""
    with _open(shard) as source:
        if table := _open_parquet(source):
            _choose(table.schema_arrow.names, options, shard.path)
            groups = [table.metadata.row_group(i) for i in range(table.metadata.num_row_groups)]
            yield from ((group.num_rows, group.total_byte_size) for group in groups)
        else:
            batches = _open_arrow(source, options, shard)
            yield from ((batch.num_rows, batch.get_total_buffer_size()) for batch in batches)


def _open_arrow(source: pa.NativeFile, options: Options, shard: Shard) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of an Arrow file, of the stream format or the file format, with the columns needed."""
    is_stream = source.read(6) != b"ARROW1"
    source.seek(0)
    open_ = pa.ipc.open_stream if is_stream else pa.ipc.open_file
    names = open_(source).schema.names
    fields = [names.index(name) for name in _choose(names, options, shard.path).values()]
    source.seek(0)
    batches = open_(source, options=pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False))
    yield from batches if is_stream else map(batches.get_batch, range(batches.num_record_batches))


def _read_batches(shard: Shard, options: Options, skipped: Skipped) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield batches of ROWS rows at most, each with the number of its first row in the file, from 1 on."""
    first, stop, row = shard.extra
    row += 1
    with _open(shard) as source:
        table = _open_parquet(source)
        if table is None:
            for whole in islice(_open_arrow(source, options, shard), first, stop):
                yield from ((row + start, whole.slice(start, ROWS)) for start in range(0, whole.num_rows, ROWS))
                row += whole.num_rows
            return
        columns = list(_choose(table.schema_arrow.names, options, shard.path).values())
        for group in range(first, stop):
            at = row
            try:
                for batch in table.iter_batches(ROWS, row_groups=[group], columns=columns, use_threads=False):
                    yield at, batch
                    at += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                skipped.note(CUT, f"{Path(shard.path).name} row {at} and on, in row group {group} ({error})")
            row += table.metadata.row_group(group).num_rows


def _to_list(column: pa.Array) -> list[Any]:
    """Make Python values of a column, after a look at every offset; text stays bytes, since it may not be UTF-8."""
    column.validate()
    if pa.types.is_dictionary(column.type):
        column.validate(full=True)
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary())
    column.validate(full=True)
    return column.to_pylist()


def _decode(value: Any, skipped: Skipped, where: str) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        skipped.note("invalid UTF-8 (replaced)", where)
        return value.decode(errors="replace")


READER = Reader(plan=plan, read=read, options=Options, suffixes=(".parquet", ".arrow"))
