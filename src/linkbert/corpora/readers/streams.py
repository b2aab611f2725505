"""What readers of large files share: a decompressed stream cut into shards of whole records, and text that is UTF-8.

No record is held that is larger than a limit, of which these are all: it is passed over in flat memory, and counted.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linkbert.corpora.reader import CUT, EMPTY, FaultError, Shard, Skipped
from linkbert.files import CutFileError, decompressed_blocks, source_size

LARGEST = 64 << 20  # bytes of a record: a line, a page, a row; and of a file of XML in which there may be many
LARGEST_TREE = 16 << 20  # bytes of a record of XML: parsed, it takes up to sixteen times as much
TOO_LARGE = "record too large (left out)"
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
