"""A folder, a tar or a zip comes in, its files go out, shard by shard: what readers of pages and notes have in common.

A tar is decompressed and cut by the planner; files of a folder or a zip are opened by whoever reads their shard.
Nothing of an archive is written to disk. Names that lead out of the tree, symbolic links and devices are refused: they
are counted, and the rest is read. Hidden files and folders (".git") are passed over.
"""

from __future__ import annotations

import codecs
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from linkbert.corpora.reader import CUT, Shard, Skipped
from linkbert.files import (
    COMPRESSIONS,
    CutFileError,
    DecompressedFile,
    has_address,
    open_source,
    source_path,
    source_size,
)

SHARD_BYTES = 4 << 20
LARGEST = 256 << 20  # bytes of one file
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
    """Say whether a source is a folder or an archive: "site.tar.xz" and "pages.zip" are."""
    return (not has_address(path) and path.is_dir()) or ".tar" in path.suffixes or path.suffix in (".tgz", ".zip")


def plan_tree(path: Path, suffixes: tuple[str, ...]) -> Iterator[Shard]:
    """Cut a folder or a zip (from the top down), a tar (in its order) or a single file into shards of files.

    Only files are taken whose name ends in one of `suffixes`. ValueError where there is none.
    """

    def shard() -> Shard:
        return Shard(str(path), start, stop, extra=tuple(files), faults=tuple(faults))

    files: list[tuple[str, bytes | None]] = []
    faults: list[tuple[str, str]] = []
    start = stop = size = count = 0
    for file in _list_files(path, lambda name: name.lower().endswith(suffixes)):
        stop = max(file.position, stop)
        if file.cause or file.size > LARGEST:
            faults.append((file.cause or TOO_LARGE, file.name))
            continue
        files.append((file.name, file.data))
        size += file.size
        count += 1
        if size >= SHARD_BYTES:
            yield shard()
            files, faults, size, start = [], [], 0, stop
    if not count:
        cut = next((where for cause, where in faults if cause == CUT), "")
        raise ValueError(cut or f"{path} holds nothing to read: no file in it ends in {', '.join(suffixes)}")
    if files or faults:
        yield shard()


def read_tree(shard: Shard, skipped: Skipped) -> Iterator[tuple[str, bytes]]:
    """Yield the name (its path in the tree, valid Unicode) and the bytes of each file of a shard."""
    path = source_path(shard.path)
    with ExitStack() as stack:
        if path.suffix == ".zip":
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(open_source(path))))
        for name, data in shard.extra:
            shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            try:
                if data is None:
                    data = archive.read(name) if path.suffix == ".zip" else (path / name).read_bytes()
            except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
                skipped.note(CUT, f"{path}: {shown} ({error})")
                continue
            yield shown, data


def decode_text(data: bytes, name: str, skipped: Skipped) -> str:
    """Decode a file that should be UTF-8, or begins with the mark of UTF-16; one that is neither is counted."""
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        skipped.note("not UTF-8 (read as Latin-1)", name)
        return data.decode("latin-1")


def list_names(path: Path, most: int) -> list[str]:
    """List the names of the first files of a tree, `most` at most; ValueError where damage leaves none."""
    names: list[str] = []
    for file in _list_files(path, lambda _: True):
        if not file.cause:
            names.append(file.name)
        elif file.cause == CUT and not names:
            raise ValueError(file.name)
        if len(names) >= most:
            break
    return names


def _list_files(path: Path, wanted: Callable[[str], bool]) -> Iterator[File]:
    if not has_address(path) and path.is_dir():
        return walk_folder(path, wanted)
    if path.suffix == ".zip":
        return _list_zip(path, wanted)
    return _list_tar(path, wanted) if is_tree(path) else _one_file(path)


def _one_file(path: Path) -> Iterator[File]:
    name = path.name.removesuffix(path.suffix) if path.suffix in COMPRESSIONS else path.name
    size = source_size(path)
    try:
        data = DecompressedFile(path).read(LARGEST + 1)
    except CutFileError as error:
        yield File(str(error), position=size, cause=CUT)
    else:
        yield File(name, data, len(data), size)


def walk_folder(folder: Path, wanted: Callable[[str], bool]) -> Iterator[File]:
    """Yield the files of a folder whose names are wanted, and what is refused: first what lies less deep, by name."""
    position, root, places = 0, folder.resolve(), [folder]
    for place in places:  # they become more: the tree is read from the top down, first what lies less deep
        _, folders, names = next(os.walk(place), ("", [], []))
        folders = sorted(name for name in folders if name[0] != ".")
        places += [inner for name in folders if not (inner := place / name).is_symlink()]
        for name in [*folders, *sorted(names)]:
            file = place / name
            inside = file.relative_to(folder).as_posix()
            if file.is_symlink():
                if file.is_dir() or wanted(name):
                    yield File(inside, cause=LINK if file.resolve().is_relative_to(root) else OUTSIDE)
            elif name[0] != "." and wanted(name) and file.is_file():
                size = file.stat().st_size
                position += size
                yield File(inside, None, size, position)


def _list_zip(path: Path, wanted: Callable[[str], bool]) -> Iterator[File]:
    try:
        with open_source(path) as file, zipfile.ZipFile(file) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.filename.count("/"))  # as a folder is read
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path} is not a whole zip file ({error}): fetch it again") from None
    for member in members:
        if member.is_dir() or _is_hidden(member.filename) or not wanted(member.filename):
            continue
        position = member.header_offset + member.compress_size
        cause = OUTSIDE if _leads_out(member.filename) else LINK if member.external_attr >> 28 == 0o12 else ""
        yield File(member.filename, None, member.file_size, position, cause)


def _list_tar(path: Path, wanted: Callable[[str], bool]) -> Iterator[File]:
    stream = DecompressedFile(path)
    try:
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as archive:
            for member in archive:
                cast(Any, archive).members = []  # else it keeps them all
                name = str(PurePosixPath(member.name)).lstrip("/")
                if _is_hidden(name) or not wanted(name):
                    continue
                if _leads_out(name):
                    yield File(name, position=stream.position, cause=OUTSIDE)
                elif member.issym() or member.islnk():
                    place = os.path.dirname(name) if member.issym() else ""
                    there = os.path.normpath(os.path.join(place, member.linkname))
                    yield File(name, position=stream.position, cause=OUTSIDE if _leads_out(there) else LINK)
                elif member.isfile() and member.size > LARGEST:
                    yield File(name, position=stream.position, cause=TOO_LARGE)
                elif file := archive.extractfile(member) if member.isfile() else None:
                    data = file.read()
                    yield File(name, data, len(data), stream.position)
    except CutFileError as error:
        yield File(str(error), position=stream.position, cause=CUT)
    except tarfile.TarError as error:
        yield File(f"{path} is not a whole tar file ({error})", position=stream.position, cause=CUT)


def _leads_out(name: str) -> bool:
    return name.startswith("/") or ".." in PurePosixPath(name.replace("\\", "/")).parts


def _is_hidden(name: str) -> bool:
    return any(part[0] == "." and part != ".." for part in PurePosixPath(name).parts)
