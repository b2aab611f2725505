"""A folder, a tar or a zip comes in, its files go out, shard by shard, compressed or not.

A tar is decompressed and cut by the planner; files of a folder, and of a zip for readers of small files, are opened by
whoever reads their shard. Nothing of an archive is written to disk. Names that lead out of the tree, symbolic links and
devices are refused: they are counted, and the rest is read. Files that a reader does not read are counted by their
suffix. Hidden files and folders (".git") are left out.
"""

from __future__ import annotations

import codecs
import os
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from linkbert.corpora.reader import CUT, OTHER, Shard, Skipped
from linkbert.files import (
    COMPRESSIONS,
    CutFileError,
    DecompressedFile,
    Member,
    has_address,
    open_source,
    source_path,
    source_size,
)

SHARD_BYTES = 4 << 20
LARGEST = 256 << 20  # bytes of one file that is held in memory
OUTSIDE = "name or link that leads out of the tree (refused)"
LINK = "link to another file (left out)"
TOO_LARGE = "file too large (left out)"


class File(NamedTuple):
    """A file of a tree, or a fault: then `cause` is set."""

    name: str
    data: bytes | None = None  # None: to be read from the folder or the zip
    size: int = 0
    position: int = 0  # bytes of the source, up to the end of this file
    cause: str = ""


def is_tree(path: Path) -> bool:
    """Return whether a source is a folder or an archive: "site.tar.xz" and "pages.zip" are."""
    return (not has_address(path) and path.is_dir()) or ".tar" in path.suffixes or path.suffix in (".tgz", ".zip")


def plain_name(name: str) -> str:
    """Take off the suffix of a compression: "a/b.xml.gz" -> "a/b.xml"."""
    return name[: -len(suffix)] if (suffix := PurePosixPath(name).suffix).lower() in COMPRESSIONS else name


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name, with that of a compression: "a.TID" -> ".tid", "Makefile" -> "no suffix"."""
    return (PurePosixPath(plain_name(name)).suffix + name[len(plain_name(name)) :]).lower() or "no suffix"


def plan_files(path: Path, suffixes: tuple[str, ...]) -> Iterator[Shard]:
    """Cut a tree, or a single file, into shards of small files whose names end in one of `suffixes`."""
    found = _Found(path, suffixes)
    files: list[tuple[str, bytes | None]] = []
    start = stop = size = count = 0
    for file in found.walk(load=False) if is_tree(path) else [File(path.name, size=1, position=source_size(path))]:
        files.append((file.name, file.data))
        stop = max(file.position, stop)
        size += file.size
        count += 1
        if size >= SHARD_BYTES:
            yield found.add(Shard(str(path), start, stop, extra=tuple(files)))
            files, size, start = [], 0, stop
    if not count:
        raise found.error()
    if files or found.faults or found.others:
        yield found.add(Shard(str(path), start, stop, extra=tuple(files)))


def plan_dumps(path: Path, suffixes: tuple[str, ...], plan: Callable[[Path], Iterator[Shard]]) -> Iterator[Shard]:
    """Cut every file of a tree by the `plan` of its reader; of several files, a bad one is a fault."""
    found, count = _Found(path, suffixes), 0
    for file in found.walk(load=True):
        source = path / file.name if file.data is None else cast(Path, Member(f"{path}/{file.name}", file.data))
        try:
            for shard in plan(source):
                yield found.add(shard)
                count += 1
        except ValueError as error:
            found.faults.append((getattr(error, "cause", CUT), str(error)))
    if not count:
        raise found.error()
    if found.faults or found.others:
        yield found.add(Shard(""))


class _Found:
    """The files of a tree that a reader reads; what else there is waits for the next shard to be counted with it."""

    def __init__(self, path: Path, suffixes: tuple[str, ...]) -> None:
        self.path, self.suffixes = path, suffixes
        self.faults: list[tuple[str, str]] = []
        self.others: Counter[str] = Counter()

    def wanted(self, name: str) -> bool:
        return plain_name(name).lower().endswith(self.suffixes)

    def walk(self, *, load: bool) -> Iterator[File]:
        for file in list_files(self.path, self.wanted, load=load):
            if file.cause != CUT and not file.name.endswith("/") and not self.wanted(file.name):
                self.others[OTHER + suffix_of(file.name)] += 1
            elif file.cause:
                self.faults.append((file.cause, file.name))
            else:
                yield file

    def add(self, shard: Shard) -> Shard:
        shard = replace(shard, faults=(*self.faults, *shard.faults), others=dict(self.others))
        self.faults.clear()
        self.others.clear()
        return shard

    def error(self) -> ValueError:
        for cause in (CUT, *(cause for cause, _ in self.faults)):
            for fault, where in self.faults:
                if fault == cause:
                    return ValueError(where if cause not in (OUTSIDE, LINK, TOO_LARGE) else f"{where}: {cause}")
        there = ", ".join(f"{kind.removeprefix(OTHER)} {count}" for kind, count in self.others.most_common(10))
        return ValueError(
            f"{self.path} holds nothing to read: no file in it ends in {', '.join(self.suffixes)}"
            + f" (it holds {there})" * bool(there)
        )


def read_files(shard: Shard, skipped: Skipped) -> Iterator[tuple[str, bytes]]:
    """Yield the name (its path in the tree, valid Unicode) and the decompressed bytes of each file of a shard."""
    path = source_path(shard.path)
    with ExitStack() as stack:
        if path.suffix == ".zip":
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(open_source(path))))
        for name, data in shard.extra:
            shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            try:
                if data is None and path.suffix == ".zip":
                    data = archive.read(name)
                source = path if not is_tree(path) else path / name if data is None else Member(shown, data)
                data = DecompressedFile(cast(Path, source)).read(LARGEST + 1)
            except CutFileError as error:
                skipped.note(CUT, str(error))
            except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
                skipped.note(CUT, f"{path}: {shown} ({error})")
            else:
                if len(data) > LARGEST:
                    skipped.note(TOO_LARGE, shown)
                else:
                    yield plain_name(shown), data


def decode_text(data: bytes, name: str, skipped: Skipped) -> str:
    """Decode a file that should be UTF-8, or begins with the mark of UTF-16; one that is neither is counted."""
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        skipped.note("not UTF-8 (read as Latin-1)", name)
        return data.decode("latin-1")


def list_files(path: Path, wanted: Callable[[str], bool], *, load: bool) -> Iterator[File]:
    """Yield all files of a tree; with their data those that are wanted, of a tar always and of a zip with `load`."""
    if not has_address(path) and path.is_dir():
        return walk_folder(path)
    return _list_zip(path, wanted, load) if path.suffix == ".zip" else _list_tar(path, wanted)


def walk_folder(folder: Path) -> Iterator[File]:
    """Yield the files of a folder, and what is refused: first what lies less deep, by name."""
    position, root, places = 0, folder.resolve(), [folder]
    for place in places:  # they become more: the tree is read from the top down, first what lies less deep
        _, folders, names = next(os.walk(place), ("", [], []))
        folders = sorted(name for name in folders if name[0] != ".")
        places += [inner for name in folders if not (inner := place / name).is_symlink()]
        for name in [*folders, *sorted(names)]:
            file = place / name
            inside = file.relative_to(folder).as_posix()
            if name[0] == ".":
                continue
            if file.is_symlink():
                cause = LINK if file.resolve().is_relative_to(root) else OUTSIDE
                yield File(inside + "/" * file.is_dir(), cause=cause)
            elif file.is_file():
                size = file.stat().st_size
                position += size
                yield File(inside, None, size, position)


def _list_zip(path: Path, wanted: Callable[[str], bool], load: bool) -> Iterator[File]:
    try:
        with open_source(path) as file, zipfile.ZipFile(file) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.filename.count("/"))  # as a folder is read
            for member in members:
                name, size = member.filename, member.file_size
                if member.is_dir() or _is_hidden(name):
                    continue
                cause = OUTSIDE if _leads_out(name) else LINK if member.external_attr >> 28 == 0o12 else ""
                data = None
                if wanted(name) and not cause:
                    cause = TOO_LARGE if size > LARGEST else ""
                    data = archive.read(name) if load and not cause else None
                yield File(name, data, size, member.header_offset + member.compress_size, cause)
    except (zipfile.BadZipFile, zlib.error, OSError) as error:
        raise ValueError(f"{path} is not a whole zip file ({error}): fetch it again") from None


def _list_tar(path: Path, wanted: Callable[[str], bool]) -> Iterator[File]:
    stream = DecompressedFile(path)
    try:
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as archive:
            for member in archive:
                cast(Any, archive).members = []  # else it keeps them all
                name = str(PurePosixPath(member.name)).lstrip("/")
                data, cause = None, ""
                if member.isdir() or _is_hidden(name):
                    continue
                if _leads_out(name):
                    cause = OUTSIDE
                elif member.issym() or member.islnk():
                    place = os.path.dirname(name) if member.issym() else ""
                    cause = OUTSIDE if _leads_out(os.path.normpath(os.path.join(place, member.linkname))) else LINK
                elif not member.isfile():
                    continue
                elif wanted(name):
                    cause = TOO_LARGE if member.size > LARGEST else ""
                    data = None if cause else cast(IO[bytes], archive.extractfile(member)).read()
                yield File(name, data, member.size, stream.position, cause)
    except CutFileError as error:
        yield File(str(error), position=stream.position, cause=CUT)
    except tarfile.TarError as error:
        yield File(f"{path} is not a whole tar file ({error})", position=stream.position, cause=CUT)


def _leads_out(name: str) -> bool:
    return name.startswith("/") or ".." in PurePosixPath(name.replace("\\", "/")).parts


def _is_hidden(name: str) -> bool:
    return any(part[0] == "." and part != ".." for part in PurePosixPath(name).parts)
