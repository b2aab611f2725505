"""What readers of large files share: a decompressed stream cut into shards of whole records, and text that is UTF-8.

No record is held that is larger than a limit, of which these are all: it is passed over in flat memory, and counted.
"""

import codecs
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from linkbert.corpora.reader import CUT, EMPTY, FaultError, Shard, Skipped
from linkbert.files import CutFileError, decompressed_blocks, source_size

LARGEST = 64 << 20  # bytes of a record: a line, a page, a row; and of a file of XML in which there may be many
LARGEST_TREE = 16 << 20  # bytes of a record of XML: parsed, it takes up to sixteen times as much
TOO_LARGE = "record too large (left out)"
NO_OBJECT, OBJECTS = "not an object", "objects"
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+("?)|[{}\[\]]', re.DOTALL)  # of JSON
LARGEST_HELP = "MiB of a line or a file at most, larger ones are left out  [default: 64]"


def check_largest(options: Any) -> None:
    """Refuse an option `largest` that is no size of a document: its characters are counted in 32 bits."""
    if not 0 <= options.largest < 1024:
        raise ValueError(f"--largest {options.largest}: give MiB, 1 to 1023")


def cut_stream(path: Path, end: bytes, size: int, largest: int | None = None) -> Iterator[Shard]:
    """Decompress a file and cut it behind some of its `end`s, into shards whose `data` has about this `size`.

    `first_line` counts records from 1 on. Of one over `largest` bytes (LARGEST) only its `end` is left, and a fault.
    `extra` says whether a shard is the last, which may be empty. A file without a byte is a FaultError.
    """
    largest = largest or LARGEST
    pending, faults, start, position, number, passing = bytearray(), list[tuple[str, str]](), 0, 0, 1, False

    def cut(length: int, stop: int, *, last: bool = False) -> Shard:
        nonlocal start, number
        data = bytes(pending[:length])
        if length > largest:
            records = data.split(end)
            too_large = [record for record in records if len(record) > largest]
            faults.extend([(TOO_LARGE, f"{path} near byte {stop}")] * len(too_large))
            data = end.join(b"" if len(record) > largest else record for record in records)
        shard = Shard(str(path), start, stop, data, number, tuple(faults), extra=last)
        start, number = stop, number + data.count(end)
        del pending[:length]
        faults.clear()
        return shard

    try:
        for block, position in decompressed_blocks(path):
            if not start and not pending and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise FaultError(CUT, f"{path} is UTF-16: `iconv -f UTF-16 -t UTF-8` makes of it what can be read")
            pending += block
            if passing:
                found = pending.find(end)
                del pending[: found if found >= 0 else 1 - len(end) or len(pending)]
                passing = found < 0
            if passing or len(pending) < size:
                continue
            found = pending.rfind(end, 0 if len(pending) > largest else max(0, len(pending) - len(block) - len(end)))
            if found >= 0:
                yield cut(found + len(end), position)
            elif len(pending) > largest:
                faults.append((TOO_LARGE, f"{path} near byte {position}"))
                pending, passing = pending[:0], True
    except CutFileError as error:
        faults.append((CUT, str(error)))
    if not position:
        raise FaultError(*faults[0] if faults else (EMPTY, f"{path} is empty: there is no document in it"))
    yield cut(len(pending), max(position, source_size(path)), last=True)


def cut_values(path: Path, size: int, largest: int | None = None) -> Iterator[Shard]:
    """Cut JSON that has no object a line, as an array or objects over several lines have, into shards of such lines.

    `first_line` counts objects from 1 on. What stands between them, one over `largest` bytes (LARGEST), and one without
    an end are faults.
    """
    largest = largest or LARGEST
    pending, lines, faults, number, start, position, written = b"", list[bytes](), list[tuple[str, str]](), 1, 0, 0, 0
    depth = at = first = enough = 0  # brackets that are open; in `pending`: where to look on, where the object starts
    passing = False  # over an object that is too large

    def cut(stop: int) -> Shard:
        nonlocal start, number, written
        shard = Shard(str(path), start, stop, b"\n".join(lines), number, tuple(faults), extra=OBJECTS)
        start, number, written = stop, number + len(lines), 0
        lines.clear()
        faults.clear()
        return shard

    def check(between: bytes) -> None:
        if between.translate(None, b" \t\r\n,[]"):
            faults.append((NO_OBJECT, f"{path} before object {number + len(lines)}"))

    try:
        for block, stop in chain(decompressed_blocks(path), [(b"", 0)]):
            pending, position = (pending + block).removeprefix(codecs.BOM_UTF8 if not start else b""), stop or position
            if block and len(pending) < enough:  # a long text is not looked at again with each block
                continue
            for token in _TOKEN.finditer(pending, at):
                mark, at = token[0][:1], token.start()
                if mark == b'"' and not token[1]:
                    enough = 2 * (len(pending) - first)  # its end comes with what follows
                    if len(pending) - at > largest:
                        check(b"" if depth else pending[first:])
                        passing, pending, at, first = depth > 0, b'"' + pending[token.end() :], 0, 0
                    break
                at = token.end()
                if mark == b"{" and not depth:
                    check(pending[first : token.start()])
                    first = token.start()
                depth += mark in b"{[" and (depth > 0 or mark == b"{")
                if mark in b"}]" and depth and not (depth := depth - 1):
                    if passing or at - first > largest:
                        faults.append((TOO_LARGE, f"{path} object {number + len(lines)}"))
                    lines.append(b"" if passing or at - first > largest else pending[first:at].replace(b"\n", b" "))
                    written, first, passing = written + len(lines[-1]), at, False
            else:
                at, enough = len(pending), 0
            if at - first > largest:
                check(b"" if depth else pending[first:at])
                passing, first = passing or depth > 0, at
            pending, at, first = pending[first:], at - first, 0
            if written >= size:
                yield cut(position)
        check(b"" if depth else pending)
        if depth:
            faults.append((CUT, f"{path} ends in object {number + len(lines)}"))
    except CutFileError as error:
        faults.append((CUT, str(error)))
    if not position:
        raise FaultError(*faults[0] if faults else (EMPTY, f"{path} is empty: there is no document in it"))
    yield cut(max(position, source_size(path)))


def number_lines(shard: Shard) -> Iterator[tuple[int, bytes, bool]]:
    """Yield the lines of a shard that are not blank: number, bytes, and whether the file seems to be cut off in it."""
    lines = (shard.data or b"").removeprefix(codecs.BOM_UTF8 if shard.first_line == 1 else b"").split(b"\n")
    for number, line in enumerate(lines, shard.first_line):
        if line and not line.isspace():
            yield number, line, number == shard.first_line + len(lines) - 1 and CUT not in dict(shard.faults)


def decode_utf8(data: bytes, skipped: Skipped, where: str) -> str:
    """Decode text; what is not UTF-8 in it is replaced and counted."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        skipped.note("invalid UTF-8 (replaced)", where)
        return data.decode(errors="replace")
