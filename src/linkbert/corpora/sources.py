"""A source comes in (a file, a folder, a tar or a zip); its reader, its shards and the Records of a shard go out.

The planner decompresses archives in memory and cuts them; files of a folder are opened by whoever reads their shard.
Links and names that lead out of the tree are refused and counted, files that a reader does not read are counted by
suffix, hidden files and folders (".git") are left out; so are folders of installed packages, which are counted.
"""

import codecs
import io
import logging
import math
import os
import re
import signal
import struct
import tarfile
import threading
import time
import zipfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from errno import EINVAL
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path, PurePosixPath
from posixpath import dirname, join, normpath
from typing import IO, Any, NamedTuple, cast

from linkbert import registry
from linkbert.corpora.reader import CUT, EMPTY, OTHER, Deletion, FaultError, Reader, Record, Shard, Skipped, load_reader
from linkbert.files import (
    COMPRESSIONS,
    PIECE,
    Chosen,
    CutFileError,
    Member,
    decompressed_blocks,
    has_address,
    one_line,
    open_source,
    source_path,
    source_size,
)
from linkbert.records import Document, Redirect

log = logging.getLogger(__name__)
LOOKED_AT, SOME = 1_000, 5  # files of a tree that decide what it holds; so many are no stray ones
SHARD_BYTES, HELD = 4 << 20, 16  # of a shard; shards of an archive in memory for a survey of some of its files
ZIPS, TREES = (".zip", ".epub"), {".tgz", ".jex", ".zip", ".epub"}
ARCHIVES = re.compile(rb"PK\x03\x04|.{257}ustar", re.DOTALL)
ARCHIVE = "archive, no text (left out; its name is to end in .zip or .tar)"
LARGEST = 256 << 20  # bytes of one file of an archive that is held in memory
LONGEST_SETTINGS = 1 << 20  # bytes of what a site says about itself
LONGEST_NAME, MOST, CHAIN = 4096, 1_000_000, 8  # bytes of a path; other names by links, and links to links, in a tree
LONGEST_ID = 1 << 16  # characters of an id, an alias or a target, which are looked up together
OUTSIDE = "name or link that leads out of the tree (refused)"
LINK = "link to another file (left out)"
INSTALLED = "folder of installed packages (left out)"
_INSTALLED = re.compile(r"(?:^|/)(?:node_modules|bower_components|vendor/bundle)(?=/|$)")
_HIDDEN = re.compile(r"(?:^|/)\.(?!\.?(?:/|$))")
TOO_LARGE, TOO_LONG = "file too large (left out)", "name too long (left out)"
PATIENCE, TOO_SLOW = 120, "file takes too long (left out)"  # seconds of the processor for a file of a tree
SELDOM = re.compile(  # suffixes of what is seldom a document: 400 such files weigh as much as one that may be
    r"\.(?:c|cpp|cs|css|eot|gif|go|h|ico|ini|java|jpe?g|js|json|jsx|kt|lock|map|meta|mp[34]|php|png|po|py|r|rb|rs|scss|"
    r"sh|sql|svg|swift|toml|ttf|tsx?|vue|webm|webp|woff2?|ya?ml)\b|no suffix"
)
UNTOLD = re.compile(
    r"(?:^|/)[^./?]+(?:\?[^/]*)?$|\.(?:aspx?|cfm|cgi|do|jsp|php\d?)(?:\?[^/]*)?$", re.I
)  # perhaps a page
SAMPLE = 40  # files of a folder that are opened to tell whether they are its documents
_TEMPLATE = re.compile(  # of Jinja, Liquid, Jekyll, Go, Handlebars
    rb"\{%-?\s*(?:extends|block|include|import|load|layout|render|if|for|macro|set)\b|\A---\s"
    rb"|\{\{-?\s*(?:(?:define|block|template|partial|range|with|if|end)\b|[.$#>/]|content\b|(?:page|site)\.)"
)
LONGEST_HEADER = 1 << 20  # bytes in which a file of a tar is described
NOT_UTF8, LATEST = 0x8000, 63  # a flag of ours, of a name in a zip; the last version that zipfile lists (6.3)
MANY = 10_000  # files, or faults, of a shard


class File(NamedTuple):
    """A file of a tree, or a fault: then `cause` is set."""

    name: str
    data: bytes | None = None  # None: to be read from the folder
    size: int = 0
    position: int = 0  # bytes of the source, up to the end of this file
    cause: str = ""
    leads_to: str = ""  # of a link: the path in the tree of what it is a name of

    def source(self, tree: Path) -> Path:
        """Make the path by which it is opened."""
        return tree / self.name if self.data is None else cast(Path, Member(f"{tree}/{self.name}", self.data))


def choose(files: list[Path], settings: tuple[str, ...]) -> Path:
    """Make one tree of files, such as a glob names: the folder that holds them all, and what its site says of itself.

    >>> str(choose([Path("docs/a/x.md"), Path("docs/b.md")], ()))
    'docs'
    """
    plain = not any(file.is_absolute() or ".." in file.parts for file in files)
    paths = [*map(str, files)] if plain else [os.path.abspath(file) for file in files]
    folder = Path(os.path.commonpath([os.path.dirname(path) for path in paths]) or ".")
    names = {Path(path).relative_to(folder).as_posix() for path in paths}
    around = {(folder / name).parent for name in names} | {
        folder,
        *(each for each in folder.glob("*") if each.is_dir()),
    }
    names |= {(each / name).relative_to(folder).as_posix() for name in settings for each in around}
    return cast(Path, Chosen(folder, frozenset(names)))


def is_tree(path: Path) -> bool:
    """Return whether a source is a folder or an archive: "site.tar.xz", "pages.zip" and a book, "a.epub", are."""
    kinds = [suffix.lower() for suffix in path.suffixes]
    return (not has_address(path) and path.is_dir()) or ".tar" in kinds or not TREES.isdisjoint(kinds[-1:])


def plain_name(name: str) -> str:
    """Take off the suffix of a compression: "a/b.xml.gz" -> "a/b.xml"."""
    return name[: -len(suffix)] if (suffix := PurePosixPath(name).suffix).lower() in COMPRESSIONS else name


def shown_name(name: str) -> str:
    """Write a name that may not be UTF-8 as text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name, with that of a compression: "a.TID" -> ".tid", "Makefile" -> "no suffix"."""
    return (PurePosixPath(plain_name(name)).suffix + name[len(plain_name(name)) :]).lower() or "no suffix"


def plan_source(reader: str, path: Path, options: Any) -> Iterator[Shard]:
    """Cut a source into shards; ValueError where it is not what its reader reads."""
    row = load_reader(reader)
    if row.read and not row.plan:
        return iter([Shard(str(path), 0, 0 if path.is_dir() else source_size(path))])
    if is_tree(path) and not row.suffixes + row.inside:
        raise ValueError(f'the reader {reader} names no suffixes; give Reader(suffixes=(".org",))')
    unread: dict[str, bytes] = {}
    shards = row.plan(path, options) if row.plan and not is_tree(path) else _plan_tree(path, row, options, unread)
    if row.survey:
        held = list(islice(shards, HELD if row.sample and not path.is_dir() else None))
        if is_tree(path) and path.is_dir():  # hidden folders hold no pages, but say whose tree it is
            hidden = (each.relative_to(path).as_posix() for depth in (".*/*", "*/.*/*") for each in path.glob(depth))
            unread.update(dict.fromkeys(hidden, b""))
        known = row.survey(_sample(held, row), options, unread)
        return (replace(shard, known=known) for shard in chain(held, shards))
    return shards


def _sample(shards: list[Shard], row: Reader) -> Iterator[tuple[str, bytes | None]]:
    """Yield the files of shards, names and data; with row.sample the data of about so many, evenly drawn, else None."""
    every = max(sum(len(shard.extra or ()) for shard in shards) // row.sample, 1) if row.sample else 1
    first = 0
    for shard in shards:
        drawn = tuple(file for number, file in enumerate(shard.extra, first) if not number % every)
        yield from _read_files(replace(shard, extra=drawn), row.largest, Skipped())
        yield from ((plain_name(name), None) for number, (name, _) in enumerate(shard.extra, first) if number % every)
        first += len(shard.extra)


def _plan_tree(path: Path, row: Reader, options: Any, unread: dict[str, bytes]) -> Iterator[Shard]:
    """Cut every file of a tree by the reader's plan, a bad one is a fault; or put small files together, or one.

    Other files are put into `unread`, if the reader has a survey: their names, and the data of its settings.
    """
    suffixes, tree = row.suffixes + row.inside, is_tree(path)
    faults: list[tuple[str, str]] = []
    others: Counter[str] = Counter()
    files: list[tuple[str, bytes | None]] = []
    names: list[str] = []
    links: list[tuple[str, str]] = []
    start = stop = size = count = 0

    def wanted(name: str) -> bool:
        return not tree or plain_name(name).lower().endswith(suffixes) or (isinstance(path, Chosen) and not tells(name))

    def tells(name: str) -> bool:
        return PurePosixPath(name).name in row.settings

    def add_faults(shard: Shard) -> Shard:
        shard = replace(shard, faults=(*faults, *shard.faults), others=dict(others))
        faults.clear()
        others.clear()
        return shard

    largest = _largest(row, options) if row.read_file else LARGEST
    alone = File(path.name, size=1, position=0 if tree else source_size(path))
    asked = lambda name: tells(name) or may_be_read(path, name, row)  # noqa: E731
    for file in list_files(path, asked, largest) if tree else [alone]:
        is_page = wanted(file.name) or (_may_be_page(file.name, row) and _is_page(file, path, row))
        if file.cause == LINK and file.leads_to and row.called:
            links.append((file.name.rstrip("/"), file.leads_to))
        elif file.cause != CUT and not file.name.endswith("/") and not is_page:
            others[OTHER + suffix_of(file.name)] += 1
            if row.survey:
                told = tells(file.name) and not file.cause and file.size <= LONGEST_SETTINGS
                unread[file.name] = (file.data or (path / file.name).read_bytes()) if told else b""
        elif file.cause:
            faults.append((file.cause, file.name))
        elif row.plan:
            try:
                for shard in row.plan(file.source(path), options):
                    yield add_faults(shard)
                    count += 1
            except ValueError as error:
                faults.append((getattr(error, "cause", CUT), str(error)))
        else:
            files.append((file.name, file.data))
            names += [file.name] * bool(row.called)
            stop, size, count = max(file.position, stop), size + file.size, count + 1
            if size >= (SHARD_BYTES >> 3 if row.survey and not row.sample else SHARD_BYTES) or len(files) >= MANY:
                yield add_faults(Shard(str(path), start, stop, extra=tuple(files)))
                files, size, start = [], 0, stop
        if len(faults) >= MANY:
            yield add_faults(Shard("", start, start, extra=()))
    also, left = _follow(links, names)
    faults += [(LINK, name) for name in left if wanted(name)]
    others.update(OTHER + suffix_of(name) for name in left if not wanted(name))
    if not count and faults:
        cause, where = next((fault for fault in faults if fault[0] == CUT), faults[0])
        raise ValueError(where if cause not in (OUTSIDE, LINK, TOO_LARGE, TOO_LONG, INSTALLED) else f"{where}: {cause}")
    if not count:
        there = ", ".join(f"{kind.removeprefix(OTHER)} {number}" for kind, number in others.most_common(10))
        kind = next((each for each, _ in others.most_common(1)), OTHER).removeprefix(OTHER)
        way = f"; files that are named ('{path}/**/*{kind}') are read whatever they end in" if kind[:1] == "." else ""
        raise ValueError(f"{path} has no file that ends in {', '.join(suffixes)}: it holds {there or 'no file'}{way}")
    if files or faults or others or also:
        yield add_faults(Shard("" if row.plan else str(path), start, stop, extra=tuple(files), also=also))


def may_be_read(tree: Path, name: str, row: Reader) -> bool:
    """Return whether a file of a tree may be a document of a reader, by its name: of chosen files any may."""
    ends = plain_name(name).lower().endswith(row.suffixes + row.inside)
    return ends or isinstance(tree, Chosen) or _may_be_page(name, row)


def _may_be_page(name: str, row: Reader) -> bool:
    """Return whether a file's name does not tell that it is none of a reader that knows its files by their heads."""
    return bool(row.head) and UNTOLD.search(name) is not None


def _is_page(file: File, tree: Path, row: Reader) -> bool:
    """Return whether a file whose name does not tell begins as those of a reader do."""
    with suppress(CutFileError, OSError):
        return not file.cause and re.match(row.head, _head(file.source(tree))) is not None
    return False


def _largest(row: Reader, options: Any) -> int:
    return (getattr(options, "largest", 0) << 20) or row.largest


def _follow(links: list[tuple[str, str]], names: list[str]) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    """Return what else files are called by links to them or to their folders, and the links that name no file.

    >>> _follow([("now", "v2"), ("a.html", "v2/a.html"), ("x", "y")], ["v2/a.html", "v1/a.html"])
    ((('now/a.html', 'v2/a.html'), ('a.html', 'v2/a.html')), ['x'])
    """
    names, also, left, ways = sorted(names), list[tuple[str, str]](), list[str](), dict(links)
    for link, to in links:
        for _ in range(CHAIN):
            to = ways.get(to, to)
        folder = "" if to == "." else f"{to}/"
        first, last = bisect_left(names, folder), bisect_left(names, f"{folder[:-1]}0") if folder else len(names)
        at = bisect_left(names, to)
        inside = [to] if names[at : at + 1] == [to] else names[first:last]
        also += [(link + name[len(to) :] if folder else f"{link}/{name}", name) for name in inside[:MOST]]
        left += [link] * (not inside or len(also) > MOST)
        del also[MOST:]
    return tuple(also), left


def read_shard(reader: str, shard: Shard, options: Any, skipped: Skipped) -> Iterator[Record]:
    """Read the Records of a shard; what is skipped or mended, and the shard's faults, are counted in `skipped`."""
    for cause, where in shard.faults:
        skipped.note(cause, where)
    skipped.update(shard.others)
    if not shard.path:
        return
    row, path, place = load_reader(reader), source_path(shard.path), shard.path
    records: Iterable[Record] | None = None
    try:
        for name, data in _read_files(shard, _largest(row, options), skipped) if row.read_file else [("", b"")]:
            if row.read_file:
                place = f"{shard.path}/{name}" if is_tree(path) else shard.path
                if not name.lower().endswith(row.suffixes + row.inside) and ARCHIVES.match(data):
                    skipped.note(ARCHIVE, place)
                    continue
                records = _in_time(partial(row.read_file, name, data, shard.known or options, skipped))
                if records is None:
                    skipped.note(TOO_SLOW, place)
            elif row.read:
                records = row.read(shard, options, skipped) if row.plan else row.read(path, options)
            for record in records or ():
                yield from _check(record, skipped, place)
        if row.called:
            for name, target in shard.also:
                id_ = row.called(plain_name(shown_name(target)))[0]
                yield from (Redirect(other, id_) for other in row.called(plain_name(shown_name(name))))
    except (OSError, MemoryError):
        raise
    except Exception as error:  # of a plugin any; a plain one pickles
        more = f"{type(error).__name__}: {error} (run with -v for the traceback)"
        text = str(error) if isinstance(error, ValueError) else more
        raise ValueError(text if place in text else f"{reader}, {place}: {text}") from error


class TooSlowError(BaseException):
    """A file takes longer than PATIENCE; no error of the file, which a reader would catch."""


def _in_time(read: Callable[[], Iterator[Record]]) -> list[Record] | None:
    """Read a file; None after PATIENCE, in the main thread of a process, which alone hears signals."""
    if threading.current_thread() is not threading.main_thread():
        return [*read()]

    def stop(*_: Any) -> None:
        if (left := end - time.thread_time()) <= 0:
            raise TooSlowError
        signal.setitimer(signal.ITIMER_VIRTUAL, max(left, 0.01))  # it counts other threads, too

    before, end = signal.signal(signal.SIGVTALRM, stop), time.thread_time() + PATIENCE
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
        try:
            return [*read()]
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except TooSlowError:
        return None
    finally:
        signal.signal(signal.SIGVTALRM, before)


def _check(record: Any, skipped: Skipped, place: str) -> Iterator[Record]:
    """Yield a record that a store can hold: a link out of range loses its place; TypeError for what is no record."""
    links, kinds = getattr(record, "links", ()), Document | Redirect | Deletion
    texts = [getattr(record, field.name) for field in fields(record)[:3]] if isinstance(record, kinds) else [None]
    sections = [*getattr(record, "sections", ())]
    pairs = all(isinstance(each, tuple | list) and [*map(type, each)] == [str, int] for each in sections)
    if not pairs or not all(
        isinstance(name, str) for name in chain(texts, *((each.target, each.fragment) for each in links))
    ):
        raise TypeError(f"a reader yields Documents and Redirects whose texts are str, not {str(record)[:80]}")
    names = cast(list[str], texts[:1] if isinstance(record, Document) else texts)
    if max(map(len, names)) > LONGEST_ID:
        skipped.note(TOO_LONG, f"{place}: {names[0][:99]!r}")
        return
    if any(len(link.target) > LONGEST_ID for link in links):
        kept = tuple(link for link in links if len(link.target) <= LONGEST_ID)
        for _ in range(len(links) - len(kept)):
            skipped.note("link to a name too long (left out)", f"{place}: document {record.id!r}")
        record, links = replace(record, links=kept), kept
    size = len(getattr(record, "text", ""))
    if any(not 0 <= at <= size for _, at in sections):
        skipped.note("section out of range (left out)", f"{place}: document {record.id!r}")
        record = replace(record, sections=tuple((name, at) for name, at in sections if 0 <= at <= size))
    wrong = [not (0 <= link.start < link.end <= size or link.start == link.end == -1) for link in links]
    for _ in filter(None, wrong):
        skipped.note("link out of range (kept without its place)", f"{place}: document {record.id!r}")
    mended = (replace(link, start=-1, end=-1) if bad else link for link, bad in zip(links, wrong, strict=True))
    yield replace(record, links=tuple(mended)) if any(wrong) else record


def decompressed(path: Path, most: int) -> bytes | None:
    """Return a file's bytes, decompressed as its name ends; None where they are more than `most`."""
    whole = io.BytesIO()
    for block, _ in decompressed_blocks(path):
        whole.write(block)
        if whole.tell() > most:
            return None
    return whole.getvalue()  # no copy


def _read_files(shard: Shard, largest: int, skipped: Skipped) -> Iterator[tuple[str, bytes]]:
    """Yield the name (its path in the tree, valid Unicode) and the decompressed bytes of each file of a shard."""
    path = source_path(shard.path)
    for name, data in shard.extra:
        shown = shown_name(name)
        try:
            whole = decompressed(File(name, data).source(path) if is_tree(path) else path, largest)
            if whole is None:
                skipped.note(TOO_LARGE, shown)
            else:
                yield plain_name(shown), whole
        except ConnectionError:
            raise
        except (CutFileError, OSError) as error:
            skipped.note(CUT, str(error) if isinstance(error, CutFileError) else f"{path}: {shown} ({error})")


def read_source(reader: str, path: Path, options: Any = None, skipped: Skipped | None = None) -> Iterator[Record]:
    """Read a whole source here, shard by shard."""
    options, skipped = options or load_reader(reader).options(), Skipped() if skipped is None else skipped
    for shard in plan_source(reader, path, options):
        yield from read_shard(reader, shard, options, skipped)


def decode_text(data: bytes, name: str, skipped: Skipped) -> str:
    """Decode a file that should be UTF-8, or begins with the mark of UTF-16 (else it is counted); LF ends its lines."""
    try:
        text = data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError:
        skipped.note("not UTF-8 (read as Latin-1)", name)
        text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def list_files(
    path: Path, wanted: Callable[[str], bool], largest: int = LARGEST, most: int = LARGEST
) -> Iterator[File]:
    """Yield all files of a tree, and what is refused; those of an archive that are `wanted` with `most` of the data."""
    if not has_address(path) and path.is_dir():
        yield from walk_folder(path)
        return
    try:
        for name, size, position, link, open_ in _open_zip(path) if path.suffix.lower() in ZIPS else _open_tar(path):
            if isinstance(open_, str):
                yield File(f"{path} is not a whole archive ({open_})", cause=CUT)
                continue
            if len(name) > LONGEST_NAME:
                yield File(f"{name[:99]}~{name[-99:]}", cause=TOO_LONG)
                continue
            if _HIDDEN.search(name):
                continue
            outside = any(each[:1] == "/" or ".." in each.replace("\\", "/").split("/") for each in (name, link))
            cause = OUTSIDE if outside else LINK if link else TOO_LARGE * (size > largest)
            cause = cause or INSTALLED * bool(_INSTALLED.search(name))
            file = File(name, None, size, position, cause, link)
            if wanted(name) and not cause:
                try:
                    file = file._replace(data=open_(most))
                except Exception as error:  # each form of compression has its own
                    of_disk = isinstance(error, OSError) and (error.errno not in (None, EINVAL) or has_address(path))
                    if of_disk or isinstance(error, CutFileError | tarfile.ReadError):
                        raise  # EINVAL: it is said to lie before the archive
                    file = File(f"{path}: {name} ({one_line(error)})", cause=CUT)
            yield file
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not a whole zip file ({error}): fetch it again") from None
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        what = str(error) if str(path) in str(error) else f"{path} is not a whole archive ({error})"
        yield File(what, cause=CUT)


def _is_long(path: Path) -> bool:
    return len(os.fsencode(path)) >= LONGEST_NAME  # of Linux: nothing can be opened by it


def walk_folder(folder: Path) -> Iterator[File]:
    """Yield the files of a folder, and what is refused: first what lies less deep, by name."""
    chosen = folder.names if isinstance(folder, Chosen) else ()
    folder = folder.folder if isinstance(folder, Chosen) else folder
    position, root, places = 0, folder.resolve(), [folder]
    if chosen:
        places = sorted({(folder / name).parent for name in chosen}, key=lambda place: (len(place.parts), place))
    for place in places:  # they become more: the tree is read from the top down
        shut = list[OSError]()
        _, folders, names = next(os.walk(place, onerror=shut.append), ("", [], []))
        if shut:
            yield File(f"{place.relative_to(folder).as_posix()}/", cause=CUT)
        folders = sorted(name for name in folders if name[0] != ".")
        inner = [each for name in folders if not _is_long(each := place / name) and not each.is_symlink()]
        packages = {each for each in inner if _INSTALLED.search(each.relative_to(folder).as_posix())}
        places += [] if chosen else [each for each in inner if each not in packages]
        for file in (place / name for name in [*folders, *sorted(names)] if chosen or name[0] != "."):
            inside = file.relative_to(folder).as_posix()
            if chosen and inside not in chosen:
                continue
            if file in packages or (chosen and _INSTALLED.search(inside)):
                yield File(f"{inside}/", cause=INSTALLED)
            elif _is_long(file):
                yield File(f"{inside[:99]}~{inside[-99:]}/", cause=TOO_LONG)  # perhaps a folder
            elif file.is_symlink():
                to, inside = Path(os.path.realpath(file)), inside + "/" * file.is_dir()  # resolve() fails on loops
                leads_to = to.relative_to(root).as_posix() if to.is_relative_to(root) else ""
                yield File(inside, cause=LINK if leads_to else OUTSIDE, leads_to=leads_to)
            elif file.is_file():
                size = file.stat().st_size
                position += size
                yield File(inside, None, size, position)


# What is in an archive: name, bytes, how far the file on disk is read, "" or where a link leads, what reads it or what
# is wrong with it.
Members = Iterator[tuple[str, int, int, str, Callable[[int], bytes] | str]]


def _open_zip(path: Path) -> Members:
    with open_source(path) as file, zipfile.ZipFile(cast(Any, directory := _Directory(file))) as archive:
        archive.fp = archive.fp if directory.not_utf8 else file  # the sooner
        for member in sorted(archive.infolist(), key=lambda each: each.filename.count("/")):  # as a folder is read
            name, position = member.filename, member.header_offset + member.compress_size
            if member.flag_bits & NOT_UTF8:
                name = name.encode("cp437").decode("utf-8", "surrogateescape")
            read, to = partial(_read_member, archive, member), ""
            if member.external_attr >> 28 == 0o12 and member.file_size < LONGEST_NAME:
                with suppress(Exception):  # what is wrong is said when it is read
                    to = normpath(join(dirname(name), read(LONGEST_NAME).decode("utf-8", "replace")))
            if not member.is_dir():
                yield name, member.file_size, position, to, read


class _Directory:
    """A zip as zipfile reads it: what it would refuse the whole for is mended in the entry of one file."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.not_utf8 = file, set[int]()  # the latter: where files lie whose names are not

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def read(self, size: int = -1) -> bytes:
        start, data, at = self.file.tell(), bytearray(self.file.read(size)), 0
        if start in self.not_utf8 and data[:4] == b"PK\3\4":
            data[7] &= ~8
        while data[at : at + 4] == b"PK\1\2" and len(data) >= at + 46:
            length, extra, comment, offset = struct.unpack_from("<3H8xI", data, at + 28)
            place = at + 46 + length
            data[at + 6] = min(data[at + 6], LATEST)
            try:
                data[at + 46 : place].decode()
            except UnicodeDecodeError:
                if data[at + 9] & 8:
                    self.not_utf8.add(offset)
                    data[at + 9] ^= 8 | NOT_UTF8 >> 8
            end, at = min(place + extra, len(data)), place + extra + comment
            large = 8 * sum(data[at + field : at + field + 4] == b"\xff" * 4 for field in (20, 24, 42))
            while place + 4 <= end:  # fields, of which zipfile refuses one that is damaged: it becomes blank
                kind, size = struct.unpack_from("<2H", data, place)
                if place + 4 + size > end or (kind == 1 and size < large):
                    data[place:end] = bytes(end - place)
                place += 4 + size
        return bytes(data)


def _read_member(archive: Any, member: Any, most: int) -> bytes:
    """Read a file of an archive, `most` of it at least; zipfile does not bound what bzip2 makes of 64 bytes (46 MB)."""
    step, whole = PIECE if getattr(member, "compress_type", 0) in (0, zipfile.ZIP_DEFLATED) else 64, io.BytesIO()
    with archive.open(member) if isinstance(member, zipfile.ZipInfo) else archive.extractfile(member) as file:
        file.MIN_READ_SIZE = step
        while whole.tell() < most and (piece := file.read(step)):
            whole.write(piece)
    return whole.getvalue()  # no copy


def _open_tar(path: Path) -> Members:
    stream = _Stream(path)
    with _Tar.open(fileobj=cast(IO[bytes], stream), mode="r|", tarinfo=_Header) as archive:
        for member in cast(Iterator[_Header], archive):
            name, is_link = str(PurePosixPath(member.name)).lstrip("/"), member.issym() or member.islnk()
            link = normpath(join(dirname(name) if member.issym() else "", member.linkname)) if is_link else ""
            if member.damage or member.isfile() or is_link:
                read = member.damage or partial(_read_member, archive, member)
                yield name, member.size, stream.position, link, read


class _Header(tarfile.TarInfo):
    """What describes a file of a tar, with all that stands before it; or `damage`, what is wrong with it."""

    damage = ""

    @classmethod
    def fromtarfile(cls, tarfile_: Any) -> Any:
        stream = tarfile_.fileobj.fileobj
        if first := stream.left == math.inf:
            stream.left, stream.name = LONGEST_HEADER, "a header"
        try:
            found = super().fromtarfile(tarfile_)
            stream.name = found.name
            return found
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            if tarfile_.ignore_zeros:
                raise
            raise tarfile.ReadError(str(error)) from None  # else it is taken for the end
        finally:
            stream.left = math.inf if first else stream.left


class _Tar(tarfile.TarFile):
    """A tar in which a damaged header costs one file, a member with `damage`: the next header is looked for."""

    def next(self) -> Any:
        archive: Any = self
        try:
            member: Any = super().next()
            if member and member.size < 0:
                raise tarfile.ReadError("a size below 0")
            holes = member.size - sum(size for _, size in member.sparse) if member and member.sparse is not None else 0
            if holes > LONGEST_HEADER:
                raise tarfile.ReadError(f"holes of more than {LONGEST_HEADER:,} bytes")
        except (CutFileError, OSError, MemoryError):
            raise
        except Exception as error:  # whatever a header makes of tarfile
            stream, place = archive.fileobj.fileobj, archive.fileobj.tell()
            if stream.ended:
                raise CutFileError(one_line(error)) from None
            member = _Header()
            member.damage = f"{stream.name}: {one_line(error)}, before byte {place:,}"
            archive.offset = max(archive.offset, place)
        archive.ignore_zeros, archive.members = bool(member and member.damage), []  # it would keep all members
        return member


class _Stream:
    """The decompressed bytes of a file, of which `left` may be read; `position` says how far the file is read."""

    def __init__(self, path: Path) -> None:
        self.blocks, self.position, self.ended, self.left = decompressed_blocks(path), 0, False, math.inf
        self.piece, self.at = b"", 0  # no copy: a piece may have 64 MB

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            if self.at == len(self.piece):
                if not (found := next(self.blocks, None)):
                    break
                (self.piece, self.position), self.at = found, 0
            took = self.piece[self.at : self.at + size - len(data)]
            data, self.at = data + took, self.at + len(took)
        self.left -= len(data)
        if self.left < 0:
            raise CutFileError(f"a header of more than {LONGEST_HEADER:,} bytes")
        if self.ended and not data:  # tarfile would go on for as long as a header says
            raise CutFileError("a file in it is longer than what there is")
        self.ended = not data
        return data


def find_reader(path: Path) -> str:
    """Return the name of the reader that a source is for: by its name, else by its first bytes.

    A tree is for the reader of most of its files, or of files that hold most of the bytes and are not read one by one.

    >>> find_reader(Path("notes.jsonl.xz"))
    'jsonl'
    """
    readers = {name: load_reader(name) for name in registry.usable("readers")}
    if found := _find_in_tree(path, readers) if is_tree(path) else _by_suffix(path.name, readers):
        return found
    try:
        if found := _by_mark(head := _head(path), readers):
            return found
        next(islice(decompressed_blocks(path), 1, None), None)  # what is damaged is not of another kind
    except CutFileError as error:
        raise ValueError(f"{error}: nothing can be read of it, fetch it again") from None
    if not head:
        raise FaultError(EMPTY, f"{path} is empty: there is no document in it")
    remedy = "name one with --format"
    for name in (
        name for name, row in readers.items() if suffix_of(plain_name(path.name)) in row.inside and not row.marks
    ):
        remedy = f"--format {name} reads it by XPaths, --format package.module:reader by a reader of yours; or {remedy}"
    message = f"{path} is in no format that is known here: {remedy} ({', '.join(readers)})"
    raise FaultError(OTHER + suffix_of(path.name), message)


def _find_in_tree(path: Path, readers: dict[str, Reader]) -> str:
    unsure = {name: row for name, row in readers.items() if row.inside and row.marks}
    inside = tuple(suffix for row in unsure.values() for suffix in row.inside)
    wanted = lambda name: plain_name(name).lower().endswith(inside) or bool(UNTOLD.search(name))  # noqa: E731
    first = list(islice(list_files(path, wanted, most=PIECE), LOOKED_AT))
    groups: dict[str, list[File]] = {}  # by suffix
    count, size, kinds = Counter[str](), Counter[str](), dict[str, list[str]]()
    for file in (each for each in first if not each.cause):
        pages = [name for name, row in readers.items() if _may_be_page(file.name, row)]
        if reader := next((name for name in pages if _is_page(file, path, readers[name])), ""):
            count[reader] += 1
            kinds.setdefault(reader, [])
        else:
            groups.setdefault(suffix_of(file.name), []).append(file)
    for suffix, group in groups.items():
        reader, plain = "", plain_name(group[0].name).lower()
        candidates = {name: row for name, row in unsure.items() if plain.endswith(row.inside)}
        for file in sorted(group, key=lambda file: -file.size) if candidates else ():
            with suppress(CutFileError, OSError):
                reader = reader or _by_mark(_head(file.source(path)), candidates)
        if reader := reader or _by_suffix(group[0].name, readers):
            count[reader] += len(group)
            kinds.setdefault(reader, []).append(suffix)
            size[reader] += sum(file.size for file in group) if readers[reader].plan else 0
    read = {suffix for suffixes in kinds.values() for suffix in suffixes}
    weights = {
        kind: len(group) / (400 if SELDOM.match(kind) else 1) for kind, group in groups.items() if kind not in read
    }
    strange, most = max(weights.items(), key=itemgetter(1), default=("", 0.0))
    if not count or most > count.total() * (2 if count.total() >= SOME else 1):
        ends = (end for row in readers.values() for end in row.suffixes + row.inside if end[0] == ".")
        known = ", ".join(dict.fromkeys(ends))
        there = ", ".join(f"{suffix} {len(group)}" for suffix, group in [*groups.items()][:10]) or "no file"
        what = f"mostly {strange} files, which no reader takes" if count else f"nothing that is known here ({known})"
        name = f"{count.most_common(1)[0][0]} reads the others alone" if count else "NAME says how to read it"
        told = [other for other, row in readers.items() if strange in row.inside and not row.marks]
        if other := next(iter(told), ""):  # it reads them by what it is told
            what, name = f"mostly {strange} files, whose words only you know", f"{other} reads them by XPaths"
        ways = f"--format {name}, --format package.module:reader with a reader of your own (docs/extending.md)"
        part = f"among the first {LOOKED_AT:,} files are" if len(first) == LOOKED_AT else "it holds"
        said = f"{path} holds {what}: {part} {there}; {ways}"
        raise ValueError(next((file.name for file in first if file.cause == CUT), said))
    size["csv"] *= 2 * count["csv"] >= count.total()  # tables beside pages are data
    aside = [each for each in count if len(count) > 1 and _is_aside(path, each, readers[each], groups, kinds[each])]
    meant = [each for each, _ in count.most_common() if each not in aside] or [count.most_common(1)[0][0]]
    total = sum(file.size for file in first if not file.cause)
    found = next((reader for reader, bytes_ in size.most_common(1) if 2 * bytes_ > total), meant[0])
    found = found if found in meant else meant[0]
    if found == "text":  # which has no links: pages that have some are meant, if there are a few
        linked = (other for other in meant if readers[other].read_file and other != found)
        found = next((other for other in linked if count[other] > 1 and 10 * count[other] >= count[found]), found)
    found = next((other for other in count if {*kinds[found]} <= {*readers[other].inside}), found)  # wikitext has .md
    notebook = [file.name for file in groups.get(".zim", ())] == ["notebook.zim"]  # settings of the editor Zim
    for other in [each for each in count if each != found and not {*kinds[each]} <= {*readers[found].inside}]:
        if other == "feed" or (other == "zim" and notebook):  # a feed says what the pages beside it say
            continue
        globs = " ".join(f"{path}/**/*{suffix}" for suffix in kinds[other])
        remedy = f"put them ({globs}) into a folder of their own and name it, too"
        if readers[other].plan and path.is_dir():  # whose ids are not paths in the folder
            remedy = f"name {' '.join(repr(f'{path}/**/*{suffix}') for suffix in kinds[other])}, too"
        said = f"{count[other]:,} file{'s' * (count[other] > 1)} of {path} left out, which is read as {found}"
        log.warning("%s: --format %s reads them in place of it; to read both, %s", said, other, remedy)
    return found


def _is_aside(path: Path, reader: str, row: Reader, groups: dict[str, list[File]], suffixes: list[str]) -> bool:
    """Return whether files of a folder are no documents of it: tables its reader refuses, templates of pages."""
    files = sorted((file for suffix in suffixes for file in groups[suffix]), key=lambda file: -file.size)
    if (not row.plan and reader != "html") or not path.is_dir():
        return False
    tried = list[bool]()
    for file in files[: SOME if row.plan else SAMPLE]:
        try:
            if row.plan:
                next(row.plan(file.source(path), row.options()), None)
            tried.append(not row.plan and bool(_TEMPLATE.search(_head(file.source(path)))))
        except (ValueError, OSError) as error:
            tried.append(getattr(error, "cause", "") != CUT and not isinstance(error, CutFileError | OSError))
    return 2 * sum(tried) > len(tried)


def _head(path: Path) -> bytes:
    return next(decompressed_blocks(path), (b"", 0))[0].removeprefix(b"\xef\xbb\xbf").lstrip()[:4096]


def _by_mark(head: bytes, readers: dict[str, Reader]) -> str:
    return next((name for name, row in readers.items() if any(re.search(mark, head) for mark in row.marks)), "")


def _by_suffix(name: str, readers: dict[str, Reader]) -> str:
    return next((key for key, row in readers.items() if plain_name(name).lower().endswith(row.suffixes or "/")), "")
