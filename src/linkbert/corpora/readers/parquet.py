"""Tables in, Documents out: Parquet files and the Arrow files of Hugging Face `datasets`, one of them or a folder.

A row is a document; `--columns id=url,text=body,title=name,links=refs` says which column is what, else they are called
id, text, title and links, of which the first two must be there. Links are a list: of targets, or of structs with
`target` and perhaps `start`, `end` and `fragment` as in JSON lines; or such a list written as JSON.

A folder may be what `save_to_disk` wrote, with splits or without, what the hub keeps (data/train-0-of-7.parquet)
or any other tree. A shard is a run of row groups or record batches of one file, read by a worker from the file itself:
the columns that are needed, a few rows at a time. No offset is trusted before it is checked: damage costs a row group
or a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from linkbert.config import nearest
from linkbert.corpora.reader import CUT, Reader, Shard, Skipped, option
from linkbert.corpora.readers.jsonl import load_json, make_document
from linkbert.corpora.tree import is_tree, walk_folder
from linkbert.files import has_address, open_source, source_path, source_size
from linkbert.records import Document

SUFFIXES = (".parquet", ".arrow")
LEFT_BEHIND = "cache-"  # what `map` and `filter` of datasets leave beside a dataset: cache-0123456789.arrow
SHARD_BYTES = 16 << 20  # as they are in memory
ROWS = 100  # taken at a time
KEYS = ("id", "text", "title", "links")
NEEDED = KEYS[:2]
NO_COLUMN = "file without the columns (left out)"


@dataclass(frozen=True, slots=True)
class Options:
    """Which columns are what."""

    columns: str = option("", "which columns are id, text, title and links: id=NAME,text=NAME")

    def __post_init__(self) -> None:
        parse_columns(self.columns)


class _Part(NamedTuple):
    """Row groups or record batches [first, stop) of a file, which hold its rows [row, row + rows)."""

    first: int
    stop: int
    row: int
    rows: int


def plan(path: Path, options: Options) -> Iterator[Shard]:
    """Cut a file or a folder of them; ValueError where none can be read, or none has the columns."""
    columns = parse_columns(options.columns)
    if is_tree(path) and not path.is_dir():
        raise ValueError(f"{path} is an archive: unpack it; tables are read where they lie")
    if has_address(path) and path.suffix == ".arrow":
        raise ValueError(f"{path}: of the files with an address only Parquet is read; download it and give the path")
    faults: list[tuple[str, str]] = []
    start, found = 0, False
    for file, size, cause in _list_files(path):
        if cause:
            faults.append((cause, str(file)))
            continue
        try:
            parts, damage = _cut(file, columns)
        except _ColumnError as error:
            faults.append((NO_COLUMN, str(error)))
            continue
        found |= bool(parts)
        begin, rows = start, sum(part.rows for part in parts)
        for part in parts:
            stop = begin + size * (part.row + part.rows) // rows
            yield Shard(str(file), start, stop, faults=tuple(faults), extra=part)
            start, faults = stop, []
        if damage:
            faults.append((CUT, damage))
    if not found:
        raise ValueError(faults[0][1] if faults else f"{path} holds nothing to read: no rows in {', '.join(SUFFIXES)}")
    if faults:
        yield Shard(str(path), start, start, faults=tuple(faults))


def read(shard: Shard, options: Options, skipped: Skipped) -> Iterator[Document]:
    """Read the Documents of a shard; `skipped` counts rows and links that are not as they should be, and damage."""
    if shard.extra is None:
        return
    file, wanted = source_path(shard.path), parse_columns(options.columns)
    for row, batch in _read_batches(file, shard.extra, wanted, skipped):
        try:
            columns = {
                key: _to_list(batch.column(name)) for key, name in _choose(batch.schema.names, wanted, file).items()
            }
        except (pa.ArrowException, ValueError) as error:
            skipped.note(CUT, f"{file.name} rows {row} to {row + batch.num_rows - 1} ({error})")
            continue
        for number, values in enumerate(zip(*columns.values(), strict=True), row):
            where = f"{file.name} row {number}"
            record = {key: _decode(value, skipped, where) for key, value in zip(columns, values, strict=True)}
            record["links"] = _to_links(record.get("links"))
            document = make_document(record, skipped, where)
            if document:
                yield document


class _ColumnError(ValueError):
    """A file lacks a column."""


def parse_columns(text: str) -> dict[str, str]:
    """Read what --columns says.

    >>> parse_columns("id=url, text=body")
    {'id': 'url', 'text': 'body'}
    """
    columns = {}
    for word in text.split(",") if text else ():
        key, _, name = (part.strip() for part in word.partition("="))
        if key not in KEYS:
            raise ValueError(f"--columns: unknown {key!r}; {nearest(key, KEYS)}")
        if not name:
            raise ValueError(f"--columns: {key} is which column? Say {key}=NAME, several with commas between them")
        columns[key] = name
    return columns


def _choose(names: list[str], wanted: dict[str, str], file: Path) -> dict[str, str]:
    """Say which column is what; one that is neither needed nor asked for may be missing."""
    chosen = {key: wanted.get(key, key) for key in KEYS}
    for key, name in list(chosen.items()):
        if names.count(name) != 1:
            if key in NEEDED or key in wanted:
                raise _ColumnError(
                    f"{file} has no column {name!r} to be the {key}: say --columns {key}=NAME with one of its columns, "
                    + ", ".join(names)
                )
            del chosen[key]
    return chosen


def _list_files(path: Path) -> Iterator[tuple[Path, int, str]]:
    """Yield files with their sizes, or with the cause that speaks against them."""
    if not is_tree(path):
        yield path, source_size(path), ""
        return
    for file in walk_folder(path, lambda name: name.lower().endswith(SUFFIXES) and not name.startswith(LEFT_BEHIND)):
        yield path / file.name, file.size, file.cause


def _is_parquet(file: Path) -> bool:
    with open_source(file) as stream:
        return stream.read(4) == b"PAR1"


@contextmanager
def _open_parquet(file: Path) -> Iterator[pq.ParquetFile]:
    with open_source(file) if has_address(file) else pa.OSFile(str(file)) as source:
        yield pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20, arrow_extensions_enabled=False)


def _cut(file: Path, wanted: dict[str, str]) -> tuple[list[_Part], str]:
    """Cut a file into parts of about SHARD_BYTES; say what damage ends it, if any does."""
    parts, damage = [], ""
    first = row = rows = size = unit = 0
    try:
        for unit, (more, bytes_) in enumerate(_measure(file, wanted), 1):
            rows += more
            size += bytes_
            if size >= SHARD_BYTES:
                parts.append(_Part(first, unit, row, rows))
                first, row, rows, size = unit, row + rows, 0, 0
    except (pa.ArrowException, OSError) as error:
        damage = f"{file} is cut off, damaged or no table ({error})"
    if rows:
        parts.append(_Part(first, unit, row, rows))
    return parts, damage


def _measure(file: Path, wanted: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Yield rows and bytes of each row group or record batch."""
    if _is_parquet(file):
        with _open_parquet(file) as table:
            _choose(table.schema_arrow.names, wanted, file)
            groups = [table.metadata.row_group(i) for i in range(table.metadata.num_row_groups)]
        yield from ((group.num_rows, group.total_byte_size) for group in groups)
    else:
        yield from ((batch.num_rows, batch.get_total_buffer_size()) for batch in _open_arrow(file, wanted))


def _open_arrow(file: Path, wanted: dict[str, str]) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of an Arrow file, of the stream format or the file format, with the columns needed."""
    with pa.memory_map(str(file)) as source:
        is_stream = source.read(6) != b"ARROW1"
        source.seek(0)
        open_ = pa.ipc.open_stream if is_stream else pa.ipc.open_file
        names = open_(source).schema.names
        fields = [names.index(name) for name in _choose(names, wanted, file).values()]
        source.seek(0)
        batches = open_(source, options=pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False))
        if is_stream:
            yield from batches
        else:
            yield from map(batches.get_batch, range(batches.num_record_batches))


def _read_batches(
    file: Path, part: _Part, wanted: dict[str, str], skipped: Skipped
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield batches of ROWS rows at most, each with the number of its first row in the file, from 1 on."""
    row = part.row + 1
    if not _is_parquet(file):
        for i, whole in enumerate(islice(_open_arrow(file, wanted), part.stop)):
            for start in range(0, whole.num_rows, ROWS) if i >= part.first else ():
                yield row + start, whole.slice(start, ROWS)
            row += whole.num_rows if i >= part.first else 0
        return
    with _open_parquet(file) as table:
        columns = list(_choose(table.schema_arrow.names, wanted, file).values())
        for group in range(part.first, part.stop):
            at = row
            try:
                for batch in table.iter_batches(ROWS, row_groups=[group], columns=columns, use_threads=False):
                    yield at, batch
                    at += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                skipped.note(CUT, f"{file.name} row {at} and on, in row group {group} ({error})")
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


def _to_links(value: Any) -> Any:
    """Bring links into the form that JSON lines have, as far as they have any.

    >>> _to_links(["a"]), _to_links('[{"target": "b"}]'), _to_links("c")
    ([{'target': 'a'}], [{'target': 'b'}], 'c')
    """
    if isinstance(value, str):
        try:
            value = load_json(value)
        except ValueError:
            return value
    if isinstance(value, list):
        return [link if isinstance(link, dict) else {"target": link} for link in value]
    return value


READER = Reader(plan=plan, read=read, options=Options, suffixes=SUFFIXES)
