"""A source comes in: which reader it is for, its shards, and the Records of each shard go out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linkbert import registry
from linkbert.corpora.reader import Reader, Record, Shard, Skipped, load_reader
from linkbert.corpora.tree import is_tree, list_names, plan_tree, read_tree
from linkbert.files import COMPRESSIONS, CutFileError, decompressed_blocks, source_path, source_size

log = logging.getLogger(__name__)
LOOKED_AT = 1_000  # files of a tree that decide what it holds


def plan_source(reader: str, path: Path, options: Any) -> Iterator[Shard]:
    """Cut a source into shards; ValueError where it is not what its reader reads."""
    row = load_reader(reader)
    if row.read_file:
        return plan_tree(path, row.suffixes + row.inside)
    if row.plan:
        return row.plan(path, options)
    return iter([Shard(str(path), 0, 0 if path.is_dir() else source_size(path))])


def read_shard(reader: str, shard: Shard, options: Any, skipped: Skipped) -> Iterator[Record]:
    """Read the Records of a shard; what is skipped or mended, and the shard's faults, are counted in `skipped`."""
    row = load_reader(reader)
    skipped.note_all(shard.faults)
    if row.read_file:
        for name, data in read_tree(shard, skipped):
            yield from row.read_file(name, data, options, skipped)
    elif row.read and row.plan:
        yield from row.read(shard, options, skipped)
    elif row.read:
        yield from row.read(source_path(shard.path), options)


def read_source(reader: str, path: Path, options: Any = None, skipped: Skipped | None = None) -> Iterator[Record]:
    """Read a whole source here, shard by shard."""
    options = load_reader(reader).options() if options is None else options
    skipped = Skipped() if skipped is None else skipped
    for shard in plan_source(reader, path, options):
        yield from read_shard(reader, shard, options, skipped)


def find_reader(path: Path) -> str:
    """Say which reader a source is for: by its name, else by its first bytes; a tree by the names of its files.

    >>> find_reader(Path("notes.jsonl.xz"))
    'jsonl'
    """
    readers = {name: load_reader(name) for name in registry.references("readers")}
    if is_tree(path):
        files = {name: row for name, row in readers.items() if row.read_file or name == "parquet"}
        found = Counter(_by_suffix(name, files, inside=True) for name in list_names(path, LOOKED_AT))
        del found[""]
        if found:
            (reader, _), *others = found.most_common()
            if others:
                kinds = ", ".join(f"{count} for {other}" for other, count in others)
                log.warning(
                    "%s is read as %s; of its first files are also %s: name it again with --format for those",
                    path,
                    reader,
                    kinds,
                )
            return reader
        known = ", ".join(suffix for row in files.values() for suffix in row.suffixes + row.inside)
        raise ValueError(f"{path} holds nothing that is known here: no file in it ends in one of {known}")
    name = path.name.lower()
    if found_by_name := _by_suffix(
        name.removesuffix(path.suffix.lower()) if path.suffix in COMPRESSIONS else name, readers
    ):
        return found_by_name
    try:
        head = next(decompressed_blocks(path), (b"", 0))[0].removeprefix(b"\xef\xbb\xbf").lstrip()[:4096]
    except CutFileError as error:
        raise ValueError(f"{error}: nothing can be read of it, fetch it again") from None
    if not head:
        raise ValueError(f"{path} is empty: there is no document in it")
    for reader, row in readers.items():
        if any(head.startswith(mark) if len(mark) == 1 else mark in head for mark in row.marks):
            return reader
    raise ValueError(f"{path} is in no format that is known here: name one with --format ({', '.join(readers)})")


def _by_suffix(name: str, readers: dict[str, Reader], *, inside: bool = False) -> str:
    """Name the reader of files with such a name, "" for none; inside of trees there are other names."""
    rows = ((key, row.suffixes + row.inside * inside) for key, row in readers.items())
    return next((key for key, suffixes in rows if suffixes and name.lower().endswith(suffixes)), "")
