r"""A folder or a tar of plain or Markdown files in, one Document a file out, without links: books, for example.

The id is the path inside the source without its suffix, the title the first heading or else the file's name. Of
Markdown the marks go and the words stay. Lines that were wrapped at a column are joined again (a line break ends a
sentence in this project); a blank line, a heading or a list item always starts a new line. Nothing of a tar is written
to disk, and its links and devices are ignored.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from linkbert.corpora.reader import Options, Reader, Shard, Skipped
from linkbert.files import COMPRESSIONS, CutFileError, DecompressedFile
from linkbert.records import Document

SHARD_BYTES = 4 << 20
SUFFIXES = (".txt", ".md", ".markdown")
WRAPPED = range(45, 101)  # characters of a line that was broken because it was full


def plan(path: Path, _: Options) -> Iterator[Shard]:
    """Cut a folder (sorted by name), a tar or a single file into shards of about SHARD_BYTES of files.

    `extra` holds pairs of a name and its bytes (None: to be read from the folder).
    """
    files: list[tuple[str, bytes | None]] = []
    start = size = count = 0
    stop, cut = 0, ""
    for name, data, length, position, fault in _members(path):
        cut = fault
        if not fault:
            files.append((name, data))
            size += length
            count += 1
        stop = position
        if size >= SHARD_BYTES and not fault:
            yield Shard(str(path), start, stop, extra=tuple(files))
            files, size, start = [], 0, stop
    if not count:
        raise ValueError(cut or f"{path} holds no text: no file in it ends in {', '.join(SUFFIXES)}")
    if files or cut:
        yield Shard(str(path), start, stop, extra=tuple(files), cut=cut)


def _members(path: Path) -> Iterator[tuple[str, bytes | None, int, int, str]]:
    """Yield each file's name, bytes, length and end, and a last one with a message where the source breaks off."""
    if path.is_dir():
        position = 0
        for name in sorted(_walk(path)):
            length = (path / name).stat().st_size
            position += length
            yield name, None, length, position, ""
        return
    stream = DecompressedFile(path)
    try:
        if ".tar" not in path.suffixes and path.suffix != ".tgz":
            data = stream.read(-1)
            yield path.name.removesuffix(path.suffix if path.suffix in COMPRESSIONS else ""), data, len(data), 0, ""
            return
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined] # else it keeps them all
                file = archive.extractfile(member) if member.isfile() and _is_text(member.name) else None
                if file is not None:
                    data = file.read()
                    yield str(PurePosixPath(member.name)).lstrip("/"), data, len(data), stream.position, ""
    except CutFileError as error:
        yield "", None, 0, stream.position, str(error)
    except tarfile.TarError as error:
        yield "", None, 0, stream.position, f"{path} is not a whole tar file ({error})"


def _walk(folder: Path) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        for name in names:
            file = Path(root, name)
            if _is_text(name) and file.is_file() and not file.is_symlink():
                yield file.relative_to(folder).as_posix()


def _is_text(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not PurePosixPath(name).name.startswith(".")


def read(shard: Shard, _: Options, skipped: Skipped) -> Iterator[Document]:
    """Read the Documents of a shard; `skipped` counts files that are not UTF-8 or hold no text."""
    files: tuple[Any, ...] = shard.extra
    for name, data in files:
        content = Path(shard.path, name).read_bytes() if data is None else data
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            skipped.note("not UTF-8 (read as Latin-1)", name)
            text = content.decode("latin-1")
        path = PurePosixPath(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        title, text = to_prose(text, markdown=path.suffix.lower() != ".txt")
        if not text:
            skipped.note("no text in the file", name)
            continue
        yield Document(str(path.with_suffix("")), title or path.stem, text.removeprefix(f"{title}\n"))


_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*)")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+(.*)")
_RULE = re.compile(r"[ \t]*(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|=+|```.*|~~~.*|\[[^\]]*\]:.*)")
_INLINE = (  # each alternative ends at the next mark of its kind, so that none looks far ahead
    (re.compile(r"!\[[^\[\]]*\]\([^()]*\)|\[\^[^\[\]]*\]|<!--[^<>]*-->|</?[A-Za-z][^<>]*>"), ""),
    (re.compile(r"\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])"), r"\1"),
    (re.compile(r"`+([^`]*)`+"), r"\1"),
    (re.compile(r"(?<!\\)(\*{1,3})(?=\S)([^*]*[^*\s])\1"), r"\2"),
    (re.compile(r"(?<![\w\\])(_{1,3})(?=\S)([^_]*[^_\s])\1(?!\w)"), r"\2"),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)


def to_prose(text: str, *, markdown: bool) -> tuple[str, str]:
    r"""Return the first heading ("" if none) and the text as prose, one paragraph, heading or list item a line.

    >>> to_prose("# One\n\nA *short* [story](x.html).\n- item", markdown=True)
    ('One', 'One\nA short story.\nitem')
    """
    lines: list[str] = []
    title = ""
    full = False  # whether the line before was broken because it was full
    for raw in text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").split("\n"):
        line, starts, heading = raw.strip(), False, None
        if markdown:
            line = line.lstrip("> ") if line.startswith(">") else line
            if line and _RULE.fullmatch(line):
                line = ""
            elif heading := _HEADING.fullmatch(line):
                line, starts = heading[1].rstrip("# \t"), True
                title = title or _strip_marks(line)
            elif item := _ITEM.fullmatch(line):
                line, starts = item[1], True
        if line and full and not starts:
            lines[-1] += " " + line
        elif line:
            lines.append(line)
        full = len(raw) in WRAPPED and bool(line) and not heading
    if markdown:
        lines = [stripped for line in lines if (stripped := _strip_marks(line).strip())]
    return title, "\n".join(lines)


def _strip_marks(line: str) -> str:
    for pattern, replacement in _INLINE:
        line = pattern.sub(replacement, line)
    return line


READER = Reader(plan, read)
