"""A store of Documents on disk: Parquet shards come out of a build; graphs, tokens, `show` and the tasks read them.

    STORE/store.json                the manifest, written last: a folder without it is an unfinished build
    STORE/documents/00000.parquet   a Document a row, in row groups small enough that one document reads quickly
    STORE/documents/00000.json      the shard's counters, written last of the three: with it the shard is finished
    STORE/redirects/00000.parquet   the Redirects met on the way
    STORE/dropped.parquet           rows of documents/ that do not count (a second document of one id)

A *document number* counts the rows over all shards in order, dropped ones left out; it is what arrays index. Parquet,
because DuckDB joins it where it lies and any tool can read it.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from linkbert.corpora.reader import Deletion, Record, Skipped
from linkbert.files import read_json, remove, replacing, write_json
from linkbert.records import Document, Link, Redirect

FORMAT = 1
GROUP_DOCUMENTS = 1_000  # a row group ends after so many documents,
GROUP_CHARACTERS = 1 << 20  # or so many characters of text

_SECTION = pa.struct([("name", pa.string()), ("start", pa.int32())])
_LINK = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("target", pa.string()), ("fragment", pa.string())])
DOCUMENTS = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("text", pa.large_string()),
        ("disambiguation", pa.bool_()),
        ("links", pa.list_(_LINK)),
        ("sections", pa.list_(_SECTION)),
    ]
)
REDIRECTS = pa.schema([("source", pa.string()), ("target", pa.string()), ("fragment", pa.string())])
DROPPED = pa.schema([("shard", pa.int32()), ("row", pa.int32()), ("cause", pa.string())])


def shard_path(store: Path, part: str, shard: int, suffix: str = ".parquet") -> Path:
    """Name a shard's file: (STORE, "documents", 7) -> STORE/documents/00007.parquet."""
    return store / part / f"{shard:05d}{suffix}"


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file of the store; one that is gone or damaged is a ValueError that names it."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (FileNotFoundError, pa.ArrowException) as error:
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
                continue
            if isinstance(record, Deletion):
                deleted.append(record.id)
                continue
            group.append(record)
            characters += len(record.text)
            counts["documents"] += 1
            counts["links"] += len(record.links)
            if len(group) >= GROUP_DOCUMENTS or characters >= GROUP_CHARACTERS:
                writer.write_table(_to_table(group))
                group, characters = [], 0
        if group:
            writer.write_table(_to_table(group))
    counts["redirects"] = len(redirects)
    with replacing(shard_path(store, "redirects", shard)) as part:
        columns = [[getattr(redirect, name) for redirect in redirects] for name in REDIRECTS.names]
        pq.write_table(pa.table(columns, schema=REDIRECTS), part, compression="zstd", use_dictionary=False)
    write_json(
        shard_path(store, "documents", shard, ".json"),
        {
            **counts,
            "deleted": deleted,
            "skipped": dict(sorted(skipped.items())),
            "examples": skipped.examples,
        },
    )


def _to_table(documents: list[Document]) -> pa.Table:
    links = [link for document in documents for link in document.links]
    fields = [[getattr(link, name) for link in links] for name in _LINK.names]
    sections = [section for document in documents for section in document.sections]
    columns = [
        pa.array([getattr(document, name) for document in documents], DOCUMENTS.field(name).type)
        for name in ("id", "title", "text", "disambiguation")
    ]
    columns.append(_to_lists([len(document.links) for document in documents], fields, _LINK))
    fields = [[section[i] for section in sections] for i in range(len(_SECTION.names))]
    columns.append(_to_lists([len(document.sections) for document in documents], fields, _SECTION))
    return pa.table(columns, schema=DOCUMENTS)


def _to_lists(sizes: list[int], columns: Iterable[Sequence[Any]], kind: pa.StructType) -> pa.ListArray:
    values = [pa.array(column, field.type) for column, field in zip(columns, kind, strict=True)]
    offsets = np.cumsum([0, *sizes], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(values, fields=list(kind)))


def _from_table(table: pa.Table | pa.RecordBatch) -> Iterator[Document]:
    table = pa.table(table) if isinstance(table, pa.RecordBatch) else table.combine_chunks()
    for batch in table.to_batches():
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

    Views: `document_rows` (shard, row, and the columns of DOCUMENTS, dropped rows included) and `redirect_rows` (shard,
    row, and those of REDIRECTS).
    """
    folder = folder or store / "query.part"
    remove(folder)
    folder.mkdir(parents=True)
    settings: dict[str, Any] = {
        "memory_limit": memory,
        "temp_directory": str(folder),
        "preserve_insertion_order": False,
    }
    connection = duckdb.connect(":memory:", config=settings)
    try:
        connection.execute("SET enable_progress_bar = false")
        for part in ("documents", "redirects"):
            files = (glob.escape(str(store / part)) + "/*.parquet").replace("'", "''")
            view = rf"""
                CREATE VIEW {part[:-1]}_rows AS
                SELECT CAST(regexp_extract(filename, '(\d+)\.parquet$', 1) AS INTEGER) AS shard,
                       CAST(file_row_number AS INTEGER) AS row, * EXCLUDE (filename, file_row_number)
                FROM read_parquet('{files}', filename = true, file_row_number = true)"""  # noqa: S608
            connection.execute(view)
        yield connection
    except duckdb.OutOfMemoryException as error:
        raise ValueError(
            f"the join over {store} needs more than {memory} of memory or more disk than there is beside it "
            f"({str(error).splitlines()[0]}): give it more"
        ) from None
    except duckdb.IOException as error:
        raise ValueError(f"the join over {store} failed: {str(error).splitlines()[0]}") from None
    finally:
        connection.close()
        remove(folder)


@dataclass(frozen=True)
class Store:
    """A finished store, open for reading; it holds no file open and pickles, so that workers may have it."""

    path: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the store in a folder; anything else is a ValueError that says what is wrong and what to do."""
        path = Path(path)
        if not (path / "store.json").is_file():
            if not path.exists():
                raise ValueError(f"{path} is not there; check the path, or make a store with `linkbert build`")
            if (path / "plan.json").is_file():
                raise ValueError(f"{path} is an unfinished build: run the same `linkbert build` again to finish it")
            raise ValueError(f"{path} is not a store (it has no store.json): make one with `linkbert build`")
        manifest = read_json(path / "store.json")
        version = manifest.get("format") if isinstance(manifest, dict) else None
        if version != FORMAT:
            raise ValueError(
                f"{path} is a store of format {version}, this linkbert reads format {FORMAT}: build it again"
            )
        return cls(path, manifest)

    def __len__(self) -> int:
        return self.manifest["documents"]

    @property
    def shards(self) -> int:
        """How many shards the documents lie in; they are numbered from 0."""
        return self.manifest["shards"]

    @cached_property
    def dropped(self) -> dict[int, np.ndarray]:
        """The rows of each shard that do not count, ascending, int64 (shards without any are absent)."""
        with open_parquet(self.path / "dropped.parquet") as file:
            table = file.read(columns=["shard", "row"])
        shards, rows = (table.column(name).to_numpy().astype(np.int64) for name in ("shard", "row"))
        order = np.lexsort((rows, shards))
        shards, rows = shards[order], rows[order]
        first = np.flatnonzero(np.diff(shards, prepend=-1))
        return dict(zip(shards[first].tolist(), np.split(rows, first[1:]), strict=False))  # split gives one of none

    @cached_property
    def starts(self) -> np.ndarray:
        """The number of the first document of each shard, and of all documents: int64 (shards + 1)."""
        sizes = []
        for shard in range(self.shards):  # not the footers of Parquet, which take eight times as long
            counted = read_json(shard_path(self.path, "documents", shard, ".json"))["documents"]
            sizes.append(counted - len(self.dropped.get(shard, ())))
        return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)

    def documents(self, shard: int | None = None) -> Iterator[Document]:
        """Yield the documents in the order of their numbers, those of all shards or of one."""
        for number in range(self.shards) if shard is None else [shard]:
            dropped = set(self.dropped.get(number, np.zeros(0)).tolist())
            row = 0
            with open_parquet(shard_path(self.path, "documents", number)) as file:
                for group in range(file.num_row_groups):
                    for document in _from_table(file.read_row_group(group, use_threads=False)):
                        if row not in dropped:
                            yield document
                        row += 1

    def document(self, number: int) -> Document:
        """Read one document by its number; one row group is decompressed (a few milliseconds)."""
        if not 0 <= number < len(self):
            raise ValueError(f"{self.path} has no document {number}: numbers run from 0 to {len(self) - 1}")
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
        """Return the number of the document of this id, or None; reads the id column (about a second for millions)."""
        for shard in range(self.shards):
            dropped = self.dropped.get(shard, np.zeros(0, np.int64))
            row = 0
            with open_parquet(shard_path(self.path, "documents", shard)) as file:
                for batch in file.iter_batches(columns=["id"], use_threads=False):
                    found = row + np.flatnonzero(pc.equal(batch.column("id"), id_).to_numpy(zero_copy_only=False))
                    for at in np.setdiff1d(found, dropped):  # one at most: of several rows of an id one counts
                        return int(self.starts[shard] + at - np.searchsorted(dropped, at))
                    row += len(batch)
        return None
