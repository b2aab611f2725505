"""A store of Documents on disk: Parquet shards come out of a build; graphs, tokens, `show` and the tasks read them.

docs/formats.md lists its files: store.json is written last, and a shard is finished with its counters. A *document
number* counts the rows over all shards in order, dropped ones (a second document of one id) left out; it is what arrays
index. Parquet, because DuckDB joins it where it lies and any tool can read it.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from mmap import PAGESIZE
from operator import attrgetter
from pathlib import Path
from resource import RLIMIT_AS, getrlimit
from typing import Any, Self

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from linkbert.config import Natural, nearest
from linkbert.corpora.reader import Deletion, Record, Skipped
from linkbert.files import as_path, made_of, read_manifest, read_ours, remove, replacing, write_json
from linkbert.records import Document, Link, Redirect

GROUP_DOCUMENTS = 1_000  # a row group ends after so many documents,
GROUP_CHARACTERS = 1 << 20  # or so many characters of text
ROOM = (128 + 8 * (os.cpu_count() or 1)) << 20  # bytes that DuckDB maps when it starts, stacks of threads included

_LINK = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("target", pa.string()), ("fragment", pa.string())])
_SECTION = pa.struct([("name", pa.string()), ("start", pa.int32())])
DOCUMENTS = pa.schema(
    {
        "id": pa.string(),
        "title": pa.string(),
        "text": pa.large_string(),
        "disambiguation": pa.bool_(),
        "links": pa.list_(_LINK),
        "sections": pa.list_(_SECTION),
    }
)
REDIRECTS = pa.schema([("source", pa.string()), ("target", pa.string()), ("fragment", pa.string())])
DROPPED = pa.schema([("shard", pa.int32()), ("row", pa.int32()), ("cause", pa.string())])


def shard_path(store: Path, part: str, shard: int, suffix: str = ".parquet") -> Path:
    """Name a shard's file: (STORE, "documents", 7) -> STORE/documents/00007.parquet."""
    return store / part / f"{shard:05d}{suffix}"


def shard_files(store: Path, part: str, suffix: str = ".parquet") -> list[Path]:
    """List the files of all shards, in order; what else lies there is none of them."""
    return sorted(path for path in (store / part).glob(f"*{suffix}") if re.fullmatch(r"\d{5}|[1-9]\d{5,}", path.stem))


Counters = made_of("Counters", skipped=(dict[str, Natural], ...), empty=(list[str], []),
                   **dict.fromkeys(("documents", "redirects", "links"), (Natural, ...)),
                   **dict.fromkeys(("examples", "deleted"), (list[str], ...)))  # fmt: skip


def read_counters(store: Path, shard: int) -> dict[str, Any]:
    """Read what was counted of a shard."""
    return read_ours(shard_path(store, "documents", shard, ".json"), Counters)


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file of the store; one that is gone or damaged is a ValueError that names it."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno and not isinstance(error, FileNotFoundError):
            raise  # pyarrow's have no number
        reason = "not there" if isinstance(error, FileNotFoundError) else str(error).splitlines()[0]
        raise ValueError(f"{path} is damaged ({reason}): remove the store and build it again") from None


def write_shard(store: Path, shard: int, records: Iterable[Record], skipped: Skipped) -> None:
    """Write one shard's documents and redirects, then its counters; the same records give the same bytes.

    `skipped` is read after the last record, so that a reader may count in it while it yields.
    """
    counts = Counter(documents=0, redirects=0, links=0)
    redirects: list[Redirect] = []
    deleted: list[str] = []
    group: list[Document] = []
    characters = 0
    with (
        replacing(shard_path(store, "documents", shard)) as part,
        pq.ParquetWriter(part, DOCUMENTS, compression="zstd", use_dictionary=False) as writer,
    ):
        for record in records:
            if isinstance(record, Redirect):
                redirects.append(record)
            elif isinstance(record, Deletion):
                deleted.append(record.id)
            else:
                group.append(record)
                characters += len(record.text)
                counts["documents"] += 1
                counts["links"] += len(record.links)
                if len(group) >= GROUP_DOCUMENTS or characters >= GROUP_CHARACTERS:
                    writer.write_table(_to_table(group, DOCUMENTS))
                    group, characters = [], 0
        if group:
            writer.write_table(_to_table(group, DOCUMENTS))
    counts["redirects"] = len(redirects)
    with replacing(shard_path(store, "redirects", shard)) as part:
        pq.write_table(_to_table(redirects, REDIRECTS), part, compression="zstd", use_dictionary=False)
    more = {"deleted": deleted, "skipped": dict(sorted(skipped.items())), "examples": skipped.examples}
    write_json(shard_path(store, "documents", shard, ".json"), {**counts, **more, "empty": skipped.empty})


def _to_table(records: list[Any], schema: pa.Schema) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [getattr(record, name) for record in records] for name in schema.names}
    if "links" in columns:
        columns["links"] = [list(map(attrgetter(*_LINK.names), links)) for links in columns["links"]]
    return pa.table(columns, schema=schema)


def _from_table(table: pa.Table) -> Iterator[Document]:
    for batch in table.combine_chunks().to_batches():
        ids, titles, texts, flags = (batch.column(name).to_pylist() for name in DOCUMENTS.names[:4])
        links = _from_lists(batch.column("links"), _LINK, Link)
        sections = _from_lists(batch.column("sections"), _SECTION, lambda *pair: pair)
        yield from map(Document, ids, titles, texts, links, flags, sections)


def _from_lists(lists: pa.ListArray, kind: pa.StructType, make: Callable[..., Any]) -> Iterator[tuple[Any, ...]]:
    offsets = (lists.offsets.to_numpy() - lists.offsets[0].as_py()).tolist()
    values = lists.flatten()
    items = list(map(make, *(values.field(name).to_pylist() for name in kind.names)))
    return (tuple(items[start:stop]) for start, stop in pairwise(offsets))


@contextmanager
def querying(store: Path, memory: str = "4GB", folder: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB over a store's rows; what `memory` cannot hold goes to a `folder` (of the store), removed after.

    Views: `document_rows` and `redirect_rows`: shard, row, and the columns of DOCUMENTS (also dropped) or REDIRECTS.
    """
    if 0 <= (most := getrlimit(RLIMIT_AS)[0]) < ROOM + int(Path("/proc/self/statm").read_text().split()[0]) * PAGESIZE:
        raise MemoryError(f"{most >> 10:,} kB may be mapped, too few for a join: see ulimit -v")  # DuckDB would crash
    folder = folder or store / "query.part"
    remove(folder)
    folder.mkdir(parents=True)
    limits: dict[str, Any] = {"memory_limit": memory, "temp_directory": str(folder), "preserve_insertion_order": False}
    try:
        with duckdb.connect(":memory:", config=limits) as connection:
            settings = ("enable_progress_bar", "autoinstall_known_extensions", "autoload_known_extensions")
            connection.execute("; ".join(f"SET {name} = false" for name in settings))
            for part in ("documents", "redirects"):
                files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in shard_files(store, part))
                view = rf"""
                    CREATE VIEW {part[:-1]}_rows AS
                    SELECT CAST(regexp_extract(filename, '(\d+)\.parquet$', 1) AS INTEGER) AS shard,
                           CAST(file_row_number AS INTEGER) AS row, * EXCLUDE (filename, file_row_number)
                    FROM read_parquet([{files}], filename = true, file_row_number = true)"""  # noqa: S608
                connection.execute(view)
            yield connection
    except (duckdb.OutOfMemoryException, duckdb.IOException, duckdb.InvalidInputException) as error:
        failed = f"the join over {store} failed ({str(error).splitlines()[0]})"
        remedy = f"give it more memory or disk than {memory}, or see `linkbert check {store}`"
        raise ValueError(f"{failed}: {remedy}") from None
    except RuntimeError as error:
        if "interrupted" in str(error):  # DuckDB's word for Ctrl-C
            raise KeyboardInterrupt from None
        raise
    finally:
        remove(folder)


@dataclass(frozen=True)
class Store:
    """A finished store, open for reading; it holds no file open and pickles, so that workers may have it."""

    path: Path
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.manifest:
            raise TypeError(f"open a store with linkbert.Store.open({str(self.path)!r})")

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the store in a folder; anything else is a ValueError that says what is wrong and what to do."""
        path = as_path(path, "a store")
        manifest = read_manifest(path)
        return cls(path.absolute(), manifest)  # whatever folder is the current one later

    def __len__(self) -> int:
        return self.manifest["documents"]

    def __fspath__(self) -> str:
        return str(self.path)

    shards = property(lambda self: self.manifest["shards"])  # how many the documents lie in, numbered from 0

    @cached_property
    def dropped(self) -> dict[int, np.ndarray]:
        """The rows of each shard that do not count, ascending, int64 (shards without any are absent)."""
        with open_parquet(self.path / "dropped.parquet") as file:
            table = file.read().sort_by([("shard", "ascending"), ("row", "ascending")])
        shards, rows = (table.column(name).to_numpy().astype(np.int64) for name in ("shard", "row"))
        first = np.flatnonzero(np.diff(shards, prepend=-1))
        return dict(zip(shards[first].tolist(), np.split(rows, first[1:]), strict=False))  # split gives one of none

    @cached_property
    def starts(self) -> np.ndarray:
        """The number of the first document of each shard, and of all documents: int64 (shards + 1)."""
        starts = np.zeros(self.shards + 1, np.int64)
        for shard in range(self.shards):  # not the footers of Parquet, which take eight times as long
            counted = read_counters(self.path, shard)["documents"]
            starts[shard + 1] = counted - len(self.dropped.get(shard, ()))
        return starts.cumsum()

    def tables(self, columns: Sequence[str] | None = None, shard: int | None = None) -> Iterator[pa.Table]:
        """Yield the documents, those of all shards or of one, as Arrow tables of DOCUMENTS, a row group each."""
        for column in {*(columns or ())} - {*DOCUMENTS.names}:
            raise ValueError(f"{self.path} has no column {column!r}; {nearest(column, DOCUMENTS.names)}")
        if shard is not None and shard not in range(self.shards):
            raise ValueError(f"{self.path} has no shard {shard}: they run from 0 to {self.shards - 1}")
        for number in range(self.shards) if shard is None else [shard]:
            dropped, row = self.dropped.get(number, np.zeros(0, np.int64)), 0
            with open_parquet(shard_path(self.path, "documents", number)) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, columns, use_threads=False)
                    kept = np.setdiff1d(np.arange(row, row + len(table)), dropped, assume_unique=True) - row
                    row += len(table)
                    yield table if len(kept) == len(table) else table.take(kept)

    def documents(self, shard: int | None = None) -> Iterator[Document]:
        """Yield the documents in the order of their numbers, those of all shards or of one."""
        for table in self.tables(shard=shard):
            yield from _from_table(table)

    def document(self, number: int) -> Document:
        """Read one document by its number; one row group is decompressed (a few milliseconds)."""
        if number not in range(len(self)):
            raise ValueError(f"{self.path} has no document {number!r}: numbers run from 0 to {len(self) - 1}")
        shard = int(np.searchsorted(self.starts, number, side="right")) - 1
        row = number - int(self.starts[shard])
        for dropped in self.dropped.get(shard, ()):
            row += int(dropped) <= row
        with open_parquet(shard_path(self.path, "documents", shard)) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if row < rows:
                    return next(_from_table(file.read_row_group(group, use_threads=False).slice(row, 1)))
                row -= rows
        raise ValueError(f"{self.path} is damaged: shard {shard} is shorter than store.json says; build it again")

    def find(self, id_: str) -> int | None:
        """Return the number of the document of this id, or None; reads the id column (seconds for millions)."""
        first = 0
        for table in self.tables(["id"]):
            at = pc.index(table["id"], str(id_)).as_py()  # of 5, "5"
            if at >= 0:
                return first + at
            first += len(table)
        return None
