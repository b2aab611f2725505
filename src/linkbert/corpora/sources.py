"""A source comes in: which reader it is for, its shards, and the Records of each shard go out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

from linkbert import registry
from linkbert.corpora.reader import CUT, Reader, Record, Shard, Skipped, load_reader
from linkbert.corpora.tree import File, is_tree, list_files, plain_name, plan_dumps, plan_files, read_files, suffix_of
from linkbert.files import CutFileError, Member, decompressed_blocks, source_path, source_size

log = logging.getLogger(__name__)
LOOKED_AT, SNIFFED = 1_000, 3  # files of a tree that decide what it holds; of one suffix, whose heads are looked at


def plan_source(reader: str, path: Path, options: Any) -> Iterator[Shard]:
    """Cut a source into shards; ValueError where it is not what its reader reads."""
    row = load_reader(reader)
    if row.read_file:
        return plan_files(path, row.suffixes + row.inside)
    if row.plan is None:
        return iter([Shard(str(path), 0, 0 if path.is_dir() else source_size(path))])
    plan = row.plan
    if is_tree(path):
        return plan_dumps(path, row.suffixes + row.inside, lambda file: plan(file, options))
    return plan(path, options)


def read_shard(reader: str, shard: Shard, options: Any, skipped: Skipped) -> Iterator[Record]:
    """Read the Records of a shard; what is skipped or mended, and the shard's faults, are counted in `skipped`."""
    skipped.add(shard)
    row = load_reader(reader) if shard.path and reader else Reader(read=lambda *_: iter(()))
    if row.read_file:
        for name, data in read_files(shard, skipped):
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
    """Return the name of the reader that a source is for: by its name, else by its first bytes.

    A tree is for the reader of most of its files, or of files that hold most of the bytes and are not read one by one.

    >>> find_reader(Path("notes.jsonl.xz"))
    'jsonl'
    """
    readers = {name: load_reader(name) for name in registry.references("readers")}
    if is_tree(path):
        return _find_in_tree(path, readers)
    if found := _by_suffix(path.name, readers):
        return found
    try:
        head = _head(path)
    except CutFileError as error:
        raise ValueError(f"{error}: nothing can be read of it, fetch it again") from None
    if not head:
        raise ValueError(f"{path} is empty: there is no document in it")
    if found := _by_mark(head, readers):
        return found
    raise ValueError(f"{path} is in no format that is known here: name one with --format ({', '.join(readers)})")


def _find_in_tree(path: Path, readers: dict[str, Reader]) -> str:
    files: dict[str, list[File]] = {}  # the first ones, by suffix
    unsure = tuple(suffix for row in readers.values() for suffix in row.inside)
    for file in islice(list_files(path, lambda name: plain_name(name).lower().endswith(unsure), load=True), LOOKED_AT):
        if file.cause == CUT and not files:
            raise ValueError(file.name)
        if not file.cause:
            files.setdefault(suffix_of(file.name), []).append(file)
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for group in files.values():
        if reader := _by_suffix(group[0].name, readers) or _sniff(path, group[:SNIFFED], readers):
            count[reader] += len(group)
            size[reader] += sum(file.size for file in group) if readers[reader].plan else 0
    if not count:
        known = ", ".join(dict.fromkeys(suffix for row in readers.values() for suffix in row.suffixes + row.inside))
        there = ", ".join(f"{suffix} {len(group)}" for suffix, group in list(files.items())[:10]) or "no file"
        raise ValueError(f"{path} holds nothing that is known here ({known}): it holds {there}")
    most = sum(file.size for group in files.values() for file in group) / 2
    found = next((reader for reader, bytes_ in size.most_common(1) if bytes_ > most), count.most_common(1)[0][0])
    if others := [f"{number} for {other}" for other, number in count.most_common() if other != found]:
        log.warning(
            "%s is read as %s; of its first files are also %s: name it again with --format for those",
            path,
            found,
            ", ".join(others),
        )
    return found


def _sniff(path: Path, group: list[File], readers: dict[str, Reader]) -> str:
    """Name the reader that the heads of some files are for, "" for none."""
    plain = plain_name(group[0].name).lower()
    readers = {name: row for name, row in readers.items() if row.inside and plain.endswith(row.inside)}
    for file in group if readers else ():
        try:
            source = path / file.name if file.data is None else cast(Path, Member(file.name, file.data))
            if found := _by_mark(_head(source), readers):
                return found
        except (CutFileError, OSError):
            continue
    return ""


def _head(path: Path) -> bytes:
    return next(decompressed_blocks(path), (b"", 0))[0].removeprefix(b"\xef\xbb\xbf").lstrip()[:4096]


def _by_mark(head: bytes, readers: dict[str, Reader]) -> str:
    marks = ((reader, mark) for reader, row in readers.items() for mark in row.marks)
    return next((name for name, mark in marks if (head.startswith(mark) if len(mark) == 1 else mark in head)), "")


def _by_suffix(name: str, readers: dict[str, Reader]) -> str:
    plain = plain_name(name).lower()
    return next((key for key, row in readers.items() if row.suffixes and plain.endswith(row.suffixes)), "")
